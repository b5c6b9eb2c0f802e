//! A folder of this host, as a context's source.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::pack::{Attributes, PackError, Packer};
use super::tree::{Found, is_dockerfile};

/// How deep, and at how many entries, Dockerfiles are looked for when the one wanted is missing.
const SEARCH: (usize, usize) = (4, 20_000);

/// A folder. Symbolic links are never followed out of it.
#[derive(Debug)]
pub(super) struct FolderTree {
    root: PathBuf,
}

impl FolderTree {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        Ok(Self { root: root.canonicalize()? })
    }

    /// What is at a path, links followed as long as they stay within.
    pub(super) fn find(&self, path: &Path) -> Found {
        match self.within(path) {
            Ok(Some(path)) => match fs::metadata(path) {
                Ok(about) if about.is_dir() => Found::Folder,
                Ok(about) if about.is_file() => Found::File,
                _ => Found::Nothing,
            },
            Ok(None) => Found::Outside,
            Err(_) => Found::Nothing,
        }
    }

    pub(super) fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let path = self.within(path)?.ok_or(io::ErrorKind::NotFound)?;
        let mut text = Vec::new();
        File::open(path)?.take(most + 1).read_to_end(&mut text)?;
        if text.len() as u64 > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(text)
    }

    /// Some Dockerfiles that are there.
    pub(super) fn dockerfiles(&self) -> Vec<PathBuf> {
        let mut found = BTreeSet::new();
        let mut folders = vec![(PathBuf::new(), 0)];
        let mut seen = 0;
        while let Some((folder, depth)) = folders.pop() {
            for entry in fs::read_dir(self.root.join(&folder)).into_iter().flatten().flatten() {
                seen += 1;
                let Ok(kind) = entry.file_type() else { continue };
                let path = folder.join(entry.file_name());
                if kind.is_dir() && depth < SEARCH.0 && entry.file_name() != ".git" {
                    folders.push((path, depth + 1));
                } else if kind.is_file() && is_dockerfile(&path) {
                    found.insert(path);
                }
            }
            if seen > SEARCH.1 {
                break;
            }
        }
        found.into_iter().collect()
    }

    /// Sends what is in `context`.
    pub(super) fn pack(&self, context: &Path, packer: &mut Packer<'_, impl Write>) -> Result<(), PackError> {
        let unreadable = |source| PackError::Read { path: context.to_owned(), source };
        let root =
            self.within(context).map_err(unreadable)?.ok_or_else(|| unreadable(io::ErrorKind::NotFound.into()))?;
        // Of each open folder, its path in the context and what is still to be looked at. Not by recursion: folders can be as deep as
        // paths are long.
        let mut open = vec![(PathBuf::new(), list(&root)?.into_iter())];
        while let Some((folder, names)) = open.last_mut() {
            let Some(name) = names.next() else {
                open.pop();
                continue;
            };
            let path = folder.join(name);
            let full = root.join(&path);
            let about = fs::symlink_metadata(&full).map_err(|source| gone_or(&full, source))?;
            let kind = about.file_type();
            if kind.is_dir() {
                if packer.folder(&path, attributes(&about))? {
                    open.push((path, list(&full)?.into_iter()));
                }
            } else if !packer.wants(&path) {
            } else if kind.is_file() {
                pack_file(&path, &full, packer)?;
            } else if kind.is_symlink() {
                let target = fs::read_link(&full).map_err(|source| gone_or(&full, source))?;
                packer.link(&path, attributes(&about), &target)?;
            } else {
                packer.skip(&path);
            }
        }
        Ok(())
    }

    /// A path with its links followed; `None` where they lead out.
    fn within(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let path = self.root.join(path).canonicalize()?;
        Ok(path.starts_with(&self.root).then_some(path))
    }
}

fn pack_file(path: &Path, full: &Path, packer: &mut Packer<'_, impl Write>) -> Result<(), PackError> {
    // Not through a link, nor waiting at a pipe, that came in its place just now.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(full);
    let file = file.map_err(|source| gone_or(full, source))?;
    let about = |file: &File| file.metadata().map_err(|source| PackError::Read { path: full.to_owned(), source });
    let before = about(&file)?;
    if !before.is_file() {
        return Err(PackError::Changed(full.to_owned()));
    }
    packer.file(path, attributes(&before), before.len(), &file, full)?;
    let after = about(&file)?;
    let stamp = |about: &Metadata| (about.len(), about.mtime(), about.mtime_nsec());
    if stamp(&before) == stamp(&after) { Ok(()) } else { Err(PackError::Changed(full.to_owned())) }
}

fn list(folder: &Path) -> Result<Vec<OsString>, PackError> {
    let names = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
    let mut names: Vec<OsString> = names.map_err(|source| gone_or(folder, source))?;
    names.sort_unstable();
    Ok(names)
}

fn gone_or(path: &Path, source: io::Error) -> PackError {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => PackError::Changed(path.to_owned()),
        // What a link in a file's place gives to who does not follow it.
        _ if source.raw_os_error() == Some(libc::ELOOP) => PackError::Changed(path.to_owned()),
        _ => PackError::Read { path: path.to_owned(), source },
    }
}

fn attributes(about: &Metadata) -> Attributes {
    Attributes { mode: about.mode(), modified: u64::try_from(about.mtime()).unwrap_or(0) }
}
