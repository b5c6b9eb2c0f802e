//! What must hold whatever happens, as far as it shows on a unit; the rest is looked at where it happens.

use std::sync::Arc;
use std::time::Duration;

use tidegate::lifecycle::unit::State;
use tokio::time::Instant;

use super::trace::Event;
use super::world::{GRAIN, Phase, World};

/// How often a version looks whether it is idle: a tenth of `stop_after`, at most every second.
fn pace(stop_after: Duration) -> Duration {
    (stop_after / 10).min(Duration::from_secs(1))
}

/// From the last failure or edit until the minimum is there: the longest backoff, a start, what stood in its way; and then some.
const RECOVERY: Duration = Duration::from_secs(60);

/// The longest backoff, and then some.
pub(super) const BACKOFF: Duration = Duration::from_secs(31);

impl World {
    pub(super) fn state(&self, generation: usize, state: &State) {
        self.note(Event::State(generation, state.as_str()));
        let now = Instant::now();
        let mut known = self.generation(generation);
        known.happened = now;
        if matches!(state, State::Normal) {
            known.stir();
        }
        if matches!(state, State::Failed { .. }) && known.failures == (1, 1) {
            drop(known);
            return self.violated("it has failed, and only one end by itself, of what was ready, came before");
        }
        if *state != State::Draining || known.told > 0 || known.leaving.is_some() || known.edited + GRAIN >= now {
            return;
        }
        let (limit, (busy, stirred)) = (known.tunables.sleeps_after(), known.busy_before(now));
        let idle = now - stirred;
        drop(known);
        self.holds(busy == 0 && limit.is_some_and(|limit| idle >= limit), || {
            format!("it goes to sleep after {idle:?} without traffic, {busy} are busy, and the limit is {limit:?}")
        });
    }

    /// What must hold at any moment, but may need some turns of the tasks to come true.
    pub(super) fn wrong_now(&self, generation: usize) -> Option<&'static str> {
        let known = self.generation(generation);
        let unit = Arc::clone(&known.unit);
        let most = known.tunables.max_concurrency;
        let (came, unanswered) = (known.waiting, known.unanswered);
        let may_stay = known.told == 0 && known.leaving.is_none();
        drop(known);
        if unit.waiting() == 0 {
            return None;
        }
        if unit.waiting() > came {
            return Some("somebody who has left is in line");
        }
        let instances = unit.instances();
        // Without a limit of its own an instance that has just come up is not run over: 64 without an answer at first.
        let full = match most {
            Some(most) => instances.iter().all(|instance| instance.leases() >= most),
            None => unanswered >= 64,
        };
        match unit.state() {
            State::Normal if !full => Some("somebody waits although there is room"),
            State::Draining if may_stay && self.any_is(generation, Phase::Ready) => {
                Some("somebody waits while what is only idle is drained")
            }
            State::Asleep | State::Failed { .. } | State::Stopped => Some("somebody waits for what is not on its way"),
            _ => None,
        }
    }

    /// What must hold when enough time has passed.
    pub(super) fn check(&self, generation: usize) {
        let now = Instant::now();
        let (running, awake, held_up) = (self.running(generation), self.awake(generation), self.is_held_up(generation));
        let (starting, ready) = (self.any_is(generation, Phase::Starting), self.any_is(generation, Phase::Ready));
        let mut known = self.generation(generation);
        let unit = Arc::clone(&known.unit);
        let (tunables, waiting) = (known.tunables.clone(), unit.waiting());
        if let Some((at, time)) = known.leaving {
            drop(known);
            let over = running == 0 || now <= at + time + tunables.grace.max(Duration::from_secs(4)) + GRAIN;
            return self.holds(over, || format!("{running} run of what was let go with {time:?}"));
        }
        let least = tunables.least();
        let had = unit.instances().len();
        if now > known.disturbed + RECOVERY && known.told == 0 && had < least as usize && !held_up {
            drop(known);
            return self.violated(&format!("{had} are ready where {least} should be at least"));
        }
        let quiet_since = known.stirred.max(known.happened);
        if known.busy == 0 && !starting {
            for (limit, what, run) in
                [(tunables.sleeps_after(), "are awake", awake), (tunables.stops_after(), "run", running)]
            {
                let Some(limit) = limit else { continue };
                // It is looked for every so often, what is ignored ends within 10 s and a tunnel within 2 s, and then it stops.
                let slack = pace(limit) * 2 + Duration::from_secs(10) + tunables.grace + GRAIN;
                if now > quiet_since + limit + slack && run > 0 {
                    drop(known);
                    return self.violated(&format!("{run} {what} {:?} after the last of all", now - quiet_since));
                }
            }
        }
        let stuck = match unit.state() {
            State::Starting if ready => Some("it is starting although an instance is ready"),
            _ if held_up => None,
            State::Starting if running == 0 && known.failed.is_none_or(|at| now > at + BACKOFF) => {
                Some("it is starting, and nothing is")
            }
            _ if waiting > 0 && running == 0 && known.failed.is_none_or(|at| now > at + BACKOFF) => {
                Some("somebody waits, and nothing runs")
            }
            _ => None,
        };
        match (stuck, known.suspected) {
            (Some(what), Some((before, since))) if what == before => {
                if now > since + Duration::from_secs(2) {
                    drop(known);
                    self.violated(what);
                }
            }
            _ => known.suspected = stuck.map(|what| (what, now)),
        }
    }
}
