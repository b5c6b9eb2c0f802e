//! Whether a file is still the one that was read, without reading it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A file that changed this short a time before it was looked at may change again without a new time on it: file systems
/// keep times in steps (git calls such a file racily clean).
const SETTLED_AFTER_SECONDS: i64 = 2;

/// What a file system says of a file, as far as it tells whether the content is still the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A file, and its stamp when it was read; no stamp if it was not there, or had changed only just then.
#[derive(Debug, Clone)]
pub(crate) struct Stamped {
    pub(crate) path: PathBuf,
    stamp: Option<Stamp>,
}

impl Stamped {
    /// To be called before the file is read.
    pub(crate) fn now(path: &Path) -> Self {
        Self { path: path.to_owned(), stamp: Stamp::settled(path) }
    }

    /// Whether the file is surely as it was.
    pub(crate) fn is_fresh(&self) -> bool {
        self.stamp.is_some() && self.stamp == Stamp::of(&self.path)
    }
}

impl Stamp {
    /// That of a file which did not change just now. To be called before the file is read.
    pub(crate) fn settled(path: &Path) -> Option<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs().cast_signed());
        Self::of(path).filter(|stamp| stamp.changed.0 + SETTLED_AFTER_SECONDS < now)
    }

    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            // Unlike the time of modification, nobody can set this one back.
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}
