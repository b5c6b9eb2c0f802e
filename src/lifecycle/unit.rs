//! The running side of one version: its gate, its line, its instances, its state.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::gate_word::{GateState, GateWord, Parking};
use super::instance::{Instance, lease_other, pick_and_lease};
use super::lease::Lease;
use super::line::{Joined, Line, Round, Ticket};
use super::wakes::{Receipt, Wakes};
use crate::model::name::VersionName;
use crate::model::version::Version;
use crate::telemetry::counters::{HeldCounters, RequestCounters};

/// What clients are told to wait for a version of which no start is known.
const UNKNOWN_START: Duration = Duration::from_secs(1);

/// The state of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing of it runs; a request wakes it.
    Asleep,
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
    /// What [`Self::as_str`] can say.
    pub const NAMES: [&str; 6] = ["asleep", "starting", "normal", "draining", "failed", "stopped"];

    /// One word: `asleep`, `starting`, `normal`, `draining`, `failed` or `stopped`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Asleep => "asleep",
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
        /// For `Retry-After`: the next try, and what a start takes.
        retry_in: Duration,
    },
    /// It did not come up within the start timeout.
    #[error("the version did not come up in time")]
    Timeout,
    /// As many as may wait do.
    #[error("too many requests wait for the version")]
    Full {
        /// For `Retry-After`: what a start takes.
        retry_in: Duration,
    },
}

/// What one who waits is told.
type Called = Result<Lease, AcquireError>;

/// The running side of one version. Outlives snapshots; shared by all threads.
#[derive(Debug)]
// What every request writes to comes first, on the cache line of the count of references, which every request writes to as well.
#[repr(C)]
pub struct Unit {
    gate: GateWord,
    /// Requests that an instance gets at a time.
    most: AtomicU32,
    instances: ArcSwap<Vec<Arc<Instance>>>,
    line: Line<oneshot::Sender<Called>>,
    max_waiting: AtomicU32,
    /// Picks of an instance for who waits, counted.
    picks: AtomicU64,
    /// Calls the keeper to look at the gate.
    bell: Notify,
    name: VersionName,
    state: watch::Sender<State>,
    counters: RequestCounters,
    held: HeldCounters,
    quiet: AtomicU64,
    touches: AtomicU64,
    ignored: AtomicU64,
    has_run: AtomicBool,
    /// How many instances the load asks for, where that is more than there may be.
    wanted: AtomicU32,
    /// Whether it is asleep and paused, rather than stopped.
    paused: AtomicBool,
    /// Instances that wait for their turn to start.
    in_line: AtomicU32,
    // Held to note a wake, or to read what is noted.
    wakes: Mutex<Wakes>,
    /// Why it is awake, for `status`; noted by the keeper.
    idle_since: Mutex<Option<Instant>>,
}

impl Unit {
    /// A unit that is asleep, counted on by `threads` data threads.
    #[must_use]
    pub fn new(version: &Version, threads: usize) -> Self {
        let unit = Self {
            name: version.name.clone(),
            gate: GateWord::asleep(),
            most: AtomicU32::new(u32::MAX),
            instances: ArcSwap::default(),
            line: Line::new(),
            max_waiting: AtomicU32::new(0),
            picks: AtomicU64::new(0),
            bell: Notify::new(),
            state: watch::Sender::new(State::Asleep),
            counters: RequestCounters::new(threads),
            held: HeldCounters::new(threads),
            quiet: AtomicU64::new(0),
            touches: AtomicU64::new(0),
            ignored: AtomicU64::new(0),
            has_run: AtomicBool::new(false),
            wanted: AtomicU32::new(0),
            paused: AtomicBool::new(false),
            in_line: AtomicU32::new(0),
            wakes: Mutex::default(),
            idle_since: Mutex::default(),
        };
        unit.tune(version);
        unit
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

    /// How long its requests were held.
    #[must_use]
    pub fn held(&self) -> &HeldCounters {
        &self.held
    }

    /// Requests that one of its instances gets at a time; no limit where `None`.
    #[must_use]
    pub fn max_concurrency(&self) -> Option<u32> {
        Some(self.most.load(Ordering::Relaxed)).filter(|most| *most != u32::MAX)
    }

    /// The present state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// The states from now on.
    #[must_use]
    pub fn states(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// The instances that take requests at present.
    #[must_use]
    pub fn instances(&self) -> Arc<Vec<Arc<Instance>>> {
        self.instances.load_full()
    }

    /// Requests being served.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.gate.seen().leases()
    }

    /// Requests waiting in line.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.line.len()
    }

    /// Those of [`Self::in_flight`] that do not keep it awake: tunnels, and requests that are ignored.
    #[must_use]
    pub fn quiet(&self) -> u64 {
        self.quiet.load(Ordering::Acquire)
    }

    /// Whether requests can be served at once.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.gate.seen().state() == GateState::Open
    }

    /// Whether it was tried, and no instance has ever been ready: there is nothing yet that it has been.
    #[must_use]
    pub fn never_came_up(&self) -> bool {
        !self.has_run.load(Ordering::Relaxed) && self.with_wakes(|wakes| !wakes.past().is_empty())
    }

    /// How many instances the load asks for where that is more than there may be.
    #[must_use]
    pub fn wanted(&self) -> Option<u32> {
        Some(self.wanted.load(Ordering::Relaxed)).filter(|wanted| *wanted > 0)
    }

    /// Whether it is asleep and paused, so that it wakes at once, rather than stopped.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Instances that wait for their turn to start.
    #[must_use]
    pub fn in_line(&self) -> u32 {
        self.in_line.load(Ordering::Relaxed)
    }

    /// Why its last run ended by itself; `None` if it has run well since.
    #[must_use]
    pub fn last_end(&self) -> Option<String> {
        self.with_wakes(|wakes| wakes.last_end().map(str::to_owned))
    }

    /// Since when nothing has kept it awake; `None` while something does, or it is not awake.
    #[must_use]
    pub fn idle_since(&self) -> Option<Instant> {
        *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lease on one of the instances, if the version takes requests and nobody waits; `random` is 64 random bits for the pick.
    /// The warm path: atomics only.
    #[must_use]
    pub fn acquire(self: &Arc<Self>, random: u64) -> Option<Lease> {
        #[cfg(feature = "seeded-fault")]
        if self.gate.seen().state() == GateState::Open {
            return self.acquire_blindly(random);
        }
        let epoch = self.gate.try_lease()?;
        let lease = self.on_an_instance(random, epoch);
        if lease.is_none() {
            self.release();
        }
        lease
    }

    /// A lease as [`Self::acquire`] gives it, on another instance than the one with this id, if there is one that takes more.
    #[must_use]
    pub fn acquire_other(self: &Arc<Self>, than: u64) -> Option<Lease> {
        let epoch = self.gate.try_lease()?;
        let most = self.most.load(Ordering::Relaxed);
        let Some(instance) = lease_other(&self.instances.load(), than, most).cloned() else {
            self.release();
            return None;
        };
        Some(Lease::new(Arc::clone(self), instance, epoch))
    }

    /// The seeded fault, which the ledger must notice: having looked once whether the gate is open, it does not look again when it
    /// takes the lease.
    #[cfg(feature = "seeded-fault")]
    fn acquire_blindly(self: &Arc<Self>, random: u64) -> Option<Lease> {
        let instance = super::instance::pick(&self.instances.load(), random).cloned()?;
        if random.is_multiple_of(8) {
            std::thread::sleep(Duration::from_millis(1));
        }
        instance.lease_blindly();
        Some(Lease::new(Arc::clone(self), instance, self.gate.lease_blindly()))
    }

    /// Joins the line. A version that is asleep is woken, by the first who waits.
    pub fn wait(self: &Arc<Self>) -> Result<Waiting, AcquireError> {
        let (sender, called) = oneshot::channel();
        let joined = self.line.join(&self.gate, self.max_waiting.load(Ordering::Relaxed), sender);
        let (ticket, seen) = match joined {
            Joined::Waits(ticket, seen) => (ticket, seen),
            Joined::Full(_) => {
                // Where nobody may wait, whoever comes again is served.
                self.knock();
                return Err(AcquireError::Full { retry_in: self.typical_start() });
            }
            Joined::Shut(_, state) => return Err(self.refusal(state)),
        };
        match seen.state() {
            GateState::Asleep if self.gate.wake() => Parking::wake(self),
            // What was given back before the line was seen to be there is nobody else's to hand out.
            GateState::Open => self.hand_out(),
            // It may not have to be stopped after all.
            GateState::Closing => self.call_keeper(),
            _ => {}
        }
        Ok(Waiting { unit: Arc::clone(self), ticket, called, since: Instant::now(), over: false })
    }

    /// Wakes the version if it is asleep, without waiting for it.
    pub fn knock(self: &Arc<Self>) {
        if self.gate.wake() {
            Parking::wake(self);
        }
    }

    /// What a start takes, by those that there were.
    #[must_use]
    pub fn typical_start(&self) -> Duration {
        self.with_wakes(|wakes| wakes.typical()).unwrap_or(UNKNOWN_START)
    }

    /// Reads or notes wakes.
    pub fn with_wakes<T>(&self, read: impl FnOnce(&mut Wakes) -> T) -> T {
        read(&mut self.wakes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One more request came that does not count as traffic.
    pub fn ignored(&self) {
        self.ignored.fetch_add(1, Ordering::Relaxed);
    }

    /// A sign of life of something quiet.
    pub fn touch(&self) {
        self.touches.fetch_add(1, Ordering::Relaxed);
    }

    /// Changes with every sign of life.
    pub(super) fn activity(&self) -> u64 {
        let requests = self.counters.total().requests();
        let touches = self.touches.load(Ordering::Relaxed);
        requests.wrapping_sub(self.ignored.load(Ordering::Relaxed)).wrapping_add(touches)
    }

    /// Takes over what of a version can change while it runs.
    pub(super) fn tune(&self, version: &Version) {
        self.most.store(version.max_concurrency.unwrap_or(u32::MAX), Ordering::Relaxed);
        self.max_waiting.store(version.queue.max_waiting, Ordering::Relaxed);
    }

    pub(super) fn gate(&self) -> &GateWord {
        &self.gate
    }

    pub(super) fn quieter(&self) {
        self.quiet.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn louder(&self) {
        self.quiet.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn release(self: &Arc<Self>) {
        self.gate.release(self);
    }

    /// The same for whoever looks after the line.
    pub(super) fn give_back(self: &Arc<Self>) {
        self.gate.give_back(self);
    }

    pub(super) fn answered(self: &Arc<Self>, round: Round) {
        if self.line.answered(round) {
            self.hand_out();
        }
    }

    pub(super) fn given_back(&self, round: Round) {
        self.line.given_back(round);
    }

    pub(super) fn call_keeper(&self) {
        self.bell.notify_one();
    }

    /// Waits until the keeper is called; a call that came before counts.
    pub(super) async fn called(&self) {
        self.bell.notified().await;
    }

    pub(super) fn announce(&self, state: State) {
        self.state.send_replace(state);
    }

    pub(super) fn set_wanted(&self, wanted: u32) {
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    pub(super) fn set_in_line(&self, count: u32) {
        self.in_line.store(count, Ordering::Relaxed);
    }

    pub(super) fn set_idle_since(&self, since: Option<Instant>) {
        *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    pub(super) fn ran(&self) {
        self.has_run.store(true, Ordering::Relaxed);
    }

    pub(super) fn set_instances(&self, instances: Vec<Arc<Instance>>) {
        self.instances.store(Arc::new(instances));
    }

    /// At most so many leases may be without an answer while somebody waits, or more if that is so already and it may only `widen`;
    /// one more with each answer.
    pub(super) fn set_window(&self, window: u64, widen: bool) {
        self.line.set_window(window, widen);
    }

    /// Hands leases to those who wait, as far as there are any.
    pub(super) fn hand_out(self: &Arc<Self>) {
        let mut again = true;
        while again {
            again = false;
            for (waiter, lease) in self.line.hand_out(&self.gate, |round| self.lease_from_line(round)) {
                if let Err(Ok(unwanted)) = waiter.send(Ok(lease)) {
                    // It has left in this moment; the next is handed what it gives back.
                    unwanted.hand_on();
                    again = true;
                }
            }
        }
    }

    /// Tells all who wait that it is of no use. The gate has to be one that nobody waits at.
    pub(super) fn send_away(&self, why: &AcquireError) {
        for waiter in self.line.clear(&self.gate) {
            // One that has left in this moment need not be told.
            drop(waiter.send(Err(why.clone())));
        }
    }

    fn lease_from_line(self: &Arc<Self>, round: Round) -> Option<Lease> {
        let epoch = self.gate.lease_from_line()?;
        let lease = self.on_an_instance(self.next_pick(), epoch);
        if lease.is_none() {
            self.gate.give_back(self);
        }
        lease.map(|lease| lease.with_round(round))
    }

    /// 64 bits for the next pick, no two alike (SplitMix64's finalizer over a counter): the same in every run, so that a run of the
    /// simulation can be repeated.
    fn next_pick(&self) -> u64 {
        let count = self.picks.fetch_add(1, Ordering::Relaxed).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (count ^ (count >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn on_an_instance(self: &Arc<Self>, random: u64, epoch: u32) -> Option<Lease> {
        let most = self.most.load(Ordering::Relaxed);
        let instance = pick_and_lease(&self.instances.load(), random, most).cloned()?;
        Some(Lease::new(Arc::clone(self), instance, epoch))
    }

    /// For one who may not wait at a gate in this state.
    fn refusal(&self, shut: GateState) -> AcquireError {
        if shut != GateState::Failed {
            return AcquireError::Gone;
        }
        // It may be tried again by now: then a start is all that is in the way.
        let retry_in = match &*self.state.borrow() {
            State::Failed { retry_in, .. } => *retry_in,
            _ => Duration::ZERO,
        };
        AcquireError::Failed { retry_in: retry_in.saturating_add(self.typical_start()) }
    }
}

impl Parking for Arc<Unit> {
    fn wake(&self) {
        self.with_wakes(Wakes::begin);
        self.call_keeper();
    }

    fn drained(&self) {
        self.call_keeper();
    }

    fn freed(&self) {
        self.hand_out();
    }
}

/// A request in line. Dropped, it gives up its place at once, or the lease that it was just given.
#[derive(Debug)]
pub struct Waiting {
    unit: Arc<Unit>,
    ticket: Ticket,
    called: oneshot::Receiver<Called>,
    since: Instant,
    over: bool,
}

impl Waiting {
    /// What it has waited for until now.
    #[must_use]
    pub fn receipt(&self) -> Receipt {
        let (since, now) = (self.since, Instant::now());
        self.unit.with_wakes(|wakes| wakes.receipt(since, now))
    }
}

impl Future for Waiting {
    type Output = Called;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Called> {
        let called = std::task::ready!(Pin::new(&mut self.called).poll(cx));
        self.over = true;
        // The other end goes away unused only together with the unit.
        Poll::Ready(called.unwrap_or(Err(AcquireError::Gone)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.over {
            self.unit.line.leave(&self.unit.gate, self.ticket);
        }
    }
}
