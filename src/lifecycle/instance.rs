//! One running copy of a version, as the data plane sees it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::model::version::Endpoint;

/// How long an instance is left out after its first failed connect; doubles up to [`LONGEST_OUT`].
pub const FIRST_OUT: Duration = Duration::from_secs(1);

/// The longest time an instance is left out for.
pub const LONGEST_OUT: Duration = Duration::from_secs(60);

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// An address with its load and its health. Made anew for every start, so its id never names two processes.
#[derive(Debug)]
// What every request writes to comes first, on the cache line of the count of references, which every request writes to as well.
#[repr(C)]
pub struct Instance {
    leases: AtomicU32,
    failures: AtomicU32,
    id: u64,
    endpoint: Endpoint,
    /// Milliseconds after `born` until which the instance is left out.
    out_until: AtomicU64,
    born: Instant,
    retired: AtomicBool,
}

impl Instance {
    /// An instance that listens there.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            endpoint,
            leases: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            out_until: AtomicU64::new(0),
            born: Instant::now(),
            retired: AtomicBool::new(false),
        }
    }

    /// Unique in this process; the key of connection pools.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Leases on this instance.
    #[must_use]
    pub fn leases(&self) -> u32 {
        self.leases.load(Ordering::Relaxed)
    }

    /// Takes note of a connect that failed: the instance is left out for a growing time. Of many that fail together, one counts.
    pub fn connect_failed(&self) {
        let now = self.born.elapsed();
        let before = self.out_until.load(Ordering::Relaxed);
        let failures = self.failures.load(Ordering::Relaxed);
        if failures != 0 && now.as_millis() < u128::from(before) {
            return;
        }
        let out = FIRST_OUT.saturating_mul(1 << failures.min(16)).min(LONGEST_OUT);
        let until = u64::try_from((now + out).as_millis()).unwrap_or(u64::MAX);
        if self.out_until.compare_exchange(before, until, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.failures.store(failures + 1, Ordering::Relaxed);
        }
    }

    /// Takes note of a connect that succeeded.
    pub fn connect_succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// Whether the instance is left out at present. Reads the clock only after a failure.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.failures.load(Ordering::Relaxed) != 0
            && self.born.elapsed().as_millis() < u128::from(self.out_until.load(Ordering::Relaxed))
    }

    /// Marks the instance as gone: pooled connections to it are of no use any more.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Whether the instance is gone.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    pub(super) fn lease(&self) {
        self.leases.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn release(&self) {
        self.leases.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Picks one of several instances by the power of two choices: of two random ones, the one with fewer leases (M.
/// Mitzenmacher, 2001). Those left out are passed over; where all are, the one that comes back first is taken, for the last
/// one is never left out. `random` is 64 random bits.
#[must_use]
pub fn pick(instances: &[std::sync::Arc<Instance>], random: u64) -> Option<&std::sync::Arc<Instance>> {
    if let [only] = instances {
        return Some(only);
    }
    let count = instances.iter().filter(|i| !i.is_out()).count();
    if count == 0 {
        return instances.iter().min_by_key(|i| i.out_until.load(Ordering::Relaxed));
    }
    // Health may change between counting and picking; a place too far simply falls back to the last one that is in.
    let nth = |n: usize| instances.iter().filter(|i| !i.is_out()).nth(n).or_else(|| instances.last());
    let [high, low] = [random >> 32, random & 0xffff_ffff];
    let first = usize::try_from(high).unwrap_or_default() % count;
    let second = match count {
        1 => first,
        // A different one: skip 1 to count - 1 places ahead.
        _ => (first + 1 + usize::try_from(low).unwrap_or_default() % (count - 1)) % count,
    };
    let (first, second) = (nth(first)?, nth(second)?);
    Some(if second.leases() < first.leases() { second } else { first })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn instances(count: u16) -> Vec<Arc<Instance>> {
        (1..=count).map(|port| Arc::new(Instance::new(Endpoint { host: "127.0.0.1".into(), port }))).collect()
    }

    #[test]
    fn the_less_loaded_of_two_is_picked() {
        let pair = instances(2);
        pair[0].lease();
        for random in [0, u64::MAX, 1 << 32, 0x1234_5678_9abc_def0] {
            assert_eq!(pick(&pair, random).map(|i| i.id()), Some(pair[1].id()));
        }
    }

    #[test]
    fn what_failed_is_left_out_but_never_the_last() {
        let trio = instances(3);
        trio[0].connect_failed();
        trio[1].connect_failed();
        for random in 0..100_u64 {
            let picked = pick(&trio, random.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            assert_eq!(picked.map(|i| i.id()), Some(trio[2].id()));
        }
        trio[2].connect_failed();
        assert!(pick(&trio, 7).is_some());
        trio[0].connect_succeeded();
        assert_eq!(pick(&trio, 7).map(|i| i.id()), Some(trio[0].id()));
        assert!(pick(&[], 7).is_none());
    }

    #[test]
    fn many_failures_at_once_count_as_one() {
        let [one] = &instances(1)[..] else { panic!("one") };
        (0..100).for_each(|_| one.connect_failed());
        assert!(one.is_out());
        assert_eq!(one.failures.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn load_spreads_within_the_known_bound() {
        let ten = instances(10);
        let mut random = 42_u64;
        for _ in 0..10_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            pick(&ten, random ^ (random >> 29)).expect("ten").lease();
        }
        for instance in &ten {
            assert!((990..=1_010).contains(&instance.leases()), "{} leases", instance.leases());
        }
    }
}
