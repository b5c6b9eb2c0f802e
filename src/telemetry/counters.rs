//! Counters that cost a data thread a few plain stores.
//!
//! **The single-writer rule.** Each data thread has a shard of its own, on cache lines of its own, and only that thread writes to
//! it. A count is then a relaxed load, an addition and a relaxed store, with no locked instruction and no shared line; anyone may
//! read at any time and sees each count as it was a moment ago. A second writer of a shard would lose counts (nothing worse).

mod held;
mod proxy;
mod requests;
mod wakes;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub use held::{HELD_BOUNDS_US, HeldCounters, HeldTotals};
pub use proxy::{ProxyCounters, ProxyShard, ProxyTotals, Unrouted};
pub use requests::{BOUNDS_US, Class, RequestCounters, RequestTotals, Sample};
pub use wakes::{WAKE_BOUNDS_MS, WakeOutcome, WakeTotals};

/// A number written by one thread and read by any.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n`. Only for the thread that owns the shard.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// As it was a moment ago.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One `T` per data thread, each on cache lines of its own (pairs of 64 bytes, because Intel prefetches them in pairs).
#[derive(Debug)]
pub struct Shards<T>(Box<[Padded<T>]>);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T: Default> Shards<T> {
    /// Shards for `threads` data threads (at least one), which are numbered from 0.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self((0..threads.max(1)).map(|_| Padded::default()).collect())
    }

    /// The shard of one data thread, for that thread to write to.
    ///
    /// # Panics
    /// If there is no such thread: the number of threads is fixed when the process starts.
    #[inline]
    #[must_use]
    pub fn of(&self, thread: usize) -> &T {
        &self.0[thread].0
    }

    /// All shards, to be read.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &padded.0)
    }
}

fn add_each<const N: usize>(sums: &mut [u64; N], others: &[u64; N]) {
    for (sum, other) in sums.iter_mut().zip(others) {
        *sum += other;
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_several_threads_count_sums_up() {
        const EACH: u64 = 20_000;
        let counters = RequestCounters::new(4);
        let proxy = ProxyCounters::new(4);
        thread::scope(|scope| {
            for thread in 0..4 {
                let (counters, proxy) = (&counters, &proxy);
                scope.spawn(move || {
                    for n in 0..EACH {
                        let class = if n % 4 == 0 { Class::of(503) } else { Class::of(200) };
                        let sample = Sample { class, elapsed_us: n % 2_000, bytes_in: 1, bytes_out: 3 };
                        counters.record(thread, &sample);
                        proxy.of(thread).connections_accepted.add(1);
                        if n % 2 == 0 {
                            proxy.of(thread).connections_closed.add(1);
                            proxy.of(thread).unrouted(Unrouted::UnknownHost);
                        }
                    }
                });
            }
            // Reading in the meantime disturbs nobody and never goes back.
            let mut last = 0;
            while last < 4 * EACH {
                let now = counters.total().requests();
                assert!(now >= last);
                last = now;
            }
        });

        let total = counters.total();
        assert_eq!(total.requests(), 4 * EACH);
        assert_eq!(total.class(Class::ServerError), EACH);
        assert_eq!(total.class(Class::Success), 3 * EACH);
        assert_eq!(total.buckets.iter().sum::<u64>(), 4 * EACH);
        assert_eq!(total.buckets[..4], [4 * 5_010, 4 * 5_000, 4 * 9_990, 0]);
        assert_eq!((total.bytes_in, total.bytes_out), (4 * EACH, 12 * EACH));
        assert_eq!(total.elapsed_us, 4 * (EACH / 2_000) * (1_999 * 2_000 / 2));

        let proxy = proxy.total();
        assert_eq!((proxy.connections_accepted, proxy.connections_open), (4 * EACH, 2 * EACH));
        assert_eq!(proxy.unrouted[Unrouted::UnknownHost as usize], 2 * EACH);
    }

    #[test]
    fn shards_share_no_cache_line() {
        let shards = Shards::<Count>::new(2);
        let distance = std::ptr::from_ref(shards.of(1)).addr() - std::ptr::from_ref(shards.of(0)).addr();
        assert!(distance >= 128);
        assert_eq!(std::ptr::from_ref(shards.of(0)).addr() % 128, 0);
    }

    #[test]
    fn the_order_of_the_names_is_that_of_the_numbers() {
        assert!(Class::ALL.iter().enumerate().all(|(n, class)| *class as usize == n));
        assert!(Unrouted::ALL.iter().enumerate().all(|(n, why)| *why as usize == n));
        assert_eq!(Class::of(101), Class::Informational);
        assert_eq!(Class::of(999), Class::ServerError);
    }
}
