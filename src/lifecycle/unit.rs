//! The running side of one version: its gate, its instances, its state.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use super::gate_word::GateWord;
use super::instance::{Instance, pick};
use super::lease::Lease;
use crate::model::name::VersionName;
use crate::telemetry::counters::RequestCounters;

/// How many requests may wait for one version to come up.
pub const MAX_WAITERS: usize = 20_000;

/// The state of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Its first instance is coming up.
    Starting,
    /// It takes requests.
    Normal,
    /// It takes no new requests and is about to stop.
    Draining,
    /// It could not be started, or exited; it is tried again after a while.
    Failed {
        /// What went wrong, for the log and `status`; not for clients.
        why: Arc<str>,
        /// When it is tried again, from the failure on.
        retry_in: Duration,
    },
    /// It is gone for good.
    Stopped,
}

impl State {
    /// One word: `starting`, `normal`, `draining`, `failed` or `stopped`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Normal => "normal",
            Self::Draining => "draining",
            Self::Failed { .. } => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// Why a request could not have a lease.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError {
    /// The version was removed while the request was on its way; the next snapshot knows where to go.
    #[error("the version is going away")]
    Gone,
    /// The version failed; the next try is at most this far away.
    #[error("the version failed")]
    Failed {
        /// For `Retry-After`.
        retry_in: Duration,
    },
    /// It did not come up within the start timeout.
    #[error("the version did not come up in time")]
    Timeout,
    /// More than [`MAX_WAITERS`] wait already.
    #[error("too many requests wait for the version")]
    Full,
}

/// The running side of one version. Outlives snapshots; shared by all threads.
#[derive(Debug)]
// What every request writes to comes first, on the cache line of the count of references, which every request writes to as well.
#[repr(C)]
pub struct Unit {
    gate: GateWord,
    instances: ArcSwap<Vec<Arc<Instance>>>,
    name: VersionName,
    state: watch::Sender<State>,
    waiters: AtomicUsize,
    /// Told when the last lease of a shut gate comes back.
    drained: Notify,
    counters: RequestCounters,
}

impl Unit {
    /// A unit that has nothing running yet, counted on by `threads` data threads.
    #[must_use]
    pub fn new(name: VersionName, threads: usize) -> Self {
        Self {
            name,
            gate: GateWord::shut(),
            instances: ArcSwap::default(),
            state: watch::Sender::new(State::Starting),
            waiters: AtomicUsize::new(0),
            drained: Notify::new(),
            counters: RequestCounters::new(threads),
        }
    }

    /// The version's name.
    #[must_use]
    pub fn name(&self) -> &VersionName {
        &self.name
    }

    /// What its requests came to.
    #[must_use]
    pub fn counters(&self) -> &RequestCounters {
        &self.counters
    }

    /// The present state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// The instances that take requests at present.
    #[must_use]
    pub fn instances(&self) -> Arc<Vec<Arc<Instance>>> {
        self.instances.load_full()
    }

    /// Requests being served.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.gate.leases()
    }

    /// Requests waiting for the version to come up.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiters.load(Ordering::Relaxed)
    }

    /// A lease on one of the instances, if the version takes requests; `random` is 64 random bits for the pick. The warm
    /// path: atomics only.
    #[must_use]
    pub fn acquire(self: &Arc<Self>, random: u64) -> Option<Lease> {
        if !self.gate.try_lease() {
            return None;
        }
        match pick(&self.instances.load(), random) {
            Some(instance) => Some(Lease::new(Arc::clone(self), Arc::clone(instance))),
            None => {
                self.release();
                None
            }
        }
    }

    /// Waits until the version takes requests, at most for `timeout`, and leases an instance.
    pub async fn acquire_waiting(self: &Arc<Self>, random: u64, timeout: Duration) -> Result<Lease, AcquireError> {
        let _place = Place::take(&self.waiters).ok_or(AcquireError::Full)?;
        let mut state = self.state.subscribe();
        let wait = async {
            loop {
                if let Some(lease) = self.acquire(random) {
                    return Ok(lease);
                }
                match &*state.borrow_and_update() {
                    State::Failed { retry_in, .. } => return Err(AcquireError::Failed { retry_in: *retry_in }),
                    State::Draining | State::Stopped => return Err(AcquireError::Gone),
                    State::Starting | State::Normal => {}
                }
                if state.changed().await.is_err() {
                    return Err(AcquireError::Gone);
                }
            }
        };
        tokio::time::timeout(timeout, wait).await.unwrap_or(Err(AcquireError::Timeout))
    }

    pub(super) fn release(&self) {
        if self.gate.release() {
            self.drained.notify_waiters();
        }
    }

    /// The version takes requests from now on, at these instances.
    pub(super) fn open(&self, instances: Vec<Arc<Instance>>) {
        self.instances.store(Arc::new(instances));
        self.gate.open();
        self.state.send_replace(State::Normal);
    }

    /// The version takes no requests any more; what its instances had in their pools is of no use.
    pub(super) fn close(&self, state: State) {
        self.gate.close();
        self.state.send_replace(state);
        for instance in self.instances.swap(Arc::default()).iter() {
            instance.retire();
        }
    }

    /// Announces a state in which no request is taken either.
    pub(super) fn announce(&self, state: State) {
        debug_assert!(!self.gate.is_open(), "an open gate is State::Normal");
        self.state.send_replace(state);
    }

    /// Waits until the gate is shut and no lease is out.
    pub(super) async fn drained(&self) {
        loop {
            let told = self.drained.notified();
            if !self.gate.is_open() && self.gate.leases() == 0 {
                return;
            }
            told.await;
        }
    }
}

/// A place among those who wait; given back when dropped.
struct Place<'u>(&'u AtomicUsize);

impl<'u> Place<'u> {
    fn take(waiters: &'u AtomicUsize) -> Option<Self> {
        let place = Self(waiters);
        (waiters.fetch_add(1, Ordering::Relaxed) < MAX_WAITERS).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
