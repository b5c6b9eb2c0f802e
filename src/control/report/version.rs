//! One version: its state, why it is in it, and what its last wakes were made of.

use std::time::Duration;

use crate::control::status::{AwakeStatus, InstanceStatus, ReplicasStatus, VersionStatus, WakeStatus};
use crate::lifecycle::unit::{State, Unit};
use crate::lifecycle::wakes::Wake;
use crate::model::service::Service;
use crate::model::version::Version;
use crate::telemetry::counters::Class;
use crate::telemetry::metrics::{ScalingReading, VersionReading};
use crate::telemetry::timestamp::Timestamp;

/// What is seen of a unit at one moment, beside what its version's file says.
#[derive(Debug)]
struct Seen<'v> {
    version: &'v Version,
    state: State,
    /// Instances that there are at least now.
    min: u32,
    instances: u32,
    wanted: Option<u32>,
    in_flight: u64,
    /// Those of them that do not keep it awake.
    quiet: u64,
    waiting: u32,
    /// How long nothing has kept it awake, as far as the keeper has looked.
    idle_for: Option<Duration>,
    last_end: Option<String>,
    paused: bool,
    in_line: u32,
}

/// For `status`.
pub(super) fn status(service: &Service, index: usize, unit: &Unit) -> VersionStatus {
    let (version, totals) = (&service.versions[index], unit.counters().total());
    let seen = Seen::of(version, service.has_traffic(index), unit);
    let (wakes, elapsed, typical) =
        unit.with_wakes(|wakes| (wakes.past().iter().map(wake).collect(), wakes.elapsed(), wakes.typical()));
    VersionStatus {
        name: version.name.to_string(),
        weight: service.weights.get(index).percent(),
        state: seen.state.as_str().to_owned(),
        why: seen.why(),
        backoff_ms: if let State::Failed { retry_in, .. } = &seen.state { Some(millis(*retry_in)) } else { None },
        awake: seen.awake(),
        replicas: seen.replicas(),
        instances: instances(unit),
        in_flight: seen.in_flight,
        waiting: seen.waiting.into(),
        requests: totals.requests(),
        errors_5xx: totals.class(Class::ServerError),
        starting_ms: elapsed.filter(|_| seen.state == State::Starting).map(millis),
        typical_start_ms: typical.map(millis),
        wakes,
        remark: version.remark.as_deref().map(str::to_owned),
    }
}

/// For the metrics.
pub(super) fn reading(service: &Service, index: usize, unit: &Unit) -> VersionReading {
    let version = &service.versions[index];
    let seen = Seen::of(version, service.has_traffic(index), unit);
    VersionReading {
        name: version.name.to_string(),
        weight: service.weights.get(index).percent(),
        totals: unit.counters().total(),
        state: seen.state.as_str(),
        in_flight: seen.in_flight,
        waiting: seen.waiting.into(),
        held: unit.held().total(),
        instances: instances_by_state(unit),
        scaling: version.backend.is_ours().then(|| ScalingReading {
            min: seen.min.into(),
            max: seen.max().into(),
            wanted: seen.wanted.unwrap_or(seen.instances).into(),
            wakes: unit.with_wakes(|wakes| *wakes.totals()),
        }),
    }
}

impl<'v> Seen<'v> {
    fn of(version: &'v Version, has_traffic: bool, unit: &Unit) -> Self {
        Self {
            version,
            state: unit.state(),
            min: version.min_running(has_traffic),
            instances: u32::try_from(unit.instances().len()).unwrap_or(u32::MAX),
            wanted: unit.wanted(),
            in_flight: unit.in_flight(),
            quiet: unit.quiet(),
            waiting: unit.waiting(),
            idle_for: unit.idle_since().map(|since| since.elapsed()),
            last_end: unit.last_end(),
            paused: unit.is_paused(),
            in_line: unit.in_line(),
        }
    }

    fn max(&self) -> u32 {
        self.version.replicas.max.max(self.min)
    }

    fn is_at_max(&self) -> bool {
        let more = self.waiting > 0 || self.wanted.is_some();
        more && self.state == State::Normal && self.version.backend.is_ours() && self.instances >= self.max()
    }

    /// For versions that tidegate starts and stops.
    fn replicas(&self) -> Option<ReplicasStatus> {
        let (min, max) = (self.min, self.max());
        let replicas = ReplicasStatus { min, max, wanted: self.wanted, at_max: self.is_at_max() };
        self.version.backend.is_ours().then_some(replicas)
    }

    fn why(&self) -> Option<String> {
        let waiting = self.waiting;
        match &self.state {
            State::Failed { why, .. } => Some(why.to_string()),
            State::Asleep if self.paused => Some("paused".to_owned()),
            State::Starting if self.in_line > 0 => Some("waits for its turn to start (max_starts)".to_owned()),
            State::Asleep | State::Starting if self.last_end.is_some() => {
                self.last_end.as_ref().map(|end| format!("the last run ended: {end}"))
            }
            State::Starting if waiting == 1 => Some("1 request waits for it".to_owned()),
            State::Starting if waiting > 1 => Some(format!("{waiting} requests wait for it")),
            State::Draining => Some(self.under_way()),
            State::Normal if self.is_at_max() => {
                let wanted = self.wanted.map(|wanted| format!(", {wanted} wanted")).unwrap_or_default();
                Some(format!("at max{wanted}, {waiting} waiting"))
            }
            State::Normal if waiting > 0 => Some(format!("at capacity, {waiting} waiting")),
            _ => None,
        }
    }

    /// What a drain waits for.
    fn under_way(&self) -> String {
        let tunnels = self.quiet.min(self.in_flight);
        let counted = |count: u64, one: &str, more: &str| match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            _ => Some(format!("{count} {more}")),
        };
        let requests = counted(self.in_flight - tunnels, "request in flight", "requests in flight");
        let parts: Vec<String> = [requests, counted(tunnels, "tunnel", "tunnels")].into_iter().flatten().collect();
        if parts.is_empty() { "nothing in flight any more".to_owned() } else { parts.join(", ") }
    }

    /// For those of them that are up.
    fn awake(&self) -> Option<AwakeStatus> {
        if self.state != State::Normal || !self.version.backend.is_ours() {
            return None;
        }
        let tunnels = self.quiet.min(self.in_flight);
        let requests = self.in_flight - tunnels + u64::from(self.waiting);
        let sleeps_after = self.version.sleeps_after();
        let because = match sleeps_after {
            _ if self.version.keep => "keep",
            _ if self.min > 0 => "min",
            None => "never",
            _ if requests > 0 => "requests",
            _ if tunnels > 0 => "tunnels",
            _ => "idle",
        };
        // The keeper looks now and then: until it does, what has just become idle has all its time.
        let left = sleeps_after.map(|limit| limit.saturating_sub(self.idle_for.unwrap_or_default()));
        let sleeps_in = left.filter(|_| matches!(because, "tunnels" | "idle")).map(rounded_up);
        Some(AwakeStatus { because: because.to_owned(), requests, tunnels, sleeps_in })
    }
}

fn wake(wake: &Wake) -> WakeStatus {
    WakeStatus {
        asked: Timestamp(wake.at).to_string(),
        start_ms: millis(wake.start()),
        probe_ms: wake.probe().map(millis),
        waited: wake.waiting.into(),
        failed: wake.failed.as_deref().map(str::to_owned),
    }
}

fn instances(unit: &Unit) -> Vec<InstanceStatus> {
    unit.instances()
        .iter()
        .map(|instance| InstanceStatus {
            address: instance.endpoint().to_string(),
            state: if instance.is_out() { "out" } else { "normal" }.to_owned(),
            in_flight: u64::from(instance.leases()),
        })
        .collect()
}

fn instances_by_state(unit: &Unit) -> Vec<(&'static str, u64)> {
    let instances = unit.instances();
    let out = instances.iter().filter(|instance| instance.is_out()).count() as u64;
    vec![("normal", instances.len() as u64 - out), ("out", out)]
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn rounded_up(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::name::{ServiceName, VersionName};
    use crate::model::version::{Backend, Endpoint, Preview, ProcessSpec, Queue, Replicas, Scale, Sleep, Start, Stop};

    fn version(min: u32, max: u32) -> Version {
        let command = Box::new(["./shop".to_owned()]);
        let process = ProcessSpec { command, env: Box::default(), cwd: None, user: None };
        Version {
            name: VersionName::numbered(&ServiceName::new("shop").expect("a name"), 1),
            backend: Arc::new(Backend::Process(process)),
            transport: crate::model::transport::Transport::default(),
            start: Start::default(),
            stop: Stop::default(),
            replicas: Replicas { min, max },
            scale: Scale::default(),
            max_concurrency: None,
            sleep: Sleep { stop_after: Some(Duration::from_secs(60)), ..Sleep::default() },
            keep: false,
            queue: Queue::default(),
            preview: Preview::default(),
            remark: None,
        }
    }

    /// Up, with one instance, and idle for 17.5 s.
    fn up(version: &Version) -> Seen<'_> {
        Seen {
            version,
            state: State::Normal,
            min: version.min_running(true),
            instances: 1,
            wanted: None,
            in_flight: 0,
            quiet: 0,
            waiting: 0,
            idle_for: Some(Duration::from_millis(17_500)),
            paused: false,
            in_line: 0,
            last_end: None,
        }
    }

    fn because(seen: &Seen<'_>) -> (String, Option<u64>) {
        let awake = seen.awake().expect("it is up");
        (awake.because, awake.sleeps_in)
    }

    #[test]
    fn it_is_awake_for_the_strongest_reason_that_there_is() {
        let mut version = version(0, 5);
        assert_eq!(because(&up(&version)), ("idle".to_owned(), Some(43)));
        assert_eq!(because(&Seen { idle_for: None, ..up(&version) }), ("idle".to_owned(), Some(60)));
        let tunnels = Seen { in_flight: 2, quiet: 2, ..up(&version) };
        assert_eq!(because(&tunnels), ("tunnels".to_owned(), Some(43)));
        let busy = Seen { in_flight: 5, quiet: 2, waiting: 1, ..up(&version) };
        assert_eq!(because(&busy), ("requests".to_owned(), None));
        let awake = busy.awake().expect("it is up");
        assert_eq!((awake.requests, awake.tunnels), (4, 2));
        version.sleep.stop_after = None;
        assert_eq!(because(&Seen { in_flight: 5, ..up(&version) }), ("never".to_owned(), None));
        version.replicas.min = 2;
        assert_eq!(because(&up(&version)), ("min".to_owned(), None));
        version.keep = true;
        assert_eq!(because(&up(&version)), ("keep".to_owned(), None));
        assert_eq!(Seen { state: State::Asleep, ..up(&version) }.awake(), None);
    }

    #[test]
    fn a_drain_says_what_it_waits_for() {
        let version = version(0, 1);
        let said = [(0, 0), (1, 0), (5, 2), (1, 1)].map(|(in_flight, quiet)| {
            Seen { state: State::Draining, in_flight, quiet, ..up(&version) }.why().expect("a reason")
        });
        let expected =
            ["nothing in flight any more", "1 request in flight", "3 requests in flight, 2 tunnels", "1 tunnel"];
        assert_eq!(said, expected);
    }

    #[test]
    fn what_others_start_has_no_replicas_and_does_not_sleep() {
        let endpoint = Endpoint { host: "10.0.0.5".into(), port: 80 };
        let version = Version { backend: Arc::new(Backend::Urls(Box::new([endpoint]))), ..version(0, 1) };
        let seen = Seen { waiting: 3, ..up(&version) };
        assert_eq!((seen.awake(), seen.replicas()), (None, None));
        assert_eq!(seen.why().as_deref(), Some("at capacity, 3 waiting"));
    }

    #[test]
    fn at_max_is_said_when_there_is_more_to_do() {
        let version = version(0, 2);
        assert_eq!(up(&version).why(), None);
        let room = Seen { waiting: 7, ..up(&version) };
        assert_eq!(room.why().as_deref(), Some("at capacity, 7 waiting"));
        let full = Seen { instances: 2, ..room };
        assert_eq!(full.why().as_deref(), Some("at max, 7 waiting"));
        let wanted = Seen { wanted: Some(5), waiting: 0, ..full };
        assert_eq!(wanted.why().as_deref(), Some("at max, 5 wanted, 0 waiting"));
        let replicas = ReplicasStatus { min: 0, max: 2, wanted: Some(5), at_max: true };
        assert_eq!(wanted.replicas(), Some(replicas));
        assert_eq!(Seen { wanted: None, ..wanted }.replicas().map(|replicas| replicas.at_max), Some(false));
    }

    #[test]
    fn a_minimum_holds_while_there_is_traffic_or_keep() {
        let mut version = version(2, 1);
        assert_eq!((version.min_running(true), version.min_running(false)), (2, 0));
        assert_eq!(up(&version).max(), 2, "never below the minimum");
        version.keep = true;
        version.replicas.min = 0;
        assert_eq!((version.min_running(true), version.min_running(false)), (1, 1));
    }
}
