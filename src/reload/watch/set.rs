//! What is to be watched, as the configuration names it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Files and folders to watch, whether or not they exist yet. Relative paths are taken from the current folder.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct WatchSet {
    pub(super) files: BTreeSet<PathBuf>,
    pub(super) folders: BTreeSet<PathBuf>,
    pub(super) wholes: BTreeSet<PathBuf>,
}

impl WatchSet {
    /// Nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With this file: `tidegate.yaml`, a certificate, an `env_file`.
    #[must_use]
    pub fn file(mut self, path: impl AsRef<Path>) -> Self {
        self.add_file(path);
        self
    }

    /// With the `*.yaml` and `*.yml` files of this folder, those to come included. Hidden files and the folders in it are left out.
    #[must_use]
    pub fn folder(mut self, path: impl AsRef<Path>) -> Self {
        self.folders.insert(absolute(path.as_ref()));
        self
    }

    /// With everything in this folder and in the folders in it, three deep, wherever links in it lead.
    #[must_use]
    pub fn all_in(mut self, path: impl AsRef<Path>) -> Self {
        self.wholes.insert(absolute(path.as_ref()));
        self
    }

    /// Adds a file.
    pub fn add_file(&mut self, path: impl AsRef<Path>) {
        self.files.insert(absolute(path.as_ref()));
    }
}

fn absolute(path: &Path) -> PathBuf {
    // Fails for an empty path, or where the current folder was deleted; neither will ever be found, and need not be.
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
