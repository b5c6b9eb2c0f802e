//! Memory that connections have given up goes back to the system.
//!
//! The allocator (mimalloc 3) keeps what is freed for a second, and looks for what is due only when it takes whole pages back. A thread
//! that has just fallen quiet takes none back any more, so that what a burst of connections needed would stay with it.

use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

/// How long after memory was given up it is looked for: longer than the allocator keeps it.
const AFTER: Duration = Duration::from_millis(1500);

/// A block so large that the allocator has no page for it to share. Nothing is written to it, so that it costs no memory.
const LARGE: usize = 2 * 1024 * 1024;

/// Whether a thread has given up memory.
#[derive(Debug, Default)]
pub struct Leftovers {
    some: Notify,
}

impl Leftovers {
    /// There are some, or there are more.
    pub fn add(&self) {
        self.some.notify_one();
    }

    /// Has them cleared away, a moment after they came. Never returns.
    pub async fn clear(self: Rc<Self>) {
        loop {
            self.some.notified().await;
            tokio::time::sleep(AFTER).await;
            drop(black_box(Vec::<u8>::with_capacity(LARGE)));
        }
    }
}
