//! How the files stand to what is in force.

use std::time::SystemTime;

use crate::config::diagnostic::Diagnostic;

/// Kept up to date by the reloader, read by `status` and the metrics.
#[derive(Debug)]
pub struct Standing {
    /// Edits that came into force, the first load among them.
    pub accepted: u64,
    /// Edits that were refused, in whole or in part.
    pub rejected: u64,
    /// When what is in force came into force.
    pub since: SystemTime,
    /// What is wrong with the files as they are now, warnings among it.
    pub diagnostics: Vec<Diagnostic>,
    /// Settings that were changed and take effect only when tidegate starts anew.
    pub at_next_start: Vec<&'static str>,
    /// Whether the files are looked at now and then, for lack of inotify watches.
    pub polls: bool,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            accepted: 0,
            rejected: 0,
            since: SystemTime::now(),
            diagnostics: Vec::new(),
            at_next_start: Vec::new(),
            polls: false,
        }
    }
}

impl Standing {
    /// Whether an edit is held back.
    #[must_use]
    pub fn is_held_back(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}
