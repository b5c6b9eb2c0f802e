//! One run: the plan is carried out on the real units, and everything that must hold is looked at.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate::lifecycle::turns::Turns;
use tidegate::lifecycle::unit::{State, Unit};
use tidegate::lifecycle::units::{Units, Wish};
use tokio::runtime::Builder;
use tokio::task::{JoinHandle, LocalSet, spawn_local, yield_now};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::client::Client;
use super::plan::{Action, DRAIN, Mood, Plan, Story, Visit};
use super::provider::Simulated;
use super::random::Random;
use super::trace::Event;
use super::tunables::Tunables;
use super::world::World;

/// How often everything is looked at.
const LOOK: Duration = Duration::from_millis(2_003);

/// So many turns are enough for all tasks that can run at a moment to have done so.
const TURNS: usize = 40;

/// Starts and stops in three minutes of a load that does not change, after two minutes of it. One start and one stop are allowed for
/// a load that lies where the number of instances changes.
const FLAPS: u32 = 2;

pub(super) type Trace = Vec<(Duration, Event)>;

/// Carries out what a seed says.
///
/// # Errors
/// What did not hold, and what happened before.
pub(super) fn run(seed: u64, story: Story) -> Result<Trace, String> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let world = World::new(seed);
        let plan = Plan::draw(seed, story);
        let whole = Run::new(Rc::clone(&world), seed, story, plan.first.clone()).carry_out(plan);
        tokio::select! {
            biased;
            () = world.broken.notified() => {}
            () = whole => {}
        }
        world.outcome()
    })
}

struct Run {
    world: Rc<World>,
    story: Story,
    units: Units<Simulated>,
    tunables: Tunables,
    /// Which program it is.
    program: usize,
    /// The unit that is there now.
    current: Option<(usize, Arc<Unit>)>,
    clients: Vec<JoinHandle<()>>,
    watchers: Vec<JoinHandle<()>>,
    starts_while_broken: Option<(Instant, usize)>,
}

impl Run {
    fn new(world: Rc<World>, seed: u64, story: Story, tunables: Tunables) -> Self {
        let provider = Simulated { world: Rc::clone(&world), random: Random::new(seed).fork(2) };
        Self {
            world,
            story,
            units: Units::new(provider, Turns::new(3), 1),
            tunables,
            program: 0,
            current: None,
            clients: Vec::new(),
            watchers: Vec::new(),
            starts_while_broken: None,
        }
    }

    async fn carry_out(mut self, plan: Plan) {
        let began = Instant::now();
        self.bring();
        let mut look = began + LOOK;
        for (at, action) in plan.actions {
            while look < began + at {
                sleep_until(look).await;
                self.look().await;
                look += LOOK;
            }
            sleep_until(began + at).await;
            self.act(action);
        }
        if let Some(changes) = self.world.changes.get() {
            self.world.holds(changes <= FLAPS, || format!("{changes} starts and stops at a load that does not change"));
        }
        self.end(plan.orderly_end).await;
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Visit(visit) => self.visit(visit),
            Action::Edit(tunables) => {
                self.tunables = *tunables;
                self.order();
            }
            Action::Mood(mood) => self.mood(mood),
            Action::Kill(which) => self.world.kill(which),
            Action::Sleep => self.sleep(),
            Action::Knock => {
                if let Some((generation, unit)) = &self.current {
                    self.world.note(Event::Knock);
                    self.world.disturb(*generation);
                    unit.knock();
                }
            }
            Action::Adopt(count) => {
                if let Some((generation, unit)) = &self.current {
                    self.world.note(Event::Adopt(count));
                    self.world.disturb(*generation);
                    self.units.adopt(unit.name().as_str(), count);
                }
            }
            Action::Remove(time) => self.let_go(time),
            Action::Return => self.bring(),
            Action::Replace => {
                if let Some((generation, _)) = self.current.take() {
                    self.leaves(generation, Duration::ZERO);
                    self.program += 1;
                    self.bring();
                }
            }
            Action::Settled => {
                self.world.note(Event::Settled);
                self.world.changes.set(Some(0));
            }
        }
    }

    fn visit(&mut self, visit: Visit) {
        let Some((generation, unit)) = self.current.clone() else { return };
        let (world, story) = (Rc::clone(&self.world), self.story);
        self.clients.push(spawn_local(Client { world, generation, unit, visit, story }.come()));
    }

    /// Every so often the number of starts is compared with what the backoff allows.
    fn mood(&mut self, mood: Mood) {
        self.world.set_mood(mood);
        let Some((generation, _)) = self.current else { return };
        self.world.disturb(generation);
        if self.story != Story::Failing {
            return;
        }
        if let Some((since, before)) = self.starts_while_broken.take() {
            let (starts, tries) = (self.world.starts() - before, tries(since.elapsed()));
            let most = tries * self.tunables.max.max(1) as usize;
            self.world.holds(starts <= most, || format!("{starts} starts while nothing comes up, and {most} are due"));
        }
        if mood == Mood::Broken {
            self.starts_while_broken = Some((Instant::now(), self.world.starts()));
        }
    }

    fn sleep(&self) {
        let Some((generation, unit)) = self.current.clone() else { return };
        self.world.note(Event::Sleep);
        self.world.disturb(generation);
        self.world.generation(generation).told += 1;
        let answer = self.units.sleep(unit.name().as_str());
        let world = Rc::clone(&self.world);
        spawn_local(async move {
            let longest = DRAIN + Duration::from_secs(6);
            let answer = timeout(longest, answer).await;
            world.holds(answer.is_ok(), || format!("an order to sleep is not answered after {longest:?}"));
            world.note(Event::SleepAnswered(answer.is_ok_and(|answer| answer.is_ok())));
            world.disturb(generation);
            world.generation(generation).told -= 1;
        });
    }

    fn let_go(&mut self, time: Duration) {
        if let Some((generation, _)) = self.current.take() {
            self.leaves(generation, time);
            self.units.keep_only(&HashSet::new(), time);
        }
    }

    fn leaves(&self, generation: usize, time: Duration) {
        self.world.note(Event::Remove(generation, time));
        self.world.generation(generation).leaving = Some((Instant::now(), time));
    }

    /// The version is there, as it should be.
    fn bring(&mut self) {
        if self.current.is_some() {
            return;
        }
        let generation = self.world.next_generation();
        let unit = self.of(generation);
        assert_eq!(self.world.begin(Arc::clone(&unit), self.program, &self.tunables), generation);
        let (world, mut states) = (Rc::clone(&self.world), unit.states());
        self.watchers.push(spawn_local(async move {
            while states.changed().await.is_ok() {
                let state = states.borrow_and_update().clone();
                world.state(generation, &state);
            }
        }));
        self.current = Some((generation, unit));
    }

    fn order(&mut self) {
        if let Some((generation, _)) = self.current {
            self.world.edit(generation, &self.tunables);
            self.of(generation);
        }
    }

    fn of(&mut self, generation: usize) -> Arc<Unit> {
        let version = self.tunables.version(self.program, generation);
        let has_traffic = self.tunables.has_traffic;
        self.units.of(Wish { version: &version, has_traffic, try_out: generation > 0, drain: DRAIN })
    }

    async fn look(&self) {
        for generation in 0..self.world.next_generation() {
            let mut wrong = self.world.wrong_now(generation);
            for _ in 0..TURNS {
                if wrong.is_none() {
                    break;
                }
                yield_now().await;
                wrong = self.world.wrong_now(generation);
            }
            if let Some(what) = wrong {
                return self.world.violated(what);
            }
            self.world.check(generation);
        }
    }

    /// All is stopped; with `orderly`, after those who are there have been served and some time has passed.
    async fn end(self, orderly: bool) {
        if orderly {
            self.world.set_mood(Mood::Well);
            if let Some((generation, _)) = self.current {
                self.world.disturb(generation);
            }
            let time =
                Duration::from_secs(85).max(self.tunables.stop_after.unwrap_or_default() + Duration::from_secs(25));
            let until = Instant::now() + time;
            while Instant::now() < until {
                sleep(LOOK).await;
                self.look().await;
            }
        }
        let Self { world, units, clients, watchers, .. } = self;
        for generation in 0..world.next_generation() {
            world.generation(generation).leaving.get_or_insert((Instant::now(), Duration::ZERO));
        }
        let longest = Duration::from_secs(50);
        let stopped = timeout(longest, units.stop()).await;
        world.note(Event::Stopped);
        world.holds(stopped.is_ok(), || format!("it has not stopped after {longest:?}"));
        let running = world.running_at_all();
        world.holds(running == 0, || format!("{running} run after the end"));
        for client in clients {
            let ended = timeout(Duration::from_secs(100), client).await;
            world.holds(matches!(ended, Ok(Ok(()))), || format!("a client did not end well: {ended:?}"));
        }
        for unit in world.units() {
            let state = unit.state();
            world.holds(state == State::Stopped, || format!("a unit's task ended as {state:?}"));
            let left = (unit.waiting(), unit.in_flight(), unit.quiet());
            world.holds(left == (0, 0, 0), || format!("waiting, in flight and quiet at the end: {left:?}"));
        }
        watchers.iter().for_each(JoinHandle::abort);
    }
}

/// How often a version that always fails may be tried in so much time: at once if the first was ready, half a second after
/// the next failure, then twice as much each time, at most every 30 s.
fn tries(time: Duration) -> usize {
    let (mut pause, mut sum, mut tries) = (Duration::from_millis(500), Duration::ZERO, 3);
    while sum < time {
        sum += pause;
        pause = (pause * 2).min(Duration::from_secs(30));
        tries += 1;
    }
    tries
}
