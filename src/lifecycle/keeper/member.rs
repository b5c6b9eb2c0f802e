//! An instance as its keeper sees it.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::life::Ordered;
use crate::lifecycle::instance::Instance;
use crate::lifecycle::provider::End;
use crate::model::version::Stop;

/// One running copy, from its start to its end.
pub(super) struct Member {
    pub(super) id: u64,
    pub(super) phase: Phase,
    /// When the phase began.
    pub(super) since: Instant,
    /// Whether it waits for its turn to start.
    pub(super) in_line: bool,
    /// The processor time that it used last, in per cent of what it may have.
    pub(super) used: Option<f64>,
    /// To its task; none where nothing was started.
    pub(super) orders: Option<UnboundedSender<Ordered>>,
}

#[derive(Debug)]
pub(super) enum Phase {
    Starting,
    Ready(Vec<Arc<Instance>>),
    /// Takes no new requests, and is stopped when the last is over, or by then.
    Draining(Vec<Arc<Instance>>, Instant),
    /// Told to freeze.
    Pausing,
    /// Frozen.
    Paused,
    /// Told to go on.
    Resuming,
    /// Told to stop.
    Stopping,
    /// Nothing of it is left, and nobody will say so: there was nothing to stop.
    Over,
}

impl Member {
    /// One that is being started.
    pub(super) fn starting(id: u64, now: Instant, orders: UnboundedSender<Ordered>) -> Self {
        Self { id, phase: Phase::Starting, since: now, in_line: false, used: None, orders: Some(orders) }
    }

    /// One that is there already, and that nobody starts or stops.
    pub(super) fn always_ready(id: u64, now: Instant, instances: Vec<Arc<Instance>>) -> Self {
        Self { id, phase: Phase::Ready(instances), since: now, in_line: false, used: None, orders: None }
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready(_))
    }

    /// Whether it comes up, be it from a pause.
    pub(super) fn is_starting(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Resuming)
    }

    /// Whether it is frozen, or about to be.
    pub(super) fn rests(&self) -> bool {
        matches!(self.phase, Phase::Pausing | Phase::Paused)
    }

    pub(super) fn is_paused(&self) -> bool {
        matches!(self.phase, Phase::Paused)
    }

    pub(super) fn instances(&self) -> &[Arc<Instance>] {
        match &self.phase {
            Phase::Ready(instances) | Phase::Draining(instances, _) => instances,
            _ => &[],
        }
    }

    pub(super) fn leases(&self) -> u32 {
        self.instances().iter().map(|instance| instance.leases()).sum()
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        (self.phase, self.since, self.in_line, self.used) = (phase, Instant::now(), false, None);
    }

    /// Freezes it. It has no request.
    pub(super) fn pause(&mut self) {
        self.order(Ordered::Pause, Phase::Pausing);
    }

    /// Has it go on.
    pub(super) fn resume(&mut self) {
        self.order(Ordered::Resume, Phase::Resuming);
    }

    /// Ends it. The first order to stop counts.
    pub(super) fn stop(&mut self, stop: &Stop, end: End) {
        if !matches!(self.phase, Phase::Stopping | Phase::Over) {
            self.order(Ordered::Stop(stop.clone(), end), Phase::Stopping);
        }
    }

    fn order(&mut self, ordered: Ordered, phase: Phase) {
        match &self.orders {
            Some(orders) => {
                // It may have ended by itself in this moment.
                drop(orders.send(ordered));
                self.enter(phase);
            }
            None => self.enter(Phase::Over),
        }
    }
}
