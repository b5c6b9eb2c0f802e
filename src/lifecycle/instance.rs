//! One running copy of a version, as the data plane sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::slots::Slots;
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
    slots: Slots,
    failures: AtomicU32,
    id: u64,
    endpoint: Endpoint,
    /// Milliseconds after `born` until which the instance is left out.
    out_until: AtomicU64,
    born: Instant,
    /// Told when the slots are closed.
    closing: Notify,
}

impl Instance {
    /// An instance that listens there.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            endpoint,
            slots: Slots::open(),
            failures: AtomicU32::new(0),
            out_until: AtomicU64::new(0),
            born: Instant::now(),
            closing: Notify::new(),
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
        self.slots.taken()
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

    /// No lease can be had on it any more: it is to be stopped, or is gone. Pooled connections to it are of no use, and tunnels
    /// should end.
    pub fn drain(&self) {
        self.slots.close();
        self.closing.notify_waiters();
    }

    /// It takes requests again, and those that it still has count on.
    pub fn take_back(&self) {
        self.slots.reopen();
    }

    /// Whether it is to be drained.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.slots.is_closed()
    }

    /// Waits until it is to be drained.
    pub async fn draining(&self) {
        loop {
            let told = self.closing.notified();
            if self.is_draining() {
                return;
            }
            told.await;
        }
    }

    /// Takes one of `most` slots.
    pub(super) fn lease(&self, most: u32) -> bool {
        self.slots.take(most)
    }

    /// The seeded fault.
    #[cfg(feature = "seeded-fault")]
    pub(super) fn lease_blindly(&self) {
        self.slots.take_blindly();
    }

    /// Gives it back; true if it was the last of an instance that is drained.
    pub(super) fn release(&self) -> bool {
        self.slots.give_back()
    }
}

/// Picks one of several instances by the power of two choices: of two random ones, the one with fewer leases (M.
/// Mitzenmacher, 2001). Those left out are passed over; where all are, the one that comes back first is taken, for the last
/// one is never left out. `random` is 64 random bits.
#[must_use]
pub fn pick(instances: &[Arc<Instance>], random: u64) -> Option<&Arc<Instance>> {
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

/// Picks one, and takes one of its `most` slots. Where the pick has none left, any that has; `None` where all are full.
#[must_use]
pub fn pick_and_lease(instances: &[Arc<Instance>], random: u64, most: u32) -> Option<&Arc<Instance>> {
    let picked = pick(instances, random)?;
    if picked.lease(most) {
        return Some(picked);
    }
    let out_last = |out: bool| instances.iter().filter(move |instance| instance.is_out() == out);
    out_last(false).chain(out_last(true)).find(|instance| instance.lease(most))
}

/// Takes one of the `most` slots of the least loaded instance but that with the id `than`; one that is left out only where there is
/// no other.
#[must_use]
pub fn lease_other(instances: &[Arc<Instance>], than: u64, most: u32) -> Option<&Arc<Instance>> {
    let mut others: Vec<&Arc<Instance>> = instances.iter().filter(|instance| instance.id() != than).collect();
    others.sort_by_key(|instance| (instance.is_out(), instance.leases()));
    others.into_iter().find(|instance| instance.lease(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instances(count: u16) -> Vec<Arc<Instance>> {
        (1..=count).map(|port| Arc::new(Instance::new(Endpoint { host: "127.0.0.1".into(), port }))).collect()
    }

    #[test]
    fn the_less_loaded_of_two_is_picked() {
        let pair = instances(2);
        assert!(pair[0].lease(9));
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
    fn a_full_one_is_passed_over_and_a_draining_one_takes_nothing() {
        let trio = instances(3);
        let mut leased: Vec<u64> = (0..6).map(|_| pick_and_lease(&trio, 0, 2).expect("six slots").id()).collect();
        leased.sort_unstable();
        let each_twice: Vec<u64> = trio.iter().flat_map(|i| [i.id(), i.id()]).collect();
        assert_eq!(leased, each_twice);
        assert!(pick_and_lease(&trio, 0, 2).is_none());
        assert!(!trio[0].release());
        trio[0].drain();
        assert!(trio[0].is_draining());
        assert!(pick_and_lease(&trio, 0, 2).is_none());
        assert!(trio[0].release(), "the last of one that drains");
    }

    #[test]
    fn another_than_the_one_that_failed_is_leased() {
        let trio = instances(3);
        assert!(trio[1].lease(9));
        assert_eq!(lease_other(&trio, trio[0].id(), 2).map(|i| i.id()), Some(trio[2].id()), "the less loaded");
        trio[2].connect_failed();
        assert_eq!(lease_other(&trio, trio[0].id(), 2).map(|i| i.id()), Some(trio[1].id()), "the one that is not out");
        assert_eq!(lease_other(&trio, trio[0].id(), 2).map(|i| i.id()), Some(trio[2].id()), "the only one with room");
        assert!(lease_other(&trio[..1], trio[0].id(), 2).is_none());
    }

    #[test]
    fn load_spreads_within_the_known_bound() {
        let ten = instances(10);
        let mut random = 42_u64;
        for _ in 0..10_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            assert!(pick(&ten, random ^ (random >> 29)).expect("ten").lease(u32::MAX));
        }
        for instance in &ten {
            assert!((990..=1_010).contains(&instance.leases()), "{} leases", instance.leases());
        }
    }
}
