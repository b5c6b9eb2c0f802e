//! Counters that cost a data thread a few plain stores.
//!
//! **The single-writer rule.** Each data thread has a shard of its own, on cache lines of its own, and only that thread writes to
//! it. A count is then a relaxed load, an addition and a relaxed store, with no locked instruction and no shared line; anyone may
//! read at any time and sees each count as it was a moment ago. A second writer of a shard would lose counts (nothing worse).

use std::{
    iter::Sum,
    ops::AddAssign,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

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

/// How a request ended, as far as its status tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// 1xx: in practice 101, a tunnel.
    Informational,
    /// 2xx
    Success,
    /// 3xx
    Redirection,
    /// 4xx
    ClientError,
    /// 5xx
    ServerError,
    /// The client left, or the answer broke off.
    Aborted,
}

impl Class {
    /// All of them, in the order of [`RequestTotals::by_class`].
    pub const ALL: [Self; 6] =
        [Self::Informational, Self::Success, Self::Redirection, Self::ClientError, Self::ServerError, Self::Aborted];

    /// The class of a status; 600 and above, which some backends send, count as 5xx.
    #[must_use]
    pub fn of(status: u16) -> Self {
        match status {
            0..200 => Self::Informational,
            200..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }

    /// As in the metric's label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::Aborted => "aborted",
        }
    }
}

/// The upper bounds of the latency histogram's buckets, in microseconds; a last bucket holds what took longer.
pub const BOUNDS_US: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000,
    60_000_000,
];
const BUCKETS: usize = BOUNDS_US.len() + 1;

/// One request that is over.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// How it ended.
    pub class: Class,
    /// From the request's head to the answer's last byte, in microseconds.
    pub elapsed_us: u64,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
}

/// The requests of one version, or those that a service answered itself.
#[derive(Debug)]
pub struct RequestCounters(Shards<RequestShard>);

#[derive(Debug, Default)]
struct RequestShard {
    by_class: [Count; Class::ALL.len()],
    buckets: [Count; BUCKETS],
    elapsed_us: Count,
    bytes_in: Count,
    bytes_out: Count,
}

impl RequestCounters {
    /// Counters for `threads` data threads.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self(Shards::new(threads))
    }

    /// Counts one request. `thread` is the number of the data thread that calls.
    ///
    /// # Panics
    /// If there is no such data thread.
    pub fn record(&self, thread: usize, sample: &Sample) {
        let shard = self.0.of(thread);
        shard.by_class[sample.class as usize].add(1);
        shard.buckets[bucket(sample.elapsed_us)].add(1);
        shard.elapsed_us.add(sample.elapsed_us);
        shard.bytes_in.add(sample.bytes_in);
        shard.bytes_out.add(sample.bytes_out);
    }

    /// The sum over all threads.
    #[must_use]
    pub fn total(&self) -> RequestTotals {
        self.0.iter().map(RequestShard::read).sum()
    }
}

impl RequestShard {
    fn read(&self) -> RequestTotals {
        RequestTotals {
            by_class: self.by_class.each_ref().map(Count::get),
            buckets: self.buckets.each_ref().map(Count::get),
            elapsed_us: self.elapsed_us.get(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
        }
    }
}

/// Most requests are quick, so the first few comparisons find the bucket.
fn bucket(elapsed_us: u64) -> usize {
    BOUNDS_US.iter().position(|&bound| elapsed_us <= bound).unwrap_or(BOUNDS_US.len())
}

/// What was counted, at one moment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct RequestTotals {
    /// Requests by how they ended, in the order of [`Class::ALL`].
    pub by_class: [u64; Class::ALL.len()],
    /// Requests by duration, not cumulated: one number for each of [`BOUNDS_US`], and one for what took longer.
    pub buckets: [u64; BUCKETS],
    /// The sum of all durations, in microseconds.
    pub elapsed_us: u64,
    /// Bytes of request bodies.
    pub bytes_in: u64,
    /// Bytes of answers' bodies.
    pub bytes_out: u64,
}

impl RequestTotals {
    /// All requests.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.by_class.iter().sum()
    }

    /// Those that ended in this way.
    #[must_use]
    pub fn class(&self, class: Class) -> u64 {
        self.by_class[class as usize]
    }
}

impl AddAssign for RequestTotals {
    fn add_assign(&mut self, other: Self) {
        add_each(&mut self.by_class, &other.by_class);
        add_each(&mut self.buckets, &other.buckets);
        self.elapsed_us += other.elapsed_us;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
    }
}

impl Sum for RequestTotals {
    fn sum<I: Iterator<Item = Self>>(totals: I) -> Self {
        totals.fold(Self::default(), |mut sum, total| {
            sum += total;
            sum
        })
    }
}

fn add_each<const N: usize>(sums: &mut [u64; N], others: &[u64; N]) {
    for (sum, other) in sums.iter_mut().zip(others) {
        *sum += other;
    }
}

/// Why a request was answered without a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unrouted {
    /// No service has this host (and path).
    UnknownHost,
    /// A preview domain that this client may not see.
    PreviewDenied,
    /// Not HTTP, or HTTP that two readers would understand differently.
    BadRequest,
    /// A head above the limit.
    HeadTooLarge,
    /// A head that did not come in time.
    HeadTimeout,
    /// `CONNECT`, or an upgrade to something else than WebSocket.
    NotAllowed,
    /// Sent over a connection whose certificate does not cover the host.
    Misdirected,
}

impl Unrouted {
    /// All of them, in the order of [`ProxyTotals::unrouted`].
    pub const ALL: [Self; 7] = [
        Self::UnknownHost,
        Self::PreviewDenied,
        Self::BadRequest,
        Self::HeadTooLarge,
        Self::HeadTimeout,
        Self::NotAllowed,
        Self::Misdirected,
    ];

    /// As in the metric's label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownHost => "unknown_host",
            Self::PreviewDenied => "preview_denied",
            Self::BadRequest => "bad_request",
            Self::HeadTooLarge => "head_too_large",
            Self::HeadTimeout => "head_timeout",
            Self::NotAllowed => "not_allowed",
            Self::Misdirected => "misdirected",
        }
    }
}

/// What the process counts whatever the service; one shard per data thread.
#[derive(Debug)]
pub struct ProxyCounters(Shards<ProxyShard>);

/// One data thread's part of [`ProxyCounters`], for it to add to.
#[derive(Debug, Default)]
pub struct ProxyShard {
    /// Client connections accepted.
    pub connections_accepted: Count,
    /// Those of them that are over.
    pub connections_closed: Count,
    /// Client connections turned away because `max_connections` were open.
    pub connections_refused: Count,
    /// Tunnels (WebSocket) begun.
    pub tunnels_opened: Count,
    /// Those of them that are over.
    pub tunnels_closed: Count,
    /// Requests sent again to another connection or instance.
    pub retries: Count,
    unrouted: [Count; Unrouted::ALL.len()],
}

impl ProxyCounters {
    /// Counters for `threads` data threads.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self(Shards::new(threads))
    }

    /// The part of one data thread.
    ///
    /// # Panics
    /// If there is no such data thread.
    #[inline]
    #[must_use]
    pub fn of(&self, thread: usize) -> &ProxyShard {
        self.0.of(thread)
    }

    /// The sum over all threads.
    #[must_use]
    pub fn total(&self) -> ProxyTotals {
        let mut total = ProxyTotals::default();
        for shard in self.0.iter() {
            // What ended is read before what began, so that the difference is never below the truth.
            let (connections, tunnels) = (shard.connections_closed.get(), shard.tunnels_closed.get());
            let (accepted, opened) = (shard.connections_accepted.get(), shard.tunnels_opened.get());
            total.connections_accepted += accepted;
            total.connections_open += accepted.saturating_sub(connections);
            total.connections_refused += shard.connections_refused.get();
            total.tunnels_opened += opened;
            total.tunnels_open += opened.saturating_sub(tunnels);
            total.retries += shard.retries.get();
            add_each(&mut total.unrouted, &shard.unrouted.each_ref().map(Count::get));
        }
        total
    }
}

impl ProxyShard {
    /// Counts a request that was answered without a service.
    pub fn unrouted(&self, why: Unrouted) {
        self.unrouted[why as usize].add(1);
    }
}

/// What [`ProxyCounters`] had counted, at one moment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ProxyTotals {
    /// Client connections since the start.
    pub connections_accepted: u64,
    /// Client connections now.
    pub connections_open: u64,
    /// Client connections turned away.
    pub connections_refused: u64,
    /// Tunnels since the start.
    pub tunnels_opened: u64,
    /// Tunnels now.
    pub tunnels_open: u64,
    /// Requests sent again.
    pub retries: u64,
    /// Requests answered without a service, in the order of [`Unrouted::ALL`].
    pub unrouted: [u64; Unrouted::ALL.len()],
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
    fn a_duration_falls_into_the_bucket_that_it_does_not_exceed() {
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(500), 0);
        assert_eq!(bucket(501), 1);
        assert_eq!(bucket(60_000_000), 13);
        assert_eq!(bucket(u64::MAX), 14);
        assert!(BOUNDS_US.is_sorted());
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
