//! The number of a service's next weighted choice.

use super::sync::{AtomicU64, Ordering};

/// Counts weighted choices from 0, over all threads: each number is given once, and none is left out, so that the schedule's
/// shares hold in the order of the numbers. Checked by `tests/loom.rs`.
#[derive(Debug)]
pub struct Cursor(AtomicU64);

impl Cursor {
    /// The next number is 0.
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        // No other memory hangs on the number, and one location's changes have one order for all threads.
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

impl Default for Cursor {
    fn default() -> Self {
        Self::new()
    }
}
