//! When to ask: pure.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, SystemTime};

use super::Held;

/// The first pause where the authority does not answer, and the longest.
const AWAY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10 * 60));

/// The first pause where it finds fault, and the longest. Let's Encrypt allows five failures per name and hour.
const REFUSED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(6 * 60 * 60));

/// When a certificate is to be renewed: at two thirds of its life, or up to a thirtieth of it earlier, by its name, so that those
/// that came together do not all go together.
pub(super) fn renew_at(held: Held, name: &str) -> SystemTime {
    let life = held.not_after.duration_since(held.not_before).unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let part = (hasher.finish() % 1_000) as f64 / 1_000.0;
    held.not_before + life.mul_f64(2.0 / 3.0 - part / 30.0)
}

/// How long a name is left alone after failures.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<SystemTime>,
}

impl Backoff {
    /// How many there were in a row.
    pub(super) fn failures(self) -> u32 {
        self.failures
    }

    /// Until when.
    pub(super) fn until(self) -> Option<SystemTime> {
        self.until
    }

    /// One more: a pause twice as long as the last, give or take a quarter by `random`; not shorter than the authority asks.
    pub(super) fn fail(
        &mut self,
        is_away: bool,
        retry_after: Option<SystemTime>,
        now: SystemTime,
        random: u32,
    ) -> SystemTime {
        let (first, longest) = if is_away { AWAY } else { REFUSED };
        let pause = first.saturating_mul(1 << self.failures.min(16)).min(longest);
        let pause = pause.mul_f64(0.75 + f64::from(random) / f64::from(u32::MAX) / 2.0);
        let until = retry_after.map_or(now + pause, |at| at.max(now + pause));
        self.failures += 1;
        self.until = Some(until);
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn renewal_is_at_two_thirds_or_a_little_earlier() {
        let not_before = SystemTime::UNIX_EPOCH;
        let held = Held { not_before, not_after: not_before + 90 * DAY };
        let times: Vec<_> = (0..50).map(|i| renew_at(held, &format!("{i}.test"))).collect();
        assert!(times.iter().all(|at| (not_before + 57 * DAY..=not_before + 60 * DAY).contains(at)));
        assert!(times.iter().collect::<std::collections::BTreeSet<_>>().len() > 40);
    }

    #[test]
    fn pauses_grow_and_are_not_shorter_than_asked() {
        let (mut backoff, now) = (Backoff::default(), SystemTime::UNIX_EPOCH);
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            let pause = backoff.fail(false, None, now, u32::MAX / 2).duration_since(now).expect("later");
            assert!(pause >= last && pause <= REFUSED.1.mul_f64(1.25));
            last = pause;
        }
        let asked = now + 30 * DAY;
        assert_eq!(backoff.fail(false, Some(asked), now, 0), asked);
    }
}
