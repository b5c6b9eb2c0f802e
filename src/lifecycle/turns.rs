//! Turns to start: so many instances of the whole host may be coming up at a time, and others wait in line.
//!
//! A turn is held until its instance is ready, or is not going to be. What is only paused needs none to go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The turns there are, shared by all units.
#[derive(Debug, Clone)]
pub struct Turns {
    semaphore: Arc<Semaphore>,
    most: u32,
    waiting: Arc<AtomicU32>,
}

/// A turn; given back when dropped.
#[derive(Debug)]
pub struct Turn {
    _permit: OwnedSemaphorePermit,
}

/// How turns stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnsReading {
    /// Instances that may be coming up at a time.
    pub most: u32,
    /// Those that are.
    pub taken: u32,
    /// Those that wait for their turn.
    pub waiting: u32,
}

/// Counts one who waits.
struct InLine(Arc<AtomicU32>);

impl InLine {
    fn join(line: &Arc<AtomicU32>) -> Self {
        line.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(line))
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Turns {
    /// At most so many at a time, 1 or more.
    #[must_use]
    pub fn new(most: u32) -> Self {
        let permits = usize::try_from(most.max(1)).expect("32 bits fit");
        Self { semaphore: Arc::new(Semaphore::new(permits)), most: most.max(1), waiting: Arc::default() }
    }

    /// A turn, if one can be had at once.
    #[must_use]
    pub fn take_now(&self) -> Option<Turn> {
        Arc::clone(&self.semaphore).try_acquire_owned().ok().map(|permit| Turn { _permit: permit })
    }

    /// Waits for a turn, first come, first served.
    pub async fn take(&self) -> Turn {
        let _in_line = InLine::join(&self.waiting);
        let permit = Arc::clone(&self.semaphore).acquire_owned().await;
        Turn { _permit: permit.expect("it is never closed") }
    }

    /// How they stand now.
    #[must_use]
    pub fn reading(&self) -> TurnsReading {
        let free = u32::try_from(self.semaphore.available_permits()).unwrap_or(u32::MAX);
        TurnsReading {
            most: self.most,
            taken: self.most.saturating_sub(free),
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn who_comes_first_has_the_next_turn() {
        let turns = Turns::new(2);
        let (first, second) = (turns.take_now().expect("free"), turns.take_now().expect("free"));
        assert!(turns.take_now().is_none());
        let mut third = Box::pin(turns.take());
        let mut fourth = Box::pin(turns.take());
        assert!(third.as_mut().now_or_never().is_none() && fourth.as_mut().now_or_never().is_none());
        assert_eq!(turns.reading(), TurnsReading { most: 2, taken: 2, waiting: 2 });
        drop(first);
        assert!(fourth.as_mut().now_or_never().is_none(), "it is not its turn");
        let third = third.await;
        drop(fourth);
        assert_eq!(turns.reading().waiting, 0, "who leaves is in line no more");
        drop((second, third));
        assert_eq!(turns.reading(), TurnsReading { most: 2, taken: 0, waiting: 0 });
    }
}
