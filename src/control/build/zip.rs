//! A zip, as a context's source. It is never unpacked on this host: its entries go straight into the tar for the engine.

mod directory;
mod error;
mod links;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use zip::ZipArchive;

pub use self::error::ZipError;
use self::links::{Place, resolve};
use super::pack::{Attributes, PackError, Packer};
use super::tree::{Found, is_dockerfile};

/// The most entries.
const MOST_ENTRIES: u64 = 200_000;

/// The most bytes, unpacked: 8 GiB.
const MOST_BYTES: u64 = 8 << 30;

/// How many times its size a zip may unpack to, beyond [`RATIO_FROM`]. Sources pack to a fifth, logs to a fiftieth; what packs
/// better is mostly zeros.
const MOST_RATIO: u64 = 100;

/// Below that, the ratio does not matter: 64 MiB.
const RATIO_FROM: u64 = 64 << 20;

/// How deep paths may be.
const MOST_PARTS: usize = 256;

/// The longest target of a symbolic link (PATH_MAX).
const LONGEST_TARGET: u64 = 4096;

/// A zip that was looked through.
#[derive(Debug)]
pub(super) struct ZipTree {
    archive: ZipArchive<File>,
    entries: Entries,
    /// The folder that counts as the root; empty for the zip's own.
    root: PathBuf,
    path: PathBuf,
}

/// By their paths; every parent has one.
type Entries = BTreeMap<PathBuf, Entry>;

#[derive(Debug)]
struct Entry {
    kind: Kind,
    attributes: Attributes,
}

#[derive(Debug)]
enum Kind {
    Folder,
    File {
        index: usize,
        size: u64,
    },
    Link {
        target: PathBuf,
    },
    /// A device or the like.
    Other,
}

impl ZipTree {
    /// Opens a zip and looks at each of its entries.
    pub(super) fn open(path: &Path) -> Result<Self, ZipError> {
        Self::open_with(path, MOST_ENTRIES, MOST_BYTES)
    }

    fn open_with(path: &Path, most_entries: u64, most_bytes: u64) -> Result<Self, ZipError> {
        let unreadable = |source| ZipError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(unreadable)?;
        let packed = file.metadata().map_err(unreadable)?.len();
        // Before all of them are read into memory.
        let claimed = directory::entries(&mut file).map_err(unreadable)?.unwrap_or(0);
        let too_many = |entries| ZipError::TooMany { path: path.to_owned(), entries, most: most_entries };
        if claimed > most_entries {
            return Err(too_many(claimed));
        }
        let broken = |source| ZipError::Broken { path: path.to_owned(), source };
        let mut archive = ZipArchive::new(file).map_err(broken)?;
        if archive.len() as u64 > most_entries {
            return Err(too_many(archive.len() as u64));
        }
        if archive.has_overlapping_files().map_err(broken)? {
            return Err(ZipError::Overlap(path.to_owned()));
        }
        let entries = index(&mut archive, path)?;
        let bytes = entries.values().fold(0_u64, |sum, entry| match entry.kind {
            Kind::File { size, .. } => sum.saturating_add(size),
            _ => sum,
        });
        if bytes > most_bytes {
            return Err(ZipError::TooLarge { path: path.to_owned(), bytes, most: most_bytes });
        }
        if bytes > RATIO_FROM.max(packed.saturating_mul(MOST_RATIO)) {
            return Err(ZipError::Bomb { path: path.to_owned(), bytes, packed });
        }
        for (at, entry) in &entries {
            if let Kind::Link { target } = &entry.kind
                && matches!(resolve(&entries, at), Place::Outside)
            {
                return Err(ZipError::LinkOut { entry: at.clone(), target: target.clone() });
            }
        }
        Ok(Self { archive, entries, root: PathBuf::new(), path: path.to_owned() })
    }

    /// Takes a single top folder for the root. Whether there is one.
    pub(super) fn enter_single_folder(&mut self) -> bool {
        // What macOS adds, and what no one sees, does not count.
        let counts = |name: &Path| name != Path::new("__MACOSX") && name != Path::new(".DS_Store");
        let mut top = self.entries.iter().filter(|(path, _)| path.components().count() == 1 && counts(path));
        match (top.next(), top.next()) {
            (Some((path, Entry { kind: Kind::Folder, .. })), None) => {
                self.root = path.clone();
                true
            }
            _ => false,
        }
    }

    pub(super) fn find(&self, path: &Path) -> Found {
        match resolve(&self.entries, &self.root.join(path)) {
            Place::Outside => Found::Outside,
            Place::At(path) if !path.starts_with(&self.root) => Found::Outside,
            Place::At(path) if path.as_os_str().is_empty() => Found::Folder,
            Place::At(path) => match self.entries.get(&path).map(|entry| &entry.kind) {
                Some(Kind::Folder) => Found::Folder,
                Some(Kind::File { .. }) => Found::File,
                _ => Found::Nothing,
            },
            Place::Nowhere => Found::Nothing,
        }
    }

    pub(super) fn read(&mut self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let Place::At(path) = resolve(&self.entries, &self.root.join(path)) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let Some(Entry { kind: Kind::File { index, .. }, .. }) = self.entries.get(&path) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut text = Vec::new();
        let file = self.archive.by_index(*index).map_err(io::Error::other)?;
        file.take(most + 1).read_to_end(&mut text)?;
        if text.len() as u64 > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(text)
    }

    pub(super) fn dockerfiles(&self) -> Vec<PathBuf> {
        let files = self.entries.iter().filter(|(path, entry)| {
            matches!(entry.kind, Kind::File { .. }) && is_dockerfile(path) && !path.starts_with("__MACOSX")
        });
        files.map(|(path, _)| path.strip_prefix(&self.root).unwrap_or(path).to_owned()).collect()
    }

    /// Sends what is in `context`.
    pub(super) fn pack(&mut self, context: &Path, packer: &mut Packer<'_, impl Write>) -> Result<(), PackError> {
        let Place::At(root) = resolve(&self.entries, &self.root.join(context)) else { return Ok(()) };
        for (full, entry) in &self.entries {
            let Ok(path) = full.strip_prefix(&root) else { continue };
            if path.as_os_str().is_empty() {
                continue;
            }
            match &entry.kind {
                Kind::Folder => drop(packer.folder(path, entry.attributes)?),
                _ if !packer.wants(path) => {}
                Kind::File { index, size } => {
                    let file = self.archive.by_index(*index);
                    let file = file.map_err(|source| ZipError::Broken { path: self.path.clone(), source })?;
                    packer.file(path, entry.attributes, *size, file, full).map_err(|error| match error {
                        // Its checksum or its length is wrong; nobody writes there.
                        PackError::Read { source, .. } => ZipError::Entry { entry: full.clone(), source }.into(),
                        PackError::Changed(entry) => ZipError::Length(entry).into(),
                        error => error,
                    })?;
                }
                Kind::Link { target } => packer.link(path, entry.attributes, target)?,
                Kind::Other => packer.skip(path),
            }
        }
        Ok(())
    }
}

/// Looks at each entry.
fn index(archive: &mut ZipArchive<File>, path: &Path) -> Result<Entries, ZipError> {
    let mut entries = Entries::new();
    for index in 0..archive.len() {
        let broken = |source| ZipError::Broken { path: path.to_owned(), source };
        // Not yet unpacked: what is encrypted or packed in another way is told below.
        let raw = archive.by_index_raw(index).map_err(broken)?;
        let name = raw.name().map_err(broken)?.into_owned();
        let at = checked(&name)?;
        if raw.encrypted() {
            return Err(ZipError::Encrypted(name));
        }
        let mode = raw.unix_mode();
        let kind = mode.map_or(0, |mode| mode & libc::S_IFMT);
        let size = raw.size();
        let (is_folder, is_link) = (raw.is_dir() || kind == libc::S_IFDIR, kind == libc::S_IFLNK);
        let modified = raw.last_modified().map_or(0, directory::seconds);
        drop(raw);
        let kind = if is_folder {
            Kind::Folder
        } else if is_link {
            Kind::Link { target: target(archive, index, &name, path)? }
        } else if matches!(kind, 0 | libc::S_IFREG) {
            Kind::File { index, size }
        } else {
            Kind::Other
        };
        // `./` is the root, which needs no entry.
        if at.as_os_str().is_empty() {
            continue;
        }
        let usual = if is_folder { 0o755 } else { 0o644 };
        let mode = mode.map(|mode| mode & 0o777).filter(|mode| *mode != 0).unwrap_or(usual);
        insert(&mut entries, at, Entry { kind, attributes: Attributes { mode, modified } })?;
    }
    Ok(entries)
}

/// An entry's name as a path below the root.
fn checked(name: &str) -> Result<PathBuf, ZipError> {
    let out = || ZipError::Out(name.to_owned());
    if name.is_empty() || name.contains(['\\', '\0']) {
        return Err(ZipError::Name(name.to_owned()));
    }
    let mut path = PathBuf::new();
    for part in Path::new(name).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(out()),
        }
    }
    if path.components().count() > MOST_PARTS {
        return Err(ZipError::Name(name.to_owned()));
    }
    Ok(path)
}

fn insert(entries: &mut Entries, path: PathBuf, entry: Entry) -> Result<(), ZipError> {
    let twice = || ZipError::Twice(path.clone());
    for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
        match entries.get(parent).map(|entry| &entry.kind) {
            Some(Kind::Folder) => break,
            // What is below a link would be written where the link leads.
            Some(_) => return Err(twice()),
            None => {
                let attributes = Attributes { mode: 0o755, modified: entry.attributes.modified };
                entries.insert(parent.to_owned(), Entry { kind: Kind::Folder, attributes });
            }
        }
    }
    match entries.get(&path) {
        Some(Entry { kind: Kind::Folder, .. }) if matches!(entry.kind, Kind::Folder) => {}
        Some(_) => return Err(twice()),
        None => {}
    }
    entries.insert(path, entry);
    Ok(())
}

/// Where a symbolic link leads: its content.
fn target(archive: &mut ZipArchive<File>, index: usize, name: &str, path: &Path) -> Result<PathBuf, ZipError> {
    let broken = |source| ZipError::Broken { path: path.to_owned(), source };
    let mut target = Vec::new();
    let file = archive.by_index(index).map_err(broken)?;
    let read = file.take(LONGEST_TARGET + 1).read_to_end(&mut target);
    read.map_err(|source| ZipError::Entry { entry: name.into(), source })?;
    match String::from_utf8(target) {
        Ok(target) if !target.is_empty() && target.len() as u64 <= LONGEST_TARGET && !target.contains('\0') => {
            Ok(target.into())
        }
        _ => Err(ZipError::Name(name.to_owned())),
    }
}

#[cfg(test)]
mod tests;
