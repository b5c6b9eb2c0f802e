//! What is known of a run from outside: what runs, who has a lease, what happened; and what must never be.

use std::cell::{Cell, RefCell, RefMut};
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate::lifecycle::instance::Instance;
use tidegate::lifecycle::unit::Unit;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::generation::Generation;
use super::plan::Mood;
use super::trace::Event;
use super::tunables::Tunables;

/// How much of the trace a message shows.
const SHOWN: usize = 60;

/// One running copy, from the call of `start` until nothing of it is left.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) generation: usize,
    pub(super) phase: Phase,
    /// Told to end by itself.
    pub(super) killed: Rc<Notify>,
    /// Told when it has ended, however.
    pub(super) died: Rc<Notify>,
    /// As the clients saw it.
    instance: Option<Arc<Instance>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Ready,
    /// Frozen, or about to be, or about to go on.
    Paused,
    Stopping,
    Over,
}

#[derive(Debug)]
pub(super) struct World {
    seed: u64,
    began: Instant,
    inner: RefCell<Inner>,
    pub(super) broken: Notify,
    /// Starts and stops since the load settled.
    pub(super) changes: Cell<Option<u32>>,
}

#[derive(Debug, Default)]
struct Inner {
    trace: Vec<(Duration, Event)>,
    violation: Option<String>,
    mood: Option<Mood>,
    copies: Vec<Copy>,
    generations: Vec<Generation>,
}

/// A task that was woken by what the keeper did in this millisecond may see it as late as this.
pub(super) const GRAIN: Duration = Duration::from_millis(1);

impl World {
    pub(super) fn new(seed: u64) -> Rc<Self> {
        Rc::new(Self {
            seed,
            began: Instant::now(),
            inner: RefCell::default(),
            broken: Notify::new(),
            changes: Cell::new(None),
        })
    }

    fn inner(&self) -> RefMut<'_, Inner> {
        self.inner.borrow_mut()
    }

    pub(super) fn generation(&self, generation: usize) -> RefMut<'_, Generation> {
        RefMut::map(self.inner(), |inner| &mut inner.generations[generation])
    }

    pub(super) fn note(&self, event: Event) {
        let at = self.began.elapsed();
        self.inner().trace.push((at, event));
    }

    /// Takes note of what must not be; the first counts.
    pub(super) fn violated(&self, what: &str) {
        let mut inner = self.inner();
        if inner.violation.is_some() {
            return;
        }
        let mut text = format!("after {:?}: {what}", self.began.elapsed());
        if let Some(generation) = inner.generations.last() {
            write!(text, "\n  {:?}\n  {:?}", generation.tunables, generation.unit.state()).expect("a String");
            write!(text, "\n  {} in flight, {} wait", generation.unit.in_flight(), generation.unit.waiting())
                .expect("a String");
        }
        for (at, event) in &inner.trace[inner.trace.len().saturating_sub(SHOWN)..] {
            write!(text, "\n  {:>9.3} {event:?}", at.as_secs_f64()).expect("a String");
        }
        inner.violation = Some(text);
        self.broken.notify_one();
    }

    pub(super) fn holds(&self, invariant: bool, what: impl FnOnce() -> String) {
        if !invariant {
            self.violated(&what());
        }
    }

    pub(super) fn outcome(&self) -> Result<Vec<(Duration, Event)>, String> {
        let mut inner = self.inner();
        match inner.violation.take() {
            Some(violation) => Err(format!("seed {}, {violation}", self.seed)),
            None => Ok(std::mem::take(&mut inner.trace)),
        }
    }

    pub(super) fn mood(&self) -> Mood {
        self.inner().mood.unwrap_or(Mood::Well)
    }

    pub(super) fn set_mood(&self, mood: Mood) {
        self.note(Event::Mood(mood));
        self.inner().mood = Some(mood);
    }

    pub(super) fn begin(&self, unit: Arc<Unit>, program: usize, tunables: &Tunables) -> usize {
        let mut inner = self.inner();
        inner.generations.push(Generation::new(unit, program, tunables));
        let generation = inner.generations.len() - 1;
        drop(inner);
        self.note(Event::Begin(generation));
        generation
    }

    pub(super) fn next_generation(&self) -> usize {
        self.inner().generations.len()
    }

    pub(super) fn edit(&self, generation: usize, tunables: &Tunables) {
        self.note(Event::Edit);
        let mut generation = self.generation(generation);
        generation.before = std::mem::replace(&mut generation.tunables, tunables.clone());
        let now = Instant::now();
        (generation.edited, generation.disturbed, generation.happened) = (now, now, now);
    }

    /// Something is done to it from outside.
    pub(super) fn disturb(&self, generation: usize) {
        let (mut generation, now) = (self.generation(generation), Instant::now());
        (generation.disturbed, generation.happened) = (now, now);
    }

    // --- what runs

    /// A copy is being started. There may be at most so many.
    pub(super) fn start(&self, generation: usize, most: u32) -> usize {
        let mut inner = self.inner();
        let number = inner.copies.len();
        let died = Rc::new(Notify::new());
        inner.copies.push(Copy { generation, phase: Phase::Starting, killed: Rc::default(), died, instance: None });
        drop(inner);
        self.note(Event::Start(number));
        self.count_change();
        self.generation(generation).happened = Instant::now();
        let running = self.running(generation);
        self.holds(running <= most as usize, || format!("{running} run, and at most {most} may"));
        self.holds(!self.is_held_up(generation), || "it is started while the same thing is being stopped".to_owned());
        let ended = self.generation(generation).leaving;
        self.holds(ended.is_none_or(|(at, _)| at.elapsed() <= GRAIN), || "what was let go is started".to_owned());
        number
    }

    pub(super) fn phase(&self, number: usize) -> Phase {
        self.inner().copies[number].phase
    }

    pub(super) fn set_phase(&self, number: usize, phase: Phase) {
        let mut inner = self.inner();
        let copy = &mut inner.copies[number];
        copy.phase = phase;
        if phase == Phase::Over {
            copy.died.notify_waiters();
        }
        let generation = copy.generation;
        let now = Instant::now();
        inner.generations[generation].happened = now;
        for later in &mut inner.generations[generation + 1..] {
            // It may have been waited for.
            (later.happened, later.disturbed) = (now, now);
        }
    }

    /// Whether something runs of an earlier generation of the same program.
    pub(super) fn is_held_up(&self, generation: usize) -> bool {
        let inner = self.inner();
        let program = |generation: usize| inner.generations[generation].program;
        inner.copies.iter().any(|copy| {
            copy.phase != Phase::Over && copy.generation < generation && program(copy.generation) == program(generation)
        })
    }

    /// What tells it to end by itself.
    pub(super) fn killed(&self, number: usize) -> Rc<Notify> {
        Rc::clone(&self.inner().copies[number].killed)
    }

    /// One of those that are ready is to end by itself.
    pub(super) fn kill(&self, which: u64) {
        let inner = self.inner();
        let ready: Vec<&Copy> =
            inner.copies.iter().filter(|copy| matches!(copy.phase, Phase::Ready | Phase::Paused)).collect();
        if let Some(copy) = ready.get((which % ready.len().max(1) as u64) as usize) {
            copy.killed.notify_one();
        }
    }

    /// It did not come up, or has ended by itself.
    pub(super) fn failed(&self, number: usize) {
        let mut inner = self.inner();
        let (copy, now) = (&inner.copies[number], Instant::now());
        let (generation, was_ready) = (copy.generation, copy.phase == Phase::Ready);
        let generation = &mut inner.generations[generation];
        generation.failures.0 += 1;
        generation.failures.1 += u32::from(was_ready);
        (generation.disturbed, generation.happened, generation.failed) = (now, now, Some(now));
    }

    pub(super) fn stop(&self, number: usize) {
        self.note(Event::Stop(number));
        self.count_change();
        self.has_no_leases(number, "stopped");
        self.set_phase(number, Phase::Stopping);
    }

    pub(super) fn pause(&self, number: usize) {
        self.note(Event::Pause(number));
        self.has_no_leases(number, "paused");
        self.set_phase(number, Phase::Paused);
    }

    fn has_no_leases(&self, number: usize, what: &str) {
        let (generation, leases) = {
            let inner = self.inner();
            let copy = &inner.copies[number];
            (copy.generation, copy.instance.as_ref().map_or(0, |instance| instance.leases()))
        };
        let leaving = self.generation(generation).leaving;
        let cut_short = leaving.is_some_and(|(at, time)| at.elapsed() >= time);
        self.holds(leases == 0 || cut_short, || format!("copy {number} is {what} with {leases} leases out"));
    }

    /// What is left of a generation is removed.
    pub(super) fn discard(&self, generation: usize) {
        self.note(Event::Discard);
        let running = self.running(generation);
        self.holds(running == 0, || format!("{running} run of what is removed"));
        let leaves = self.generation(generation).leaving.is_some();
        self.holds(leaves, || "what is not let go is removed".to_owned());
    }

    fn count_change(&self) {
        self.changes.set(self.changes.get().map(|changes| changes + 1));
    }

    /// How many run of a generation, in any phase.
    pub(super) fn running(&self, generation: usize) -> usize {
        let inner = self.inner();
        inner.copies.iter().filter(|copy| copy.generation == generation && copy.phase != Phase::Over).count()
    }

    /// How many of them are not paused.
    pub(super) fn awake(&self, generation: usize) -> usize {
        let inner = self.inner();
        let awake = |copy: &&Copy| !matches!(copy.phase, Phase::Paused | Phase::Over);
        inner.copies.iter().filter(|copy| copy.generation == generation).filter(awake).count()
    }

    /// Starts until now.
    pub(super) fn starts(&self) -> usize {
        self.inner().copies.len()
    }

    pub(super) fn running_at_all(&self) -> usize {
        self.inner().copies.iter().filter(|copy| copy.phase != Phase::Over).count()
    }

    pub(super) fn any_is(&self, generation: usize, phase: Phase) -> bool {
        self.inner().copies.iter().any(|copy| copy.generation == generation && copy.phase == phase)
    }

    pub(super) fn units(&self) -> Vec<Arc<Unit>> {
        self.inner().generations.iter().map(|generation| Arc::clone(&generation.unit)).collect()
    }

    // --- who comes

    /// A client begins to wait, or has a lease that counts.
    pub(super) fn busy(&self, generation: usize) {
        let mut generation = self.generation(generation);
        generation.stir();
        generation.busy += 1;
    }

    /// It has left, or has no lease any more.
    pub(super) fn idle(&self, generation: usize) {
        let mut generation = self.generation(generation);
        generation.stir();
        generation.busy -= 1;
    }

    /// A sign of life.
    pub(super) fn stir(&self, generation: usize) {
        self.generation(generation).stir();
    }

    /// A client has got a lease on a copy.
    pub(super) fn leased(&self, generation: usize, number: usize, instance: &Arc<Instance>) -> Rc<Notify> {
        self.note(Event::Leased(number));
        let mut inner = self.inner();
        let now = Instant::now();
        let copy = &mut inner.copies[number];
        let other = copy.instance.replace(Arc::clone(instance)).filter(|other| !Arc::ptr_eq(other, instance));
        let (phase, whose, died) = (copy.phase, copy.generation, Rc::clone(&copy.died));
        let leases = instance.leases() + other.map_or(0, |other| other.leases());
        let known = &inner.generations[generation];
        let limit = |tunables: &Tunables| tunables.max_concurrency.unwrap_or(u32::MAX);
        let mut most = limit(&known.tunables);
        if known.edited + GRAIN >= now {
            most = most.max(limit(&known.before));
        }
        let cut_short = known.leaving.is_some_and(|(at, time)| now >= at + time);
        drop(inner);
        self.holds(whose == generation, || format!("a lease on copy {number} of another generation"));
        let may_serve = matches!(phase, Phase::Ready | Phase::Over) || cut_short;
        self.holds(may_serve, || format!("a lease on copy {number}, which is {phase:?}"));
        self.holds(leases <= most, || format!("{leases} leases on copy {number}, and {most} are allowed"));
        died
    }
}
