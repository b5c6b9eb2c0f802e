//! A context on its way: entries go into a tar, piece by piece, and never more of it is in memory than one piece.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::selection::Selection;
use super::zip::ZipError;

/// Why a context could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file or folder cannot be read.
    #[error("cannot read `{}`: {source}; if the image does not need it, name it in .dockerignore", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It changed while it was read.
    #[error(
        "`{}` changed while it was read: build when nothing writes there, or name it in .dockerignore",
        .0.display()
    )]
    Changed(PathBuf),
    /// It cannot be part of a tar.
    #[error("`{}` cannot be sent: {source}", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// What a zip holds is not what it says.
    #[error(transparent)]
    Zip(#[from] ZipError),
    /// The engine reads no more; it says why.
    #[error("the engine stopped reading the context")]
    Unread,
}

/// How much was sent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Files, without folders and links.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What is kept of an entry beside its content.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes {
    /// Permissions.
    pub(super) mode: u32,
    /// Seconds since 1970.
    pub(super) modified: u64,
}

/// Takes the entries of a context, by their paths in it, parents before children.
pub(super) struct Packer<'a, W: Write> {
    tar: Builder<W>,
    selection: &'a Selection,
    /// Folders that are left out themselves; they are sent once something in them is.
    held: Vec<(PathBuf, Attributes)>,
    sent: Sent,
    skipped: Vec<PathBuf>,
}

impl<'a, W: Write> Packer<'a, W> {
    pub(super) fn new(to: W, selection: &'a Selection) -> Self {
        Self { tar: Builder::new(to), selection, held: Vec::new(), sent: Sent::default(), skipped: Vec::new() }
    }

    /// Takes a folder; says whether what is in it should be looked at.
    pub(super) fn folder(&mut self, path: &Path, attributes: Attributes) -> Result<bool, PackError> {
        if self.selection.has(path) {
            self.parents(path)?;
            self.append_folder(path, attributes)?;
            return Ok(true);
        }
        let enter = self.selection.may_have_below(path);
        if enter {
            self.held.retain(|(folder, _)| path.starts_with(folder));
            self.held.push((path.to_owned(), attributes));
        }
        Ok(enter)
    }

    /// Whether a file or link is to be sent.
    pub(super) fn wants(&self, path: &Path) -> bool {
        self.selection.has(path)
    }

    /// Takes a file of `size` bytes, which is called `name` in errors.
    pub(super) fn file(
        &mut self,
        path: &Path,
        attributes: Attributes,
        size: u64,
        content: impl Read,
        name: &Path,
    ) -> Result<(), PackError> {
        self.parents(path)?;
        let mut header = header(EntryType::Regular, attributes);
        header.set_size(size);
        let mut content = Exact { content, left: size, failed: None };
        let appended = self.tar.append_data(&mut header, path, &mut content);
        match content.failed.take() {
            Some(Failure::Read(source)) => return Err(PackError::Read { path: name.to_owned(), source }),
            Some(Failure::Size) => return Err(PackError::Changed(name.to_owned())),
            None => appended.map_err(|error| failed(path, error))?,
        }
        self.sent.files += 1;
        self.sent.bytes = self.sent.bytes.saturating_add(size);
        Ok(())
    }

    /// Takes a symbolic link as it is.
    pub(super) fn link(&mut self, path: &Path, attributes: Attributes, target: &Path) -> Result<(), PackError> {
        self.parents(path)?;
        let mut header = header(EntryType::Symlink, attributes);
        self.tar.append_link(&mut header, path, target).map_err(|error| failed(path, error))
    }

    /// Notes a socket or device, which no image can take.
    pub(super) fn skip(&mut self, path: &Path) {
        self.skipped.push(path.to_owned());
    }

    /// Ends the tar. Gives what was sent and what was not.
    pub(super) fn finish(self) -> Result<(Sent, Vec<PathBuf>, W), PackError> {
        let to = self.tar.into_inner().map_err(|error| failed(Path::new("."), error))?;
        Ok((self.sent, self.skipped, to))
    }

    fn parents(&mut self, path: &Path) -> Result<(), PackError> {
        for (folder, attributes) in std::mem::take(&mut self.held) {
            if path.starts_with(&folder) {
                self.append_folder(&folder, attributes)?;
            }
        }
        Ok(())
    }

    fn append_folder(&mut self, path: &Path, attributes: Attributes) -> Result<(), PackError> {
        let mut header = header(EntryType::Directory, attributes);
        self.tar.append_data(&mut header, path, io::empty()).map_err(|error| failed(path, error))
    }
}

/// Everything is root's, as `docker build` has it: who owns it here means nothing in the image.
fn header(kind: EntryType, attributes: Attributes) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(attributes.mode & 0o7777);
    header.set_mtime(attributes.modified);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header
}

fn failed(path: &Path, source: io::Error) -> PackError {
    if source.kind() == io::ErrorKind::BrokenPipe {
        PackError::Unread
    } else {
        PackError::Entry { path: path.to_owned(), source }
    }
}

/// A content that has as many bytes as was said, and no more: the tar's header is already written.
struct Exact<R> {
    content: R,
    left: u64,
    failed: Option<Failure>,
}

enum Failure {
    Read(io::Error),
    Size,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let stop = || io::Error::other("the content failed");
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        // At the end, one byte more is asked for, which must not come.
        let mut beyond = [0];
        let asked = if self.left == 0 { &mut beyond[..] } else { &mut buffer[..most] };
        loop {
            match self.content.read(asked) {
                Ok(0) if self.left == 0 => return Ok(0),
                Ok(read) if read > 0 && self.left > 0 => {
                    self.left -= read as u64;
                    return Ok(read);
                }
                Ok(_) => self.failed = Some(Failure::Size),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => self.failed = Some(Failure::Read(error)),
            }
            return Err(stop());
        }
    }
}
