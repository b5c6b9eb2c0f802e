//! The task of one unit: looks at its gate, its orders and its instances, and starts, opens, drains and stops accordingly.
//!
//! Everything that happens leads to one look at the whole (`Keeper::look`), which does what is due and says when to look again; a
//! version that is asleep has nothing to look at, and no timer. Time is tokio's, so that the simulation runs on a clock of its own.

mod backoff;
mod idle;
mod life;
mod member;
mod order;
mod rest;
mod scaling;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use self::backoff::Backoff;
use self::idle::Idle;
use self::life::{Event, Life};
use self::member::{Member, Phase};
pub use self::order::CommandError;
pub(super) use self::order::{Command, Leave, Order};
use super::autoscaler::Autoscaler;
use super::gate_word::GateState;
use super::instance::Instance;
use super::provider::{End, Provider};
use super::turns::Turns;
use super::unit::{AcquireError, State, Unit};
use super::wakes::Wakes;
use crate::model::version::{Backend, Endpoint};

/// Running for this long makes up for earlier failures. An exit after it is followed by a start at once, as the first one before it is.
pub const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// Requests that are let through to an instance at first when many wait and it has no `max_concurrency` (as TCP begins: a few, and
/// more with each answer).
pub const FIRST_WINDOW: u64 = 64;

/// Why the gate was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// Nobody came. If somebody does before the pause or stop, it opens again.
    Idle(Tier),
    /// A person said so.
    Told,
}

/// How deeply a version sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tier {
    Paused,
    Stopped,
}

pub(super) struct Keeper<P: Provider> {
    unit: Arc<Unit>,
    provider: P,
    turns: Turns,
    orders: watch::Receiver<Order>,
    commands: mpsc::UnboundedReceiver<Command>,
    order: Order,
    members: Vec<Member>,
    next: u64,
    happened: mpsc::UnboundedReceiver<(u64, Event)>,
    happens: mpsc::UnboundedSender<(u64, Event)>,
    backoff: Backoff,
    idle: Idle,
    closing: Option<Closing>,
    told: Vec<oneshot::Sender<Result<(), CommandError>>>,
    scaler: Autoscaler,
    born: Instant,
    sampled: Option<(Instant, u64)>,
    ticked: Instant,
    desired: u32,
    /// Closed when units of the same thing that were let go have ended: nothing is started before.
    before: Vec<watch::Receiver<()>>,
}

impl<P: Provider> Keeper<P> {
    pub(super) fn new(
        unit: Arc<Unit>,
        (provider, turns): (P, Turns),
        mut orders: watch::Receiver<Order>,
        commands: mpsc::UnboundedReceiver<Command>,
        before: Vec<watch::Receiver<()>>,
    ) -> Self {
        let order = orders.borrow_and_update().clone();
        let (happens, happened) = mpsc::unbounded_channel();
        let now = Instant::now();
        let mut keeper = Self {
            unit,
            provider,
            turns,
            orders,
            commands,
            order,
            members: Vec::new(),
            next: 0,
            happened,
            happens,
            backoff: Backoff::default(),
            idle: Idle::new(now),
            closing: None,
            told: Vec::new(),
            scaler: Autoscaler::new(),
            born: now,
            sampled: None,
            ticked: now,
            desired: 1,
            before,
        };
        if let Backend::Urls(endpoints) = &*keeper.order.version.backend {
            // Always awake: requests need not wait for the task to have its first turn.
            keeper.members.push(Member::always_ready(0, now, fresh(endpoints)));
            keeper.unit.ran();
            keeper.open();
        }
        keeper
    }

    /// Until the unit is gone for good.
    pub(super) async fn run(mut self) {
        while let Some(again) = self.look() {
            tokio::select! {
                biased;
                changed = self.orders.changed(), if self.order.leave.is_none() => match changed {
                    Ok(()) => self.take_order(),
                    // Nobody gives orders any more: nothing is to be left behind.
                    Err(_) => self.order.leave = Some(Leave { drain: Duration::ZERO, end: End::Handover }),
                },
                Some((id, event)) = self.happened.recv() => self.take(id, event),
                Some(command) = self.commands.recv() => self.obey(command),
                () = all_over(&mut self.before), if !self.before.is_empty() => {}
                () = self.unit.called() => {}
                () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {}
            }
        }
        if self.order.leave.is_some_and(|leave| leave.end == End::Removal) {
            self.provider.discard(&self.order.version).await;
        }
        self.unit.announce(State::Stopped);
    }

    /// Does what is due, and says when to look again without being called: not at all (`Some(None)`), then, or, with `None`, that all
    /// is over.
    fn look(&mut self) -> Option<Option<Instant>> {
        let now = Instant::now();
        let mut again = Again::default();
        self.finish_drains(now, &mut again);
        if let Some(leave) = self.order.leave {
            self.leave(now, leave);
            self.finish_drains(now, &mut again);
            // Whoever waits for this one's end waits for theirs.
            return (!self.members.is_empty() || !self.before.is_empty()).then_some(again.0);
        }
        if let Some(closing) = self.closing {
            self.go_on_closing(closing);
        }
        self.stop_who_rests_for_long(now, &mut again);
        if self.closing.is_none() {
            self.keep_awake(now, &mut again);
        }
        Some(again.0)
    }

    /// As many instances as there should be, and sleep when nobody comes.
    fn keep_awake(&mut self, now: Instant, again: &mut Again) {
        let min = self.order.min();
        match self.unit.gate().seen().state() {
            GateState::Failed => match self.backoff.due(now) {
                Some(due) => return again.at(due),
                None if min == 0 => self.fall_asleep(),
                None => {
                    self.unit.with_wakes(Wakes::begin);
                    self.unit.gate().go(GateState::Waking);
                }
            },
            GateState::Asleep if min > 0 => self.unit.knock(),
            _ => {}
        }
        let state = self.unit.gate().seen().state();
        if !matches!(state, GateState::Waking | GateState::Open) {
            self.unit.set_idle_since(None);
            return;
        }
        if state == GateState::Waking && !matches!(self.unit.state(), State::Starting) {
            self.unit.announce(State::Starting);
        }
        self.scale(now, again);
        let wanted = if self.order.version.backend.is_ours() { self.desired } else { 1 };
        self.have(wanted, now, again);
        if state == GateState::Waking && self.members.iter().any(Member::is_ready) {
            // It was still being drained and was taken back: nothing has to come up.
            self.unit.with_wakes(Wakes::cancelled);
            self.open();
        }
        if self.unit.is_open() {
            self.sleep_if_idle(now, again);
        }
    }

    /// Starts instances, takes them back or drains them, until there are so many.
    fn have(&mut self, wanted: u32, now: Instant, again: &mut Again) {
        let mut active = self.count(|member| member.is_ready() || member.is_starting());
        while active < wanted && (self.take_back() || self.resume_one()) {
            active += 1;
        }
        let max = self.order.version.replicas.max.max(self.order.min()).max(1);
        let may_start = self.order.version.backend.is_ours() && self.before.is_empty();
        while active < wanted && self.count(|_| true) < max && may_start {
            if let Some(due) = self.backoff.due(now) {
                again.at(due);
                break;
            }
            self.start();
            active += 1;
        }
        while active > wanted {
            // What is not ready yet serves nobody; then whoever has the least to do.
            if let Some(starting) = self.members.iter_mut().rev().find(|member| member.is_starting()) {
                starting.stop(&self.order.version.stop, End::Rest);
            } else if !self.drain_the_least_busy(now) {
                break;
            }
            active -= 1;
        }
        self.finish_drains(now, again);
    }

    fn start(&mut self) {
        let (id, now) = (self.next, Instant::now());
        self.next += 1;
        let (orders, ordered) = mpsc::unbounded_channel();
        let happens = self.happens.clone();
        let tell = move |event| {
            // Nobody listens any more only when the unit's task was dropped.
            drop(happens.send((id, event)));
        };
        let (provider, turns, version) = (self.provider.clone(), self.turns.clone(), self.order.version.clone());
        tokio::task::spawn_local(Life { provider, turns, version, orders: ordered, tell }.live());
        self.members.push(Member::starting(id, now, orders));
    }

    /// Lets an instance that is being drained take requests again, rather than start another.
    fn take_back(&mut self) -> bool {
        let member = self.members.iter_mut().find(|member| matches!(member.phase, Phase::Draining(..)));
        let Some(member) = member else { return false };
        let instances = member.instances().to_vec();
        // The same ones, so that the requests that they still have are waited for when they are drained again.
        instances.iter().for_each(|instance| instance.take_back());
        member.phase = Phase::Ready(instances);
        self.list();
        true
    }

    fn drain_the_least_busy(&mut self, now: Instant) -> bool {
        let deadline = now + self.order.drain;
        let ready = self.members.iter_mut().filter(|member| member.is_ready());
        let Some(member) = ready.min_by_key(|member| member.leases()) else { return false };
        // Out of the list first, so that whoever is turned away by it finds another.
        let instances = member.instances().to_vec();
        member.phase = Phase::Draining(instances.clone(), deadline);
        self.list();
        instances.iter().for_each(|instance| instance.drain());
        true
    }

    /// Stops or pauses what is drained and has no request left, or no time.
    fn finish_drains(&mut self, now: Instant, again: &mut Again) {
        let end = self.order.leave.map_or(End::Rest, |leave| leave.end);
        let at_once = self.order.leave.is_some_and(|leave| leave.drain.is_zero());
        let pause = self.closing == Some(Closing::Idle(Tier::Paused)) && self.order.leave.is_none();
        for member in &mut self.members {
            let Phase::Draining(instances, deadline) = &member.phase else { continue };
            let left: u32 = instances.iter().map(|instance| instance.leases()).sum();
            if left > 0 && now < *deadline {
                again.at(*deadline);
                continue;
            }
            if left > 0 && !at_once {
                let version = self.unit.name();
                tracing::warn!(%version, left, "the drain's deadline passed; stopping with requests on their way");
            }
            if pause && left == 0 {
                member.pause();
            } else {
                member.stop(&self.order.version.stop, end);
            }
        }
        self.members.retain(|member| !matches!(member.phase, Phase::Over));
    }

    /// The gate is shut: what runs is drained, what starts is stopped.
    fn close(&mut self, why: Closing) {
        self.closing = Some(why);
        let now = Instant::now();
        if self.members.iter().any(|member| member.is_ready() && now >= member.since + HEALTHY_AFTER) {
            self.unit.with_wakes(|wakes| wakes.ended(None));
        }
        self.unit.announce(State::Draining);
        self.unit.set_idle_since(None);
        self.drain_all(Instant::now() + self.order.drain);
    }

    fn drain_all(&mut self, deadline: Instant) {
        let (stop, end) = (self.order.version.stop.clone(), self.order.leave.map_or(End::Rest, |leave| leave.end));
        let may_rest = self.order.leave.is_none() && self.closing == Some(Closing::Idle(Tier::Paused));
        for member in &mut self.members {
            match &member.phase {
                Phase::Starting | Phase::Resuming => member.stop(&stop, end),
                Phase::Pausing | Phase::Paused if !may_rest => member.stop(&stop, end),
                Phase::Ready(instances) => {
                    instances.iter().for_each(|instance| instance.drain());
                    member.phase = Phase::Draining(instances.clone(), deadline);
                }
                Phase::Draining(instances, before) => {
                    member.phase = Phase::Draining(instances.clone(), deadline.min(*before));
                }
                Phase::Pausing | Phase::Paused | Phase::Stopping | Phase::Over => {}
            }
        }
        self.list();
        self.finish_drains(Instant::now(), &mut Again::default());
    }

    fn go_on_closing(&mut self, why: Closing) {
        if matches!(why, Closing::Idle(_)) && self.unit.gate().seen().is_waited_for() && self.take_back() {
            // Somebody came before the stop of these, which therefore is not needed.
            while self.take_back() {}
            self.closing = None;
            return self.open();
        }
        let rests = |member: &Member| member.is_paused() && matches!(why, Closing::Idle(_));
        if self.members.iter().all(rests) {
            self.closing = None;
            // It ran well until it was told to stop.
            self.backoff.reset();
            self.scaler.reset();
            self.fall_asleep();
            self.told.drain(..).for_each(|told| drop(told.send(Ok(()))));
        }
    }

    /// Nothing runs any more. If somebody waits by now, it is woken again.
    fn fall_asleep(&mut self) {
        self.desired = 1;
        self.sampled = None;
        self.unit.set_wanted(0);
        // Before the gate sleeps: from then on, whoever comes begins another.
        self.unit.with_wakes(Wakes::cancelled);
        self.unit.set_paused(self.members.iter().any(Member::rests));
        if self.unit.gate().sleep() {
            self.unit.announce(State::Asleep);
        } else {
            self.unit.with_wakes(Wakes::begin);
            self.unit.announce(State::Starting);
        }
    }

    /// Shuts the gate for good; requests that wait are for another version.
    fn leave(&mut self, now: Instant, leave: Leave) {
        if self.unit.gate().seen().state() == GateState::Gone {
            return;
        }
        self.unit.announce(State::Draining);
        self.unit.gate().go(GateState::Gone);
        self.unit.send_away(&AcquireError::Gone);
        self.closing = None;
        self.told.drain(..).for_each(|told| drop(told.send(Ok(()))));
        self.drain_all(now + leave.drain);
    }

    fn take_order(&mut self) {
        let before =
            std::mem::replace(&mut self.order, self.orders.borrow_and_update().clone()).version.max_concurrency;
        self.unit.tune(&self.order.version);
        if before.is_some() != self.order.version.max_concurrency.is_some() {
            self.unit.set_window(self.window(), false);
        }
        // There may be more room than before.
        self.unit.hand_out();
    }

    fn obey(&mut self, command: Command) {
        let (anyhow, answer) = match command {
            Command::Sleep { anyhow, answer } => (anyhow, answer),
            Command::Adopt(count) => return self.adopt(count),
            Command::TryAgain => return self.backoff.skip(),
        };
        let (name, min) = (self.unit.name().to_string(), self.order.min());
        let refused = if self.order.leave.is_some() {
            Some(CommandError::Unknown(name))
        } else if !self.order.version.backend.is_ours() {
            Some(CommandError::NotOurs(name))
        } else if min > 0 && !anyhow {
            let keep = self.order.version.keep;
            let cure = if keep { "take `keep` out" } else { "set `replicas: {min: 0}`, or move its weight" };
            Some(CommandError::Held { name, min, cure })
        } else {
            let waiting = self.unit.waiting();
            let awaited = waiting > 0 && self.unit.gate().seen().state() == GateState::Waking;
            awaited.then_some(CommandError::Awaited { name, waiting })
        };
        if let Some(refused) = refused {
            return drop(answer.send(Err(refused)));
        }
        self.told.push(answer);
        if self.closing.is_some() {
            self.closing = Some(Closing::Told);
            return self.stop_who_rests();
        }
        match self.unit.gate().seen().state() {
            GateState::Asleep => {
                // Who asks for sleep means that nothing is left in memory either.
                self.stop_who_rests();
                self.told.drain(..).for_each(|told| drop(told.send(Ok(()))));
            }
            _ => {
                self.unit.gate().go(GateState::Closing);
                self.close(Closing::Told);
            }
        }
    }

    fn take(&mut self, id: u64, event: Event) {
        let Some(at) = self.members.iter().position(|member| member.id == id) else { return };
        let told_to_stop = matches!(self.members[at].phase, Phase::Stopping);
        match event {
            Event::InLine => self.wait_in_line(at, true),
            Event::Begun => self.wait_in_line(at, false),
            Event::Started => self.unit.with_wakes(Wakes::started),
            Event::Ready(endpoints) => self.is_ready(at, &endpoints),
            Event::Failed { why, timeout } => {
                self.members[at].enter(Phase::Stopping);
                if !told_to_stop {
                    self.failed(&why, timeout);
                }
            }
            Event::Paused if told_to_stop => {}
            Event::Paused => self.members[at].enter(Phase::Paused),
            Event::Lost(why) => {
                self.members[at].enter(Phase::Stopping);
                tracing::warn!(version = %self.unit.name(), "an instance was lost in its sleep, and another takes its place: {why}");
            }
            Event::Used(used) => self.members[at].used = Some(used),
            Event::Exited(why) => {
                let member = self.members.remove(at);
                member.instances().iter().for_each(|instance| instance.drain());
                if let Phase::Ready(_) = member.phase {
                    self.exited(&why, member.since);
                }
            }
            Event::Stopped => drop(self.members.remove(at)),
        }
    }

    fn is_ready(&mut self, at: usize, endpoints: &[Endpoint]) {
        let member = &mut self.members[at];
        if !member.is_starting() {
            // It was told to stop in this moment.
            return;
        }
        let (took, resumed) = (member.since.elapsed(), matches!(member.phase, Phase::Resuming));
        // New ones also for what was paused: connections from before are of no use.
        member.enter(Phase::Ready(fresh(endpoints)));
        self.unit.ran();
        let address = endpoints.first().map(ToString::to_string).unwrap_or_default();
        tracing::info!(version = %self.unit.name(), address, took_ms = took.as_millis(), "the version is up");
        if self.unit.gate().seen().state() == GateState::Waking {
            let waiting = self.unit.waiting();
            self.unit.with_wakes(|wakes| wakes.ready(waiting, !resumed));
            self.open();
        } else {
            self.list();
        }
    }

    /// Opens the gate to what is ready, and lets in who waits, as many as can be served.
    fn open(&mut self) {
        self.idle = Idle::new(Instant::now());
        self.list();
        self.unit.announce(State::Normal);
        self.unit.gate().go(GateState::Open);
        self.unit.hand_out();
    }

    /// Tells the data plane which instances take requests.
    fn list(&mut self) {
        let ready: Vec<Arc<Instance>> =
            self.members.iter().filter(|m| m.is_ready()).flat_map(|member| member.instances()).cloned().collect();
        self.unit.set_window(self.window(), self.unit.is_open());
        self.unit.set_instances(ready);
        self.unit.hand_out();
    }

    /// How many leases may be without an answer at first while somebody waits.
    fn window(&self) -> u64 {
        let ready =
            self.members.iter().filter(|member| member.is_ready()).map(|member| member.instances().len() as u64);
        if self.order.version.max_concurrency.is_some() { u64::MAX } else { FIRST_WINDOW * ready.sum::<u64>() }
    }

    /// An instance did not come up.
    fn failed(&mut self, why: &Arc<str>, timeout: bool) {
        let now = Instant::now();
        self.forgive(now);
        let delay = self.backoff.failed(now);
        tracing::error!(version = %self.unit.name(), retry_in_ms = delay.as_millis(), "the version failed: {why}");
        if self.unit.gate().seen().state() == GateState::Waking && !self.members.iter().any(Member::is_starting) {
            self.fail(why, delay, timeout);
        }
    }

    /// An instance that was ready has ended by itself.
    fn exited(&mut self, why: &Arc<str>, since: Instant) {
        let version = self.unit.name().clone();
        let now = Instant::now();
        self.unit.with_wakes(|wakes| wakes.ended(Some(why)));
        let delay = if now >= since + HEALTHY_AFTER {
            self.backoff.reset();
            Duration::ZERO
        } else {
            self.forgive(now);
            self.backoff.ended(now, since)
        };
        if delay.is_zero() {
            tracing::error!(%version, "an instance has ended by itself: {why}");
        } else {
            tracing::error!(%version, retry_in_ms = delay.as_millis(), "the version failed: {why}");
        }
        if self.closing.is_some() || self.members.iter().any(Member::is_ready) {
            return self.list();
        }
        if self.unit.is_open() && self.take_back() {
            return;
        }
        if self.unit.gate().seen().state() != GateState::Open {
            return;
        }
        if delay.is_zero() || self.members.iter().any(Member::is_starting) {
            self.unit.announce(State::Starting);
            self.unit.gate().go(GateState::Waking);
            self.list();
            if self.order.min() == 0 && !self.members.iter().any(Member::is_starting) {
                // Whoever comes next wakes it.
                self.fall_asleep();
            } else {
                self.unit.with_wakes(Wakes::begin);
            }
        } else {
            self.fail(why, delay, false);
            self.list();
        }
    }

    /// What failed before an instance came up that has run well since is forgotten.
    fn forgive(&mut self, now: Instant) {
        let well = self.members.iter().filter(|member| member.is_ready() && now >= member.since + HEALTHY_AFTER);
        if let Some(since) = well.map(|member| member.since).max() {
            self.backoff.runs_well(since);
        }
    }

    /// Nothing can be had for a while: who waits is told so.
    fn fail(&mut self, why: &Arc<str>, retry_in: Duration, timeout: bool) {
        self.unit.announce(State::Failed { why: Arc::clone(why), retry_in });
        self.unit.gate().go(GateState::Failed);
        let waiting = self.unit.waiting();
        self.unit.with_wakes(|wakes| wakes.failed(why, timeout, waiting));
        let error = if timeout {
            AcquireError::Timeout
        } else {
            AcquireError::Failed { retry_in: retry_in.saturating_add(self.unit.typical_start()) }
        };
        self.unit.send_away(&error);
    }

    fn count(&self, which: impl Fn(&Member) -> bool) -> u32 {
        u32::try_from(self.members.iter().filter(|member| which(member)).count()).expect("at most 100")
    }
}

/// Waits for the end of all of them, and forgets them.
async fn all_over(before: &mut Vec<watch::Receiver<()>>) {
    while let Some(last) = before.last_mut() {
        while last.changed().await.is_ok() {}
        before.pop();
    }
}

fn fresh(endpoints: &[Endpoint]) -> Vec<Arc<Instance>> {
    endpoints.iter().cloned().map(|endpoint| Arc::new(Instance::new(endpoint))).collect()
}

/// The earliest of the times at which something is due.
#[derive(Default)]
struct Again(Option<Instant>);

impl Again {
    fn at(&mut self, time: Instant) {
        self.0 = Some(self.0.map_or(time, |before| before.min(time)));
    }
}
