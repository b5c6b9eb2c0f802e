//! Wakes of a version that are over: how they ended, and how long it took until it was ready.

use std::time::Duration;

/// How a wake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WakeOutcome {
    /// An instance is ready.
    Ready,
    /// It could not be started, or ended before it was ready.
    Failed,
    /// It was not ready in time.
    Timeout,
}

impl WakeOutcome {
    /// All of them, in the order of [`WakeTotals::by_outcome`].
    pub const ALL: [Self; 3] = [Self::Ready, Self::Failed, Self::Timeout];

    /// As in the metric's label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
        }
    }
}

/// The upper bounds of the histogram's buckets, in milliseconds; a last bucket holds what took longer. From a small process (tens of
/// milliseconds) over containers (around a second) to what loads for minutes.
pub const WAKE_BOUNDS_MS: [u64; 14] =
    [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 30_000, 60_000, 300_000];

/// The wakes of one version. Plain numbers: wakes are few, and noted by one task.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct WakeTotals {
    /// Wakes by how they ended, in the order of [`WakeOutcome::ALL`].
    pub by_outcome: [u64; WakeOutcome::ALL.len()],
    /// Those that ended ready by how long they took, not cumulated: one number for each of [`WAKE_BOUNDS_MS`], and one for what took
    /// longer.
    pub buckets: [u64; WAKE_BOUNDS_MS.len() + 1],
    /// The sum of their durations, in microseconds.
    pub elapsed_us: u64,
}

impl WakeTotals {
    /// Counts one that is over. How long it took says something of those that ended ready only.
    pub fn count(&mut self, outcome: WakeOutcome, took: Duration) {
        self.by_outcome[outcome as usize] += 1;
        if outcome == WakeOutcome::Ready {
            let bucket = WAKE_BOUNDS_MS.iter().position(|&bound| took <= Duration::from_millis(bound));
            self.buckets[bucket.unwrap_or(WAKE_BOUNDS_MS.len())] += 1;
            self.elapsed_us += u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_up_has_a_duration() {
        let mut totals = WakeTotals::default();
        for (outcome, millis) in [
            (WakeOutcome::Ready, 25),
            (WakeOutcome::Failed, 1),
            (WakeOutcome::Ready, 26),
            (WakeOutcome::Timeout, 30_000),
            (WakeOutcome::Ready, 300_001),
        ] {
            totals.count(outcome, Duration::from_millis(millis));
        }
        assert_eq!(totals.by_outcome, [3, 1, 1]);
        assert_eq!((totals.buckets[1], totals.buckets[2], totals.buckets[14]), (1, 1, 1));
        assert_eq!((totals.buckets.iter().sum::<u64>(), totals.elapsed_us), (3, 300_052_000));
        assert!(WakeOutcome::ALL.iter().enumerate().all(|(n, outcome)| *outcome as usize == n));
        assert!(WAKE_BOUNDS_MS.is_sorted());
    }
}
