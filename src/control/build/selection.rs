//! Which paths of a context are sent.

use std::path::{Path, PathBuf};

use super::ignore::Ignore;

/// What `.dockerignore` leaves, and what the engine's builder needs in any case.
#[derive(Debug, Default)]
pub(super) struct Selection {
    ignore: Ignore,
    always: Vec<PathBuf>,
}

impl Selection {
    /// `always` are the Dockerfile and `.dockerignore`; the builder itself takes them out where rules leave them out.
    pub(super) fn new(ignore: Ignore, always: Vec<PathBuf>) -> Self {
        Self { ignore, always }
    }

    pub(super) fn has(&self, path: &Path) -> bool {
        self.always.iter().any(|always| always == path) || !self.ignore.skips(&path.to_string_lossy())
    }

    pub(super) fn may_have_below(&self, folder: &Path) -> bool {
        self.always.iter().any(|always| always.starts_with(folder))
            || self.ignore.may_keep_below(&folder.to_string_lossy())
    }
}
