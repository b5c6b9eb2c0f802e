//! Where in the file system a change would show: the folders and files that a watched path leads through at this moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    ops::Bound,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
};

use notify::{
    EventKind,
    event::{AccessKind, AccessMode, ModifyKind},
};

use super::WatchSet;

/// As many links as Linux itself follows in one path (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// How deep folders are followed of which everything counts.
const MAX_DEPTH: u32 = 4;

/// Folders with the names in them that matter, and files; free of symlinks, so that each inode is watched under one path.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub(super) struct Places {
    folders: BTreeMap<PathBuf, Names>,
    files: BTreeSet<PathBuf>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
struct Names {
    listed: BTreeSet<OsString>,
    /// Any YAML file.
    yaml: bool,
    /// Any file. Those that are there have no watch of their own, since there may be thousands.
    all: bool,
    /// None of its YAML files is a link, nor anything else that is watched: an edit of one is an edit of that one alone.
    plain: bool,
}

impl Places {
    pub(super) fn trace(set: &WatchSet) -> Self {
        let mut places = Self::default();
        for file in &set.files {
            places.follow(file);
        }
        for folder in &set.folders {
            let Some(folder) = places.follow(folder) else { continue };
            let mut plain =
                !places.folders.get(&folder).is_some_and(|names| names.listed.iter().any(|name| is_yaml(name)));
            let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
            for entry in entries.filter(|entry| is_yaml(&entry.file_name())) {
                // What the listing calls a file needs no walk.
                if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                    places.note(&folder, entry.file_name());
                    places.files.insert(entry.path());
                } else {
                    plain = false;
                    places.follow(&entry.path());
                }
            }
            let names = places.folders.entry(folder).or_default();
            (names.yaml, names.plain) = (true, plain);
        }
        for folder in &set.wholes {
            places.follow_all(folder, MAX_DEPTH);
        }
        places
    }

    /// The same for everything in a folder.
    fn follow_all(&mut self, folder: &Path, depth: u32) {
        let Some(folder) = self.follow(folder).filter(|_| depth > 0) else { return };
        if std::mem::replace(&mut self.folders.entry(folder.clone()).or_default().all, true) {
            return;
        }
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| !kind.is_file()) {
                self.follow_all(&entry.path(), depth - 1);
            }
        }
    }

    /// Walks along `path` and notes each symlink on the way, as well as where it ends: at a file, at a folder (which it returns),
    /// or in the folder where the next name is missing.
    fn follow(&mut self, path: &Path) -> Option<PathBuf> {
        let mut here = PathBuf::from("/");
        let mut ahead: Vec<OsString> = names(path);
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if name == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&name);
            let found = fs::symlink_metadata(&next).map(|found| found.file_type());
            match found {
                Ok(kind) if kind.is_dir() => {
                    if ahead.is_empty() {
                        // Its own watch tells of its end, but late while somebody's shell is in it.
                        self.note(&here, name);
                    }
                    here = next;
                }
                Ok(kind) if kind.is_symlink() => {
                    self.note(&here, name);
                    links += 1;
                    let target = fs::read_link(&next).ok().filter(|_| links <= MAX_LINKS)?;
                    if target.is_absolute() {
                        here = PathBuf::from("/");
                    }
                    ahead.extend(names(&target));
                }
                Ok(_) => {
                    self.note(&here, name);
                    self.files.insert(next);
                    return None;
                }
                Err(_) => {
                    self.note(&here, name);
                    return None;
                }
            }
        }
        Some(here)
    }

    fn note(&mut self, folder: &Path, name: OsString) {
        self.folders.entry(folder.to_owned()).or_default().listed.insert(name);
    }

    /// Everything that needs a watch.
    pub(super) fn all(&self) -> impl Iterator<Item = &Path> {
        self.folders.keys().chain(&self.files).map(PathBuf::as_path)
    }

    /// Whether a change of `path` is a change of what is watched.
    pub(super) fn concerns(&self, path: &Path) -> bool {
        if self.files.contains(path) || self.folders.contains_key(path) {
            return true;
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return false };
        self.folders
            .get(folder)
            .is_some_and(|names| names.all || names.listed.contains(name) || (names.yaml && is_yaml(name)))
    }

    /// Whether something is watched at `path` or below it.
    pub(super) fn touches(&self, path: &Path) -> bool {
        // What lies below a path follows it in the order of paths.
        let from = (Bound::Included(path), Bound::Unbounded);
        let folder = self.folders.range::<Path, _>(from).next().map(|(folder, _)| folder);
        let file = self.files.range::<Path, _>(from).next();
        folder.into_iter().chain(file).any(|place| place.starts_with(path))
    }

    /// Whether `path` is a YAML file that was in its folder, and is still a file there, under this name alone.
    pub(super) fn is_plain(&self, path: &Path) -> bool {
        let in_plain = |folder| self.folders.get(folder).is_some_and(|names| names.yaml && names.plain);
        self.files.contains(path)
            && path.file_name().is_some_and(is_yaml)
            && path.parent().is_some_and(in_plain)
            && fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.nlink() == 1)
    }

    /// A number that differs when a file or folder was replaced or written to, as far as the inodes' times tell; `stamp` is told
    /// what each file has added to it. Files without a watch of their own are looked at only if it is to be `deep`.
    pub(super) fn fingerprint(&self, deep: bool, mut stamp: impl FnMut(&Path, u64)) -> u64 {
        let mut hash = DefaultHasher::new();
        self.hash(&mut hash);
        for (folder, names) in &self.folders {
            inode(folder).hash(&mut hash);
            if deep && names.all {
                let entries = fs::read_dir(folder).into_iter().flatten().flatten();
                entries.fold(0_u64, |sum, entry| sum.wrapping_add(file_print(&entry.path()))).hash(&mut hash);
            }
        }
        self.files.iter().fold(hash.finish(), |sum, file| {
            let print = file_print(file);
            stamp(file, print);
            sum.wrapping_add(print)
        })
    }
}

/// What a file adds to the [`Places::fingerprint`].
pub(super) fn file_print(file: &Path) -> u64 {
    let mut hash = DefaultHasher::new();
    let found = fs::symlink_metadata(file).ok();
    let times = |at: fs::Metadata| (at.mtime(), at.mtime_nsec(), at.ctime(), at.ctime_nsec());
    file.hash(&mut hash);
    found.map(|found| (found.dev(), found.ino(), found.size(), times(found))).hash(&mut hash);
    hash.finish()
}

/// Device and inode of what is at `path`, unless nothing is.
pub(super) fn inode(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Whether an event of this kind may mean other contents. Opening and reading do not; closing after a write does, because a write
/// through a memory map shows in nothing else.
pub(super) fn matters(kind: &EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if *access != AccessKind::Close(AccessMode::Write))
}

/// Whether an event of this kind makes `notify` drop its watches.
pub(super) fn removes(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)))
}

/// The names of a path, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(name).collect()
}

fn is_yaml(name: &OsStr) -> bool {
    let extension = Path::new(name).extension();
    extension.is_some_and(|it| it == "yaml" || it == "yml") && !name.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use notify::event::{CreateKind, DataChange};

    use super::*;

    #[test]
    fn only_what_is_in_the_set_concerns_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("services")).unwrap();
        fs::write(root.join("tidegate.yaml"), "").unwrap();
        let set = WatchSet::new()
            .file(root.join("tidegate.yaml"))
            .folder(root.join("services"))
            .file(root.join("certs/a.pem"));
        let places = Places::trace(&set);

        for concerned in ["tidegate.yaml", "services", "services/new.yaml", "services/new.yml", "certs"] {
            assert!(places.concerns(&root.join(concerned)), "{concerned}");
        }
        for foreign in
            ["tidegate.sock", "tidegate.yaml~", "other", "services/.#new.yaml", "services/4913", "services/a.yaml.swp"]
        {
            assert!(!places.concerns(&root.join(foreign)), "{foreign}");
        }
    }

    #[test]
    fn every_link_on_the_way_concerns_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("releases/42/config")).unwrap();
        fs::write(root.join("releases/42/config/real.yaml"), "").unwrap();
        symlink("real.yaml", root.join("releases/42/config/tidegate.yaml")).unwrap();
        symlink(root.join("releases/42"), root.join("current")).unwrap();
        let places = Places::trace(&WatchSet::new().file(root.join("current/config/../config/tidegate.yaml")));

        for concerned in ["current", "releases/42/config/tidegate.yaml", "releases/42/config/real.yaml"] {
            assert!(places.concerns(&root.join(concerned)), "{concerned}: {places:?}");
        }
        assert!(!places.concerns(&root.join("releases/43")), "{places:?}");
    }

    #[test]
    fn a_circle_of_links_ends() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        let places = Places::trace(&WatchSet::new().file(root.join("a")));
        assert!(places.concerns(&root.join("a")) && places.concerns(&root.join("b")));
    }

    #[test]
    fn reading_is_no_change() {
        assert!(!matters(&EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(!matters(&EventKind::Access(AccessKind::Close(AccessMode::Read))));
        assert!(matters(&EventKind::Access(AccessKind::Close(AccessMode::Write))));
        assert!(matters(&EventKind::Modify(ModifyKind::Data(DataChange::Any))));
        assert!(matters(&EventKind::Create(CreateKind::File)));
    }
}
