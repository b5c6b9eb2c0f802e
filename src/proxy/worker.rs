//! What the tasks of one data thread share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::alarm::Alarms;
use super::body::Upload;
use super::leftovers::Leftovers;
use super::threads::{Seat, Shared};
use super::upstream::Pools;
use crate::live::View;
use crate::telemetry::counters::ProxyShard;

/// How far the end of the thread has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Serving.
    Open,
    /// Answers carry `Connection: close`; idle connections linger.
    Draining,
    /// Idle connections are closed, the others after their answer.
    Closing,
}

/// The state of one data thread.
#[derive(Debug)]
pub struct Worker {
    /// Its index.
    pub thread: usize,
    /// What all threads share.
    pub shared: Arc<Shared>,
    /// What is in force.
    pub live: View,
    /// Its deadlines.
    pub alarms: Rc<Alarms>,
    /// Its connections to backends.
    pub pools: Rc<Pools>,
    /// What its connections have given up.
    pub leftovers: Rc<Leftovers>,
    stage: Cell<Stage>,
    random: RefCell<SmallRng>,
    retries: Cell<u32>,
    no_upload: Rc<Upload>,
}

/// Retries in hand at the start, and at most.
const RETRIES: u32 = 100;

/// Requests that earn one retry: at most a fifth more traffic for a backend that fails (Finagle's default).
const REQUESTS_PER_RETRY: u32 = 5;

impl Worker {
    /// The state of thread number `thread`.
    #[must_use]
    pub fn new(thread: usize, shared: Arc<Shared>) -> Rc<Self> {
        let (alarms, threads) = (Alarms::new(), shared.threads());
        Rc::new(Self {
            thread,
            live: shared.published.view(),
            shared,
            pools: Pools::new(&alarms, threads),
            alarms,
            leftovers: Rc::default(),
            stage: Cell::new(Stage::Open),
            random: RefCell::new(SmallRng::from_rng(&mut rand::rng())),
            retries: Cell::new(RETRIES * REQUESTS_PER_RETRY),
            no_upload: Rc::new(Upload::finished()),
        })
    }

    /// 64 random bits, not for secrets.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.random.borrow_mut().next_u64()
    }

    /// The upload of all requests that have none.
    #[must_use]
    pub fn no_upload(&self) -> &Rc<Upload> {
        &self.no_upload
    }

    /// This thread's part of what is counted whatever the service.
    #[must_use]
    pub fn counters(&self) -> &ProxyShard {
        self.shared.counters.of(self.thread)
    }

    /// How far the end has come.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// Goes a step towards the end, and tells every connection.
    pub fn advance(&self, stage: Stage) {
        self.stage.set(stage);
        self.alarms.wake_all();
    }

    /// Every request earns a part of a retry.
    pub fn earn_retry(&self) {
        self.retries.set((self.retries.get() + 1).min(RETRIES * REQUESTS_PER_RETRY));
    }

    /// Whether a request may be sent once more.
    #[must_use]
    pub fn spend_retry(&self) -> bool {
        let left = self.retries.get().checked_sub(REQUESTS_PER_RETRY);
        let Some(left) = left else { return false };
        self.retries.set(left);
        self.counters().retries.add(1);
        true
    }

    /// Counts a connection or tunnel while the guard lives.
    #[must_use]
    pub fn seat(&self) -> Seat {
        self.shared.seat(self.thread)
    }

    /// Waits until no connection and no tunnel is left.
    pub async fn idle(&self) {
        self.shared.idle(self.thread).await;
    }
}
