//! Where old pictures wait until nobody reads them any more.

use std::sync::Arc;

use crate::live::Live;
use crate::telemetry::access::AccessLog;

/// Keeps every [`Live`] that was in force until it holds the last reference, so that a data thread never frees one in the
/// middle of a request. So it does with access logs: dropping one waits for its last lines to be written.
#[derive(Debug, Default)]
pub struct Graveyard {
    lives: Vec<Arc<Live>>,
    logs: Vec<Arc<AccessLog>>,
}

impl Graveyard {
    /// Takes one that is in force no more, now that `successor` is.
    pub fn take(&mut self, live: Arc<Live>, successor: &Live) {
        if let Some(log) = &live.access
            && !successor.access.as_ref().is_some_and(|next| Arc::ptr_eq(log, next))
        {
            self.logs.push(Arc::clone(log));
        }
        self.lives.push(live);
        self.sweep();
    }

    /// Frees those that nobody else holds.
    pub fn sweep(&mut self) {
        self.lives.retain(|live| Arc::strong_count(live) > 1);
        self.logs.retain(|log| Arc::strong_count(log) > 1);
    }

    /// Whether none is waited for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lives.is_empty() && self.logs.is_empty()
    }
}
