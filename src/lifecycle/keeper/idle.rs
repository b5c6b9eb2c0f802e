//! Since when nobody came: by looking now and then, so that requests need not read a clock.

use std::time::Duration;

use tokio::time::Instant;

/// The shortest time between two looks.
pub(super) const SHORTEST: Duration = Duration::from_millis(10);

/// The longest.
const LONGEST: Duration = Duration::from_secs(1);

/// How often to look, so that sleep is at most a tenth late, and never early.
pub(super) fn pace(limit: Duration) -> Duration {
    (limit / 10).clamp(SHORTEST, LONGEST)
}

/// What was seen at the last look.
#[derive(Debug)]
pub(super) struct Idle {
    activity: Option<u64>,
    since: Instant,
}

impl Idle {
    /// Nothing was seen yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { activity: None, since: now }
    }

    /// Looks: whether something is on its way now, and a number that changes with everything that was. Returns since when
    /// nothing has been seen, `None` if something is.
    pub(super) fn look(&mut self, now: Instant, busy: bool, activity: u64) -> Option<Instant> {
        if busy || self.activity.replace(activity) != Some(activity) {
            self.since = now;
        }
        (!busy).then_some(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_and_went_between_two_looks_counts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut idle = Idle::new(start);
        assert_eq!(idle.look(at(1), false, 5), Some(at(1)), "the first look knows nothing of before");
        assert_eq!(idle.look(at(2), false, 5), Some(at(1)));
        assert_eq!(idle.look(at(3), false, 6), Some(at(3)));
        assert_eq!(idle.look(at(4), true, 6), None);
        assert_eq!(idle.look(at(5), false, 6), Some(at(4)));
    }

    #[test]
    fn looks_often_enough() {
        let limits = [1, 100, 5_000, 3_600_000].map(Duration::from_millis);
        assert_eq!(limits.map(|limit| pace(limit).as_millis()), [10, 10, 500, 1_000]);
    }
}
