//! Connects that fail, in the log: one line per instance and second, whatever the number of requests.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

/// How often an instance is complained of at most.
const EVERY: Duration = Duration::from_secs(1);

/// How long one that is complained of no more is remembered.
const MEMORY: Duration = Duration::from_secs(60);

/// What was told, over all threads, by the instances' ids.
#[derive(Debug, Default)]
pub struct Refusals {
    // Held for a look at it, after a connect that failed.
    told: Mutex<FxHashMap<u64, Told>>,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    /// Those since that were not told.
    untold: u64,
}

impl Refusals {
    /// Takes note of a connect that failed. Where it is to be told, how many there were since the last that was.
    #[must_use]
    pub fn note(&self, instance: u64) -> Option<u64> {
        self.note_at(instance, Instant::now())
    }

    fn note_at(&self, instance: u64, now: Instant) -> Option<u64> {
        let mut all = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let untold = match all.get_mut(&instance) {
            Some(told) if now.saturating_duration_since(told.at) < EVERY => {
                told.untold += 1;
                return None;
            }
            Some(told) => told.untold,
            None => 0,
        };
        all.retain(|_, told| now.saturating_duration_since(told.at) < MEMORY);
        all.insert(instance, Told { at: now, untold: 0 });
        Some(untold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second_is_told_of_each_and_the_others_are_counted() {
        let (refusals, begun) = (Refusals::default(), Instant::now());
        let at = |instance, millis| refusals.note_at(instance, begun + Duration::from_millis(millis));
        assert_eq!([at(1, 0), at(1, 1), at(2, 1), at(1, 999)], [Some(0), None, Some(0), None]);
        assert_eq!([at(1, 1_000), at(1, 1_999), at(1, 9_000)], [Some(2), None, Some(1)]);
        assert_eq!(at(3, 100_000), Some(0));
        assert_eq!(refusals.told.lock().expect("no panic").len(), 1, "the others are forgotten");
    }
}
