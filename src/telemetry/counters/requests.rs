//! Requests that are over: how they ended, how long they took, what they carried.

use std::{iter::Sum, ops::AddAssign};

use super::{Count, Shards, add_each};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_bucket_that_it_does_not_exceed() {
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(500), 0);
        assert_eq!(bucket(501), 1);
        assert_eq!(bucket(60_000_000), 13);
        assert_eq!(bucket(u64::MAX), 14);
        assert!(BOUNDS_US.is_sorted());
    }
}
