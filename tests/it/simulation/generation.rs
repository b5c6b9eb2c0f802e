//! What is known of one unit from outside.

use std::sync::Arc;
use std::time::Duration;

use tidegate::lifecycle::unit::Unit;
use tokio::time::Instant;

use super::tunables::Tunables;

/// One unit of the version, until it is removed or replaced.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) unit: Arc<Unit>,
    /// Which program it is.
    pub(super) program: usize,
    pub(super) tunables: Tunables,
    /// What held before the last edit.
    pub(super) before: Tunables,
    pub(super) edited: Instant,
    /// When it was let go, and with how much time to drain.
    pub(super) leaving: Option<(Instant, Duration)>,
    /// Orders to sleep that are not answered yet.
    pub(super) told: u32,
    /// Leases that count as traffic, and those who wait.
    pub(super) busy: u32,
    /// Those who wait.
    pub(super) waiting: u32,
    /// Leases of those who waited, without an answer.
    pub(super) unanswered: u32,
    /// The last sign of life.
    pub(super) stirred: Instant,
    /// The last time at which one of the two changed, and how they were before.
    pub(super) turn: (Instant, u32, Instant),
    /// The last time at which anything happened that may put sleep off.
    pub(super) happened: Instant,
    /// The last failure or edit.
    pub(super) disturbed: Instant,
    pub(super) failed: Option<Instant>,
    /// Copies that did not come up or ended by themselves, and those of them that had been ready.
    pub(super) failures: (u32, u32),
    pub(super) suspected: Option<(&'static str, Instant)>,
}

impl Generation {
    pub(super) fn new(unit: Arc<Unit>, program: usize, tunables: &Tunables) -> Self {
        let now = Instant::now();
        Self {
            unit,
            program,
            tunables: tunables.clone(),
            before: tunables.clone(),
            edited: now,
            leaving: None,
            told: 0,
            busy: 0,
            waiting: 0,
            unanswered: 0,
            stirred: now,
            turn: (now, 0, now),
            happened: now,
            disturbed: now,
            failed: None,
            failures: (0, 0),
            suspected: None,
        }
    }

    /// A sign of life, now.
    pub(super) fn stir(&mut self) {
        let now = Instant::now();
        if self.turn.0 != now {
            self.turn = (now, self.busy, self.stirred);
        }
        self.stirred = now;
    }

    /// How many are busy, and the last sign of life; before this very moment, as who came in it may have come too late.
    pub(super) fn busy_before(&self, now: Instant) -> (u32, Instant) {
        if self.turn.0 == now { (self.turn.1, self.turn.2) } else { (self.busy, self.stirred) }
    }
}
