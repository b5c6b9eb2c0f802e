//! All units by version name: made, kept and let go as snapshots come. Each has a task of its own on the control thread.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::keeper::{Command, CommandError, Keeper, Leave, Order};
use super::provider::{End, Provider, Providers};
use super::turns::Turns;
use super::unit::Unit;
use crate::model::version::Version;

/// The units there are. Used on the control thread's `LocalSet`.
#[derive(Debug)]
pub struct Units<P = Providers> {
    provider: P,
    turns: Turns,
    threads: usize,
    by_name: HashMap<String, Entry>,
    /// Units that were let go and may not have ended yet.
    leaving: Vec<Leaving>,
}

#[derive(Debug)]
struct Leaving {
    version: Version,
    task: JoinHandle<()>,
    over: watch::Receiver<()>,
}

#[derive(Debug)]
struct Entry {
    unit: Arc<Unit>,
    orders: watch::Sender<Order>,
    commands: mpsc::UnboundedSender<Command>,
    task: JoinHandle<()>,
    /// Closed when the task has ended, however.
    over: watch::Receiver<()>,
}

/// What a unit is to be.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'v> {
    /// The version.
    pub version: &'v Version,
    /// Whether it has weight, or a rule points at it, so that its minimum of instances holds.
    pub has_traffic: bool,
    /// Whether it is started once although nobody has asked for it yet, so that what is wrong with it shows.
    pub try_out: bool,
    /// How long requests have to finish when an instance is stopped for want of load.
    pub drain: Duration,
}

impl<P: Provider> Units<P> {
    /// No units yet; `threads` data threads will count on them. Instances come up as they get a turn.
    #[must_use]
    pub fn new(provider: P, turns: Turns, threads: usize) -> Self {
        Self { provider, turns, threads, by_name: HashMap::new(), leaving: Vec::new() }
    }

    /// The unit of a version: the one there is, if the version's identity is the same, else a new one.
    pub fn of(&mut self, wish: Wish<'_>) -> Arc<Unit> {
        let Wish { version, has_traffic, try_out, drain } = wish;
        let name = version.name.as_str();
        if let Some(entry) = self.by_name.get(name) {
            if entry.orders.borrow().version.backend == version.backend {
                entry.orders.send_if_modified(|order| {
                    let next = Order { version: version.clone(), has_traffic, drain, leave: order.leave };
                    let changed = *order != next;
                    *order = next;
                    changed
                });
                return Arc::clone(&entry.unit);
            }
            self.let_go(name, Leave { drain: Duration::ZERO, end: End::Removal });
        }
        let unit = Arc::new(Unit::new(version, self.threads));
        let order = Order { version: version.clone(), has_traffic, drain, leave: None };
        let (orders, receiver) = watch::channel(order);
        let (commands, commanded) = mpsc::unbounded_channel();
        // The same thing outside is not started a second time while it is being stopped.
        let same = |left: &&Leaving| left.version.name == version.name && left.version.backend == version.backend;
        let before = self.leaving.iter().filter(same).map(|left| left.over.clone()).collect();
        let keeper =
            Keeper::new(Arc::clone(&unit), (self.provider.clone(), self.turns.clone()), receiver, commanded, before);
        if try_out {
            unit.knock();
        }
        let (running, over) = watch::channel(());
        let task = tokio::task::spawn_local(async move {
            keeper.run().await;
            drop(running);
        });
        self.by_name.insert(name.to_owned(), Entry { unit: Arc::clone(&unit), orders, commands, task, over });
        unit
    }

    /// Has a version sleep now: no request is taken, those on their way finish, then it stops. Answered when it has.
    ///
    /// # Errors
    /// [`CommandError`], also where it is let go meanwhile.
    pub fn sleep(&self, name: &str) -> impl Future<Output = Result<(), CommandError>> + use<P> {
        self.rest(name, false)
    }

    /// The same for a version that is to come up again afterwards, also where it has a minimum of instances.
    ///
    /// # Errors
    /// [`CommandError`], also where it is let go meanwhile.
    pub fn stop_for_restart(&self, name: &str) -> impl Future<Output = Result<(), CommandError>> + use<P> {
        self.rest(name, true)
    }

    fn rest(&self, name: &str, anyhow: bool) -> impl Future<Output = Result<(), CommandError>> + use<P> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Sleep { anyhow, answer };
        let sent = self.by_name.get(name).is_some_and(|entry| entry.commands.send(command).is_ok());
        let name = name.to_owned();
        async move {
            let answer = if sent { answered.await.ok() } else { None };
            answer.unwrap_or(Err(CommandError::Unknown(name)))
        }
    }

    /// Has a version that failed tried again now, rather than after a while. One that may sleep falls asleep, to be woken.
    pub fn try_again(&self, name: &str) {
        self.command(name, Command::TryAgain);
    }

    /// Has a version take over so many instances that run already, by asking its provider for them. Those that there are in excess of its
    /// maximum are left alone.
    pub fn adopt(&self, name: &str, count: u32) {
        self.command(name, Command::Adopt(count));
    }

    fn command(&self, name: &str, command: Command) {
        if let Some(entry) = self.by_name.get(name)
            && entry.commands.send(command).is_err()
        {
            tracing::debug!(version = name, "a unit's task is gone");
        }
    }

    /// Lets go of all units but these: each drains for at most `timeout` and stops, and nothing of it stays.
    pub fn keep_only(&mut self, names: &HashSet<&str>, timeout: Duration) {
        self.all_but(names, Leave { drain: timeout, end: End::Removal });
    }

    fn all_but(&mut self, names: &HashSet<&str>, leave: Leave) {
        let gone: Vec<String> = self.by_name.keys().filter(|name| !names.contains(name.as_str())).cloned().collect();
        for name in gone {
            self.let_go(&name, leave);
        }
        self.leaving.retain(|left| !left.task.is_finished());
    }

    /// Lets go of these units, likewise; what it costs does not grow with the number of all.
    pub fn let_go_of<'n>(&mut self, names: impl Iterator<Item = &'n str>, timeout: Duration) {
        names.for_each(|name| self.let_go(name, Leave { drain: timeout, end: End::Removal }));
        self.leaving.retain(|left| !left.task.is_finished());
    }

    /// Stops everything and waits until nothing is left of it, but for containers, which go on as they are. Leases are not waited for: the
    /// data threads are done.
    pub async fn stop(mut self) {
        self.all_but(&HashSet::new(), Leave { drain: Duration::ZERO, end: End::Handover });
        for left in self.leaving {
            if let Err(error) = left.task.await {
                tracing::error!(%error, "a unit's task did not end as it should");
            }
        }
    }

    fn let_go(&mut self, name: &str, leave: Leave) {
        if let Some(entry) = self.by_name.remove(name) {
            entry.orders.send_modify(|order| order.leave = Some(leave));
            let version = entry.orders.borrow().version.clone();
            self.leaving.push(Leaving { version, task: entry.task, over: entry.over });
        }
    }
}
