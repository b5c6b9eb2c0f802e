//! All units by version name: made, kept and let go as snapshots come. Each has a task of its own on the control thread.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::instance::Instance;
use super::provider::{Providers, Running};
use super::unit::{State, Unit};
use crate::model::version::{Backend, Endpoint, Version};

/// How soon a version that failed is tried again; doubles up to [`LONGEST_BACKOFF`].
pub const FIRST_BACKOFF: Duration = Duration::from_millis(500);

/// The longest time between two tries.
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// Running for this long makes up for earlier failures, and an exit after it is followed by a start at once.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// The units there are.
#[derive(Debug)]
pub struct Units {
    providers: Providers,
    threads: usize,
    by_name: HashMap<String, Entry>,
    /// Tasks of units that were let go and may not have ended yet.
    leaving: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Entry {
    unit: Arc<Unit>,
    orders: watch::Sender<Order>,
    task: JoinHandle<()>,
}

/// What a unit's task is to do.
#[derive(Debug, Clone)]
struct Order {
    version: Version,
    /// Drain for at most this long, then stop.
    leave: Option<Duration>,
}

impl Units {
    /// No units yet; `threads` data threads will count on them.
    #[must_use]
    pub fn new(providers: Providers, threads: usize) -> Self {
        Self { providers, threads, by_name: HashMap::new(), leaving: Vec::new() }
    }

    /// The unit of a version: the one there is, if the version's identity is the same, else a new one, which is started. Runs on
    /// the control thread's `LocalSet`.
    pub fn of(&mut self, version: &Version) -> Arc<Unit> {
        let name = version.name.as_str();
        if let Some(entry) = self.by_name.get(name) {
            if entry.orders.borrow().version.backend == version.backend {
                entry.orders.send_if_modified(|order| {
                    let changed = order.version != *version;
                    order.version.clone_from(version);
                    changed
                });
                return Arc::clone(&entry.unit);
            }
            self.let_go(name, Duration::ZERO);
        }
        let unit = Arc::new(Unit::new(version.name.clone(), self.threads));
        let (orders, receiver) = watch::channel(Order { version: version.clone(), leave: None });
        let keeper = Keeper { unit: Arc::clone(&unit), providers: self.providers.clone(), orders: receiver };
        if let Backend::Urls(endpoints) = &*version.backend {
            // Always awake: requests need not wait for the task to have its first turn.
            unit.open(endpoints.iter().cloned().map(|e| Arc::new(Instance::new(e))).collect());
        }
        let task = tokio::task::spawn_local(keeper.run());
        self.by_name.insert(name.to_owned(), Entry { unit: Arc::clone(&unit), orders, task });
        unit
    }

    /// Lets go of all units but these: each drains for at most `timeout` and stops.
    pub fn keep_only(&mut self, names: &HashSet<&str>, timeout: Duration) {
        let gone: Vec<String> = self.by_name.keys().filter(|name| !names.contains(name.as_str())).cloned().collect();
        for name in gone {
            self.let_go(&name, timeout);
        }
        self.leaving.retain(|task| !task.is_finished());
    }

    /// Stops everything and waits until nothing is left of it. Leases are not waited for: the data threads are done.
    pub async fn stop(mut self) {
        self.keep_only(&HashSet::new(), Duration::ZERO);
        for task in self.leaving {
            if let Err(error) = task.await {
                tracing::error!(%error, "a unit's task did not end as it should");
            }
        }
    }

    fn let_go(&mut self, name: &str, timeout: Duration) {
        if let Some(entry) = self.by_name.remove(name) {
            entry.orders.send_modify(|order| order.leave = Some(timeout));
            self.leaving.push(entry.task);
        }
    }
}

/// The task of one unit.
struct Keeper {
    unit: Arc<Unit>,
    providers: Providers,
    orders: watch::Receiver<Order>,
}

impl Keeper {
    async fn run(mut self) {
        if matches!(*self.order().version.backend, Backend::Urls(_)) {
            self.until_told_to_leave().await;
            self.drain().await;
        } else {
            self.keep_running().await;
        }
        self.unit.close(State::Stopped);
    }

    /// Keeps one instance up until told to leave.
    async fn keep_running(&mut self) {
        let mut backoff = FIRST_BACKOFF;
        loop {
            let begun = Instant::now();
            let Err(why) = self.run_once().await else { return };
            if begun.elapsed() >= HEALTHY_AFTER {
                // It ran well until now: requests wait for it to come up again, at once.
                tracing::error!(version = %self.unit.name(), "the version is started again: {why}");
                self.unit.close(State::Starting);
                backoff = FIRST_BACKOFF;
                continue;
            }
            tracing::error!(version = %self.unit.name(), retry_in_ms = backoff.as_millis(), "the version failed: {why}");
            self.unit.close(State::Failed { why: why.into(), retry_in: backoff });
            tokio::select! {
                () = self.until_told_to_leave() => return,
                () = tokio::time::sleep(backoff) => {}
            }
            backoff = (backoff * 2).min(LONGEST_BACKOFF);
            self.unit.announce(State::Starting);
        }
    }

    /// One life of an instance. `Ok` when told to leave, and it is gone; else why it failed.
    async fn run_once(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        let version = self.order().version;
        let mut running = self.providers.start(&version).await.map_err(|error| error.to_string())?;
        let ready = tokio::select! {
            ready = running.ready(&version.start) => ready,
            () = self.until_told_to_leave() => {
                // Before the stop, which may take its grace: requests that wait are for another version now.
                self.unit.close(State::Draining);
                self.stop(running).await;
                return Ok(());
            }
        };
        if let Err(error) = ready {
            self.stop(running).await;
            return Err(error.to_string());
        }
        let address = running.address();
        let endpoint = Endpoint { host: address.ip().to_string().into(), port: address.port() };
        self.unit.open(vec![Arc::new(Instance::new(endpoint))]);
        let took_ms = begun.elapsed().as_millis();
        tracing::info!(version = %self.unit.name(), %address, took_ms, "the version is up");
        tokio::select! {
            report = running.exited() => return Err(format!("it exited: {report}")),
            () = self.until_told_to_leave() => {}
        }
        self.drain().await;
        self.stop(running).await;
        Ok(())
    }

    /// Lets requests finish, for as long as the order says.
    async fn drain(&self) {
        self.unit.close(State::Draining);
        let timeout = self.order().leave.unwrap_or_default();
        if tokio::time::timeout(timeout, self.unit.drained()).await.is_err() && !timeout.is_zero() {
            let left = self.unit.in_flight();
            tracing::warn!(version = %self.unit.name(), left, "the drain's deadline passed; stopping with requests on their way");
        }
    }

    async fn stop(&self, running: Running) {
        let report = running.stop(&self.order().version.stop).await;
        // Without its last lines: it was asked to end, and they are in the log already.
        let ended = report.outcome();
        tracing::info!(version = %self.unit.name(), "the version is stopped: {ended}");
    }

    fn order(&self) -> Order {
        self.orders.borrow().clone()
    }

    async fn until_told_to_leave(&self) {
        // The sender goes away only after it has said so.
        let mut orders = self.orders.clone();
        if let Err(error) = orders.wait_for(|order| order.leave.is_some()).await {
            tracing::debug!(%error, "the units are gone");
        }
    }
}
