//! A provider that starts nothing, takes its time, and fails in every way.

use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tidegate::lifecycle::probe::NotReady;
use tidegate::lifecycle::provider::error::StartError;
use tidegate::lifecycle::provider::exit::ExitReport;
use tidegate::lifecycle::provider::{End, Provider, Running};
use tidegate::model::version::{Endpoint, Start, Stop, Version};
use tokio::time::{Instant, sleep, sleep_until};

use super::plan::Mood;
use super::random::Random;
use super::trace::Event;
use super::world::{Phase, World};

#[derive(Debug, Clone)]
pub(super) struct Simulated {
    pub(super) world: Rc<World>,
    pub(super) random: Random,
}

/// What becomes of one start.
#[derive(Debug, Clone, Copy)]
enum Fate {
    DoesNotStart,
    ExitsBeforeReady,
    IsNeverReady,
    Runs(Option<Duration>),
}

impl Fate {
    fn draw(random: &mut Random, mood: Mood) -> Self {
        let fails = match mood {
            Mood::Well => 0,
            Mood::Flaky => 30,
            Mood::Broken => 100,
        };
        if random.chance(fails) {
            match random.between(0, 9) {
                0..4 => Self::DoesNotStart,
                4..7 => Self::ExitsBeforeReady,
                7 => Self::IsNeverReady,
                // Too soon to count as having run well.
                _ => Self::Runs(Some(random.millis(0, 9_900))),
            }
        } else if mood == Mood::Flaky && random.chance(60) {
            Self::Runs(Some(if random.chance(50) { random.millis(0, 20_000) } else { random.millis(0, 120_000) }))
        } else {
            Self::Runs(None)
        }
    }
}

/// One copy; dropped, nothing of it is left.
#[derive(Debug)]
struct Body {
    world: Rc<World>,
    number: usize,
    /// Nothing can come of it, from the start until it is stopped.
    is_doomed: bool,
}

impl Drop for Body {
    fn drop(&mut self) {
        if self.world.phase(self.number) == Phase::Starting {
            self.world.note(Event::StartCancelled(self.number));
        }
        self.world.set_phase(self.number, Phase::Over);
        if self.is_doomed {
            self.world.failed(self.number);
        }
    }
}

#[derive(Debug)]
pub(super) struct Copy {
    body: Body,
    fate: Fate,
    started: Instant,
    ready_at: Instant,
    stop_takes: Option<Duration>,
    random: Random,
}

impl Provider for Simulated {
    type Running = Copy;

    async fn start(&self, version: &Version) -> Result<Copy, StartError> {
        let generation = version.remark.as_ref().and_then(|text| text.parse().ok()).expect("a generation");
        let most = version.replicas.max.max(version.replicas.min).max(1);
        let started = Instant::now();
        let number = self.world.start(generation, most);
        let mut random = self.random.fork(number as u64);
        let fate = Fate::draw(&mut random, self.world.mood());
        let body = Body { world: Rc::clone(&self.world), number, is_doomed: matches!(fate, Fate::IsNeverReady) };
        if body.is_doomed {
            self.world.failed(number);
        }
        let quick = random.chance(30);
        sleep(if quick { random.millis(0, 5) } else { random.millis(0, 3_000) }).await;
        if matches!(fate, Fate::DoesNotStart) {
            self.world.note(Event::StartFailed(number));
            self.world.failed(number);
            return Err(StartError::NotFound { program: "sim".to_owned() });
        }
        self.world.note(Event::Started(number));
        let ready_at = Instant::now() + if quick { random.millis(0, 5) } else { random.millis(0, 5_000) };
        // `None` for the whole grace.
        let stop_takes = (!random.chance(15)).then(|| random.millis(0, 3_000));
        Ok(Copy { body, fate, started, ready_at, stop_takes, random })
    }

    async fn discard(&self, version: &Version) {
        let generation = version.remark.as_ref().and_then(|text| text.parse().ok()).expect("a generation");
        self.world.discard(generation);
    }
}

impl Copy {
    fn exit(&self) -> ExitReport {
        let (world, number) = (&self.body.world, self.body.number);
        if world.phase(number) != Phase::Over {
            world.note(Event::Exited(number));
            world.failed(number);
            world.set_phase(number, Phase::Over);
        }
        ExitReport { code: Some(1), killed: false, stop_failed: false, cause: None, last_lines: Vec::new() }
    }
}

impl Running for Copy {
    fn endpoints(&self) -> Box<[Endpoint]> {
        let port = u16::try_from(self.body.number + 1).expect("a run has few starts");
        Box::new([Endpoint { host: "sim".into(), port }])
    }

    async fn ready(&mut self, start: &Start) -> Result<(), StartError> {
        let (world, number) = (&self.body.world, self.body.number);
        let deadline = self.started + start.timeout;
        if self.ready_at > deadline || matches!(self.fate, Fate::IsNeverReady) {
            sleep_until(deadline).await;
            world.note(Event::NotReady(number));
            world.failed(number);
            let last = NotReady::ConnectTimeout(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
            return Err(StartError::Timeout { after: start.timeout, last, lines: Vec::new() });
        }
        sleep_until(self.ready_at).await;
        if matches!(self.fate, Fate::ExitsBeforeReady) {
            return Err(StartError::Exited { report: self.exit() });
        }
        world.note(Event::Ready(number));
        world.set_phase(number, Phase::Ready);
        Ok(())
    }

    async fn exited(&mut self, _used: &dyn Fn(f64)) -> ExitReport {
        let killed = self.body.world.killed(self.body.number);
        let end = async {
            match self.fate {
                Fate::Runs(Some(after)) => sleep_until(self.ready_at + after).await,
                _ => pending().await,
            }
        };
        tokio::select! { biased; () = killed.notified() => {}, () = end => {} }
        self.exit()
    }

    async fn pause(&mut self) -> Result<(), StartError> {
        let (world, number) = (&self.body.world, self.body.number);
        world.pause(number);
        sleep(self.random.millis(0, 100)).await;
        if world.mood() != Mood::Well && self.random.chance(10) {
            world.note(Event::NotPaused(number));
            return Err(StartError::CannotPause);
        }
        world.note(Event::Paused(number));
        Ok(())
    }

    async fn resume(&mut self, _start: &Start) -> Result<(), StartError> {
        let (world, number) = (&self.body.world, self.body.number);
        world.note(Event::Resume(number));
        sleep(self.random.millis(0, 100)).await;
        if world.mood() != Mood::Well && self.random.chance(10) {
            world.note(Event::NotResumed(number));
            return Err(StartError::CannotPause);
        }
        world.note(Event::Ready(number));
        world.set_phase(number, Phase::Ready);
        Ok(())
    }

    async fn stop(self, stop: &Stop, _end: End) -> ExitReport {
        let world = &self.body.world;
        if world.phase(self.body.number) == Phase::Over {
            return self.exit();
        }
        world.stop(self.body.number);
        sleep(self.stop_takes.map_or(stop.grace, |takes| takes.min(stop.grace))).await;
        world.note(Event::Over(self.body.number));
        ExitReport {
            code: Some(143),
            killed: self.stop_takes.is_none(),
            stop_failed: false,
            cause: None,
            last_lines: Vec::new(),
        }
    }
}
