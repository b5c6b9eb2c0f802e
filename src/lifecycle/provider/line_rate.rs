//! How many lines a second a version may write to the log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::name::VersionName;

/// The lines per period that go to the log.
const LINES: u32 = 1000;
const PERIOD: Duration = Duration::from_secs(1);

/// Counts lines. Clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct LineRate(Arc<Mutex<Count>>);

/// Of the current period, which began with a line.
#[derive(Debug, Default)]
struct Count {
    since: Option<Instant>,
    logged: u32,
    left_out: u64,
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    pub(super) log: bool,
    /// How many were left out before, to be said now; 0 for none.
    pub(super) left_out: u64,
}

impl LineRate {
    /// Counts a line.
    pub(super) fn admit(&self, now: Instant) -> Admitted {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left_out = 0;
        if count.since.is_none_or(|since| now.duration_since(since) >= PERIOD) {
            left_out = count.left_out;
            *count = Count { since: Some(now), logged: 0, left_out: 0 };
        }
        let log = count.logged < LINES;
        if log {
            count.logged += 1;
        } else {
            count.left_out += 1;
        }
        Admitted { log, left_out }
    }

    /// When to say how many were left out, if no other line comes; `None` where none were.
    pub(super) fn tally_due(&self) -> Option<Instant> {
        let count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        count.since.filter(|_| count.left_out > 0).map(|since| since + PERIOD)
    }

    /// How many were left out and not said yet.
    pub(super) fn tally(&self) -> u64 {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).left_out)
    }
}

/// The rates of all versions: the instances of one share it. Clones share the map.
#[derive(Debug, Clone, Default)]
pub(super) struct LineRates(Arc<Mutex<HashMap<VersionName, Weak<Mutex<Count>>>>>);

impl LineRates {
    /// That of a version.
    pub(super) fn of(&self, version: &VersionName) -> LineRate {
        let mut rates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rate) = rates.get(version).and_then(Weak::upgrade) {
            return LineRate(rate);
        }
        rates.retain(|_, rate| rate.strong_count() > 0);
        let rate = LineRate::default();
        rates.insert(version.clone(), Arc::downgrade(&rate.0));
        rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::name::ServiceName;

    #[test]
    fn a_thousand_lines_a_second_are_logged_and_the_rest_is_counted() {
        let rate = LineRate::default();
        let began = Instant::now();
        let logged = (0..1500).filter(|_| rate.admit(began).log).count();
        assert_eq!(logged, 1000);
        assert_eq!(rate.tally_due(), Some(began + PERIOD));
        assert_eq!(rate.admit(began + PERIOD), Admitted { log: true, left_out: 500 });
        assert_eq!((rate.tally_due(), rate.tally()), (None, 0));
    }

    #[test]
    fn the_instances_of_a_version_share_its_rate() {
        let rates = LineRates::default();
        let service = ServiceName::new("shop").expect("a name");
        let [first, second] = [1, 2].map(|number| VersionName::numbered(&service, number));
        let now = Instant::now();
        let one = rates.of(&first);
        assert_eq!((0..1000).filter(|_| one.admit(now).log).count(), 1000);
        assert!(!rates.of(&first).admit(now).log && rates.of(&second).admit(now).log);
    }
}
