//! How long requests were held before they went on.

use super::{Count, Shards, add_each};

/// The upper bounds of the histogram's buckets, in microseconds, 10 ms to 60 s; a last bucket holds what was held longer.
pub const HELD_BOUNDS_US: [u64; 12] = [
    10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000,
    60_000_000,
];
const BUCKETS: usize = HELD_BOUNDS_US.len() + 1;

/// The requests of one version that waited for it, whatever came of that; one shard per data thread.
#[derive(Debug)]
pub struct HeldCounters(Shards<HeldShard>);

#[derive(Debug, Default)]
struct HeldShard {
    buckets: [Count; BUCKETS],
    held_us: Count,
}

impl HeldCounters {
    /// Counters for `threads` data threads.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self(Shards::new(threads))
    }

    /// Counts one request that was held for so many microseconds. `thread` is the number of the data thread that calls.
    ///
    /// # Panics
    /// If there is no such data thread.
    pub fn record(&self, thread: usize, held_us: u64) {
        let shard = self.0.of(thread);
        let bucket = HELD_BOUNDS_US.iter().position(|&bound| held_us <= bound).unwrap_or(HELD_BOUNDS_US.len());
        shard.buckets[bucket].add(1);
        shard.held_us.add(held_us);
    }

    /// The sum over all threads.
    #[must_use]
    pub fn total(&self) -> HeldTotals {
        let mut total = HeldTotals::default();
        for shard in self.0.iter() {
            add_each(&mut total.buckets, &shard.buckets.each_ref().map(Count::get));
            total.held_us += shard.held_us.get();
        }
        total
    }
}

/// What [`HeldCounters`] had counted, at one moment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct HeldTotals {
    /// Requests by how long they were held, not cumulated: one number for each of [`HELD_BOUNDS_US`], and one for what was held
    /// longer.
    pub buckets: [u64; BUCKETS],
    /// The sum of all that time, in microseconds.
    pub held_us: u64,
}

impl HeldTotals {
    /// All requests that were held.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_bucket_that_it_does_not_exceed() {
        assert!(HELD_BOUNDS_US.is_sorted());
        let counters = HeldCounters::new(2);
        for (thread, held) in [(0, 0), (1, 10_000), (0, 10_001), (1, 60_000_000), (0, 60_000_001)] {
            counters.record(thread, held);
        }
        let total = counters.total();
        assert_eq!((total.buckets[0], total.buckets[1], total.buckets[11], total.buckets[12]), (2, 1, 1, 1));
        assert_eq!((total.requests(), total.held_us), (5, 120_020_002));
    }
}
