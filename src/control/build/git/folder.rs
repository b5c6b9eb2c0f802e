//! A folder for a repository, for as long as it is needed.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often removing is tried: a process of git that was killed may end a write after the folder was emptied.
const TRIES: u32 = 50;

/// A folder that nobody else can look into, removed with all that is in it when dropped.
#[derive(Debug)]
pub(super) struct TempFolder(PathBuf);

impl TempFolder {
    pub(super) fn new(within: &Path) -> io::Result<Self> {
        let path = within.join(format!("tidegate-build-{:016x}", rand::random::<u64>()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        for _ in 0..TRIES {
            match fs::remove_dir_all(&self.0) {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return,
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        tracing::warn!(folder = %self.0.display(), "a folder of a build could not be removed");
    }
}
