//! The right to send one request to one instance.

use std::sync::Arc;

use super::instance::Instance;
use super::line::Round;
use super::unit::Unit;

/// Held from the choice of an instance to the last byte of the response, or the tunnel's end; dropping it gives it back.
/// Stopping waits for leases.
#[derive(Debug)]
pub struct Lease {
    unit: Arc<Unit>,
    instance: Arc<Instance>,
    epoch: u32,
    quiet: bool,
    /// Of the line, if it was handed out there and has no answer yet.
    round: Option<Round>,
    /// Whoever gives it back hands it on.
    handed_on: bool,
}

impl Lease {
    /// Wraps what has been counted on the gate and on the instance.
    pub(super) fn new(unit: Arc<Unit>, instance: Arc<Instance>, epoch: u32) -> Self {
        Self { unit, instance, epoch, quiet: false, round: None, handed_on: false }
    }

    /// It was handed out to one who waited.
    pub(super) fn with_round(mut self, round: Round) -> Self {
        self.round = Some(round);
        self
    }

    /// Gives it back where the line is looked at afterwards.
    pub(super) fn hand_on(mut self) {
        self.handed_on = true;
    }

    /// The unit it is a lease on.
    #[must_use]
    pub fn unit(&self) -> &Arc<Unit> {
        &self.unit
    }

    /// The instance to send to.
    #[must_use]
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// The epoch of the gate in which it was had: connections of another are of no use.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// From now on it counts against draining, and not against being idle: a tunnel, or a request that is ignored.
    pub fn make_quiet(&mut self) {
        if !self.quiet {
            self.quiet = true;
            self.unit.quieter();
        }
    }

    /// The head of the answer has come: if it was waited for, more of those who wait are let in, however long it lasts. Called once;
    /// later calls do nothing.
    pub fn answered(&mut self) {
        if let Some(round) = self.round.take() {
            self.unit.answered(round);
        }
    }

    /// A sign of life of a quiet lease: the version is not idle.
    pub fn touch(&self) {
        self.unit.touch();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.quiet {
            self.unit.louder();
        }
        if let Some(round) = self.round.take() {
            self.unit.given_back(round);
        }
        if self.instance.release() {
            self.unit.call_keeper();
        }
        if self.handed_on {
            self.unit.give_back();
        } else {
            self.unit.release();
        }
    }
}
