//! Where old pictures wait until nobody reads them any more.

use std::sync::Arc;

use crate::live::Live;

/// Keeps every [`Live`] that was in force until it holds the last reference, so that a data thread never frees one in the
/// middle of a request.
#[derive(Debug, Default)]
pub struct Graveyard(Vec<Arc<Live>>);

impl Graveyard {
    /// Takes one that is in force no more.
    pub fn take(&mut self, live: Arc<Live>) {
        self.0.push(live);
        self.sweep();
    }

    /// Frees those that nobody else holds.
    pub fn sweep(&mut self) {
        self.0.retain(|live| Arc::strong_count(live) > 1);
    }

    /// Whether none is waited for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
