//! What can be set of a version, as a run has it.

use std::sync::Arc;
use std::time::Duration;

use tidegate::model::name::{ServiceName, VersionName};
use tidegate::model::version::{
    Backend, ContainerSpec, Preview, Queue, Replicas, Scale, ScaleOn, Sleep, Start, Stop, Version,
};

use super::plan::Story;
use super::random::Random;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tunables {
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) max_concurrency: Option<u32>,
    pub(super) on: ScaleOn,
    pub(super) target: Option<u32>,
    /// Before `stop_after`, if at all.
    pub(super) pause_after: Option<Duration>,
    pub(super) stop_after: Option<Duration>,
    pub(super) keep: bool,
    pub(super) has_traffic: bool,
    pub(super) max_waiting: u32,
    pub(super) start_timeout: Duration,
    pub(super) grace: Duration,
}

impl Tunables {
    pub(super) fn draw(random: &mut Random, story: Story) -> Self {
        let max = if random.chance(40) { 1 } else { random.count(2, 5) };
        let min = random.count(0, 3).min(max);
        let calm = matches!(story, Story::Calm | Story::Steady);
        let stop_after = if random.chance(12) {
            None
        } else if random.chance(50) {
            Some(random.millis(1_000, 10_000))
        } else {
            Some(random.millis(10_000, 60_000))
        };
        let pause_after = random.chance(40).then(|| match stop_after {
            Some(stop_after) => stop_after.mul_f64(random.between(5, 90) as f64 / 100.0),
            None => random.millis(500, 30_000),
        });
        let drawn = Self {
            min: if random.chance(55) { 0 } else { min },
            max,
            max_concurrency: random.chance(60).then(|| random.count(1, 10)),
            on: if random.chance(30) { ScaleOn::Rps } else { ScaleOn::Concurrency },
            target: random.chance(50).then(|| random.count(1, 10)),
            pause_after,
            stop_after,
            keep: random.chance(8),
            has_traffic: random.chance(85),
            max_waiting: if !calm && random.chance(15) { random.count(0, 8) } else { 20_000 },
            start_timeout: Duration::from_secs(30),
            grace: random.millis(500, 4_000),
        };
        match story {
            Story::Steady => Self {
                max: max.max(2),
                pause_after: None,
                stop_after: None,
                target: Some(random.count(1, 3)),
                max_concurrency: None,
                ..drawn
            },
            // So long that nobody sleeps between a start and its end, which would count as having run well.
            Story::Failing => Self { pause_after: None, stop_after: Some(Duration::from_secs(40)), ..drawn },
            Story::Calm | Story::Edited | Story::Mixed => drawn,
        }
    }

    pub(super) fn is_by_rate(&self) -> bool {
        self.on == ScaleOn::Rps
    }

    /// The minimum that holds.
    pub(super) fn least(&self) -> u32 {
        match (self.keep, self.has_traffic) {
            (true, _) => self.min.max(1),
            (false, true) => self.min,
            (false, false) => 0,
        }
    }

    /// When it is paused or else stopped, if it is.
    pub(super) fn sleeps_after(&self) -> Option<Duration> {
        self.pause_after.or(self.stop_after).filter(|_| self.least() == 0)
    }

    /// When it is stopped, if it is.
    pub(super) fn stops_after(&self) -> Option<Duration> {
        self.stop_after.filter(|_| self.least() == 0)
    }

    /// The version, of the given program. The remark tells the provider whose instance it starts.
    pub(super) fn version(&self, program: usize, generation: usize) -> Version {
        let service = ServiceName::new("sim").expect("valid");
        let spec = ContainerSpec {
            image: program.to_string().into(),
            port: 80,
            entrypoint: None,
            command: None,
            env: Box::default(),
            volumes: Box::default(),
            user: None,
            cpu: None,
            memory: None,
        };
        Version {
            name: VersionName::parse(&service, "sim-001").expect("valid"),
            backend: Arc::new(Backend::Container(Box::new(spec))),
            transport: tidegate::model::transport::Transport::default(),
            start: Start { timeout: self.start_timeout, ..Start::default() },
            stop: Stop { grace: self.grace, ..Stop::default() },
            replicas: Replicas { min: self.min, max: self.max },
            scale: Scale { on: self.on, target: self.target },
            max_concurrency: self.max_concurrency,
            sleep: Sleep { pause_after: self.pause_after, stop_after: self.stop_after, ..Sleep::default() },
            keep: self.keep,
            queue: Queue { max_waiting: self.max_waiting, ..Queue::default() },
            preview: Preview::default(),
            remark: Some(generation.to_string().into()),
        }
    }
}
