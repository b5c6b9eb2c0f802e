//! An instance as its keeper sees it.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::life::Ordered;
use super::order::Order;
use crate::lifecycle::instance::Instance;

/// One running copy, from its start to its end.
pub(super) struct Member {
    pub(super) id: u64,
    pub(super) phase: Phase,
    /// When the phase began.
    pub(super) since: Instant,
    /// Taken when it is told to stop.
    pub(super) stop: Option<oneshot::Sender<Ordered>>,
}

pub(super) enum Phase {
    Starting,
    Ready(Vec<Arc<Instance>>),
    /// Takes no new requests, and is stopped when the last is over, or by then.
    Draining(Vec<Arc<Instance>>, Instant),
    /// Told to stop.
    Stopping,
    /// Nothing of it is left, and nobody will say so: there was nothing to stop.
    Over,
}

impl Member {
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready(_))
    }

    pub(super) fn is_starting(&self) -> bool {
        matches!(self.phase, Phase::Starting)
    }

    pub(super) fn instances(&self) -> &[Arc<Instance>] {
        match &self.phase {
            Phase::Ready(instances) | Phase::Draining(instances, _) => instances,
            Phase::Starting | Phase::Stopping | Phase::Over => &[],
        }
    }

    pub(super) fn leases(&self) -> u32 {
        self.instances().iter().map(|instance| instance.leases()).sum()
    }

    pub(super) fn stop(&mut self, order: &Order) {
        self.phase = match self.stop.take() {
            Some(stop) => {
                // It may have ended by itself in this moment.
                drop(stop.send(order.version.stop.clone()));
                Phase::Stopping
            }
            None => Phase::Over,
        };
    }
}
