//! When a version that failed is tried again.

use std::time::Duration;

use tokio::time::Instant;

/// How soon a version that failed is tried again; doubles up to [`LONGEST_BACKOFF`].
pub(super) const FIRST_BACKOFF: Duration = Duration::from_millis(500);

/// The longest time between two tries.
pub(super) const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    /// When an instance that was ready ended by itself with nothing counted before, for which nothing waits.
    spared: Option<Instant>,
    last: Option<Instant>,
    until: Option<Instant>,
}

impl Backoff {
    /// Takes note of a failure, and says how long nothing is tried now. Instances that fail while that lasts are not counted again.
    pub(super) fn failed(&mut self, now: Instant) -> Duration {
        if let Some(until) = self.until.filter(|until| now < *until) {
            return until - now;
        }
        let delay = FIRST_BACKOFF.saturating_mul(1 << self.failures.min(16)).min(LONGEST_BACKOFF);
        self.failures += 1;
        self.last = Some(now);
        self.until = Some(now + delay);
        delay
    }

    /// Takes note that an instance which had been ready since then has ended by itself. As [`Self::failed`]; only that the first in a
    /// row costs no time, nor does one that ends together with it.
    pub(super) fn ended(&mut self, now: Instant, since: Instant) -> Duration {
        let together =
            self.spared.is_some_and(|first| since < first && now < first + FIRST_BACKOFF) && self.failures == 0;
        if self.last.is_none() {
            (self.last, self.spared) = (Some(now), Some(now));
        } else if !together {
            return self.failed(now);
        }
        Duration::ZERO
    }

    /// When something may be tried; `None` for now.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| now < *until)
    }

    /// Somebody wants it tried now; should it fail again, the next wait is longer all the same.
    pub(super) fn skip(&mut self) {
        self.until = None;
    }

    /// An instance has been ready since then, and for long enough: earlier failures are made up for.
    pub(super) fn runs_well(&mut self, since: Instant) {
        if self.last.is_some_and(|last| last <= since) {
            self.reset();
        }
    }

    /// It has run well.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_its_longest_and_counts_what_fails_together_once() {
        let (mut backoff, mut now) = (Backoff::default(), Instant::now());
        let mut delays = Vec::new();
        for _ in 0..9 {
            delays.push(backoff.failed(now).as_millis());
            assert_eq!(backoff.failed(now).as_millis(), delays[delays.len() - 1]);
            now = backoff.due(now).expect("not yet");
            assert_eq!(backoff.due(now), None);
        }
        assert_eq!(delays, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        backoff.reset();
        assert_eq!(backoff.failed(now), FIRST_BACKOFF);
        backoff.skip();
        assert_eq!((backoff.due(now), backoff.failed(now)), (None, FIRST_BACKOFF * 2));
    }

    #[test]
    fn the_first_end_by_itself_costs_no_time_and_counts() {
        let (mut backoff, start) = (Backoff::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(backoff.ended(at(3_000), at(0)), Duration::ZERO);
        assert_eq!(backoff.due(at(3_000)), None);
        assert_eq!(backoff.ended(at(3_010), at(0)), Duration::ZERO, "it ended together with the first");
        assert_eq!(backoff.ended(at(3_100), at(3_050)), FIRST_BACKOFF, "it was started after the first had ended");
        assert_eq!(backoff.ended(at(3_601), at(3_600)), FIRST_BACKOFF * 2);
        backoff.reset();
        assert_eq!(backoff.ended(at(3_602), at(0)), Duration::ZERO);
        assert_eq!(backoff.ended(at(5_000), at(0)), FIRST_BACKOFF, "it ended later than the first");
        backoff.reset();
        assert_eq!(backoff.failed(at(0)), FIRST_BACKOFF, "what does not come up is not spared");
        assert_eq!(backoff.ended(at(600), at(500)), FIRST_BACKOFF * 2);
    }

    #[test]
    fn what_runs_well_makes_up_for_what_failed_before_it_and_not_after() {
        let (mut backoff, start) = (Backoff::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        backoff.failed(at(0));
        backoff.runs_well(at(5));
        assert_eq!(backoff.failed(at(100)), FIRST_BACKOFF);
        backoff.runs_well(at(5));
        assert_eq!(backoff.failed(at(200)), FIRST_BACKOFF * 2);
    }
}
