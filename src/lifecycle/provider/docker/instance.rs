//! The running side of a version that is a container, or several of Compose's.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::{
    KillContainerOptionsBuilder, RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use futures_util::future::{join_all, select_all};
use tokio::select;
use tokio::sync::{Mutex, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::address::Way;
use super::container::{Container, State};
use super::create;
use super::engine_error::EngineError;
use super::error::DockerError;
use super::inventory::Condition;
use super::shared::{Claim, Shared};
use super::start::{Brought, Origin};
use super::usage::Meter;
use super::{address, listening, logs};
use crate::lifecycle::probe::{self, NotReady};
use crate::lifecycle::provider::End;
use crate::lifecycle::provider::error::StartError;
use crate::lifecycle::provider::exit::ExitReport;
use crate::model::name::VersionName;
use crate::model::version::{ContainerSpec, Endpoint, Readiness, ScaleOn, Start, Stop, StopSignal, Version};

/// How long the engine may take to stop a container, beyond its grace.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a look that failed is left alone.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long the engine's word on whether a container is paused is not believed where it is not what it should be. It hears of its own
/// pauses a second time, from containerd, after a while; where pauses follow each other closely it is wrong until it has heard of the last.
const HEARSAY: Duration = Duration::from_millis(250);
/// What a shell says of a program that SIGKILL ended.
const KILLED: i32 = 137;

/// The containers of one instance: one of our own, or those that somebody else has made. Dropped, they are left as they are.
pub struct DockerInstance {
    shared: Rc<Shared>,
    version: VersionName,
    parts: Vec<Part>,
    /// Somebody else's.
    is_found: bool,
    started: Instant,
    is_paused: bool,
    exit: Option<ExitReport>,
    /// Where the version is scaled by its processor time. A lock of its own, since an instance is looked at meanwhile.
    meter: Option<Rc<Mutex<Meter>>>,
}

/// One container.
pub(super) struct Part {
    claim: Claim,
    name: Box<str>,
    origin: Origin,
    port: u16,
    /// `None` where it had ended before it could be asked for.
    way: Option<Way>,
    /// Which run of it is this instance's; empty where the engine has not said yet.
    run: Box<str>,
    /// When the run before it ended; empty where that is not known.
    after: Box<str>,
    happened: watch::Receiver<()>,
    /// Something may have happened to it that has not been looked at.
    is_stale: bool,
    memory: Option<u64>,
    cpu: Option<u32>,
    /// The engine's word on its start, where that was not waited for.
    launch: Option<oneshot::Receiver<Brought>>,
}

impl Part {
    pub(super) fn new(shared: &Shared, claim: Claim, origin: Origin, container: &Container, port: u16) -> Self {
        Self {
            happened: shared.watch(&claim.id),
            claim,
            name: container.name.clone(),
            origin,
            port,
            way: None,
            run: container.state.run.clone(),
            after: after(container),
            is_stale: !container.state.running,
            memory: container.memory(),
            cpu: container.cpu(),
            launch: None,
        }
    }

    /// One whose program runs, as can be seen, while the engine is still busy with its start.
    pub(super) fn early(
        shared: &Shared,
        claim: Claim,
        name: &str,
        way: Way,
        spec: &ContainerSpec,
        launch: oneshot::Receiver<Brought>,
    ) -> Self {
        Self {
            happened: shared.watch(&claim.id),
            claim,
            name: name.into(),
            origin: Origin::Started,
            port: way.address.port(),
            way: Some(way),
            run: Box::default(),
            after: Box::default(),
            is_stale: false,
            memory: spec.memory,
            cpu: spec.cpu,
            launch: Some(launch),
        }
    }

    /// Waits for the engine's word on its start. Can be cancelled and called again.
    async fn settle(&mut self, shared: &Shared) -> Result<(), DockerError> {
        let Some(launch) = &mut self.launch else { return Ok(()) };
        // Without a word, the runtime is ending.
        let Ok(brought) = launch.await else { return std::future::pending().await };
        self.launch = None;
        let brought = match brought {
            // It may well run, and is looked at once the engine is back.
            Err(DockerError::Engine(error)) if error.is_away() => {
                self.is_stale = true;
                return Ok(());
            }
            brought => brought?,
        };
        let Some((_, container)) = brought else { return Err(DockerError::Removed { name: self.name.to_string() }) };
        self.run = container.state.run.clone();
        self.after = after(&container);
        self.is_stale = !container.state.running;
        self.way = address::way(&container, self.port, &shared.settings).ok().or(self.way);
        Ok(())
    }

    /// The same with the way to it, or why there is none. One that has ended already needs none.
    pub(super) fn with_way(self, container: &Container, shared: &Shared) -> (Self, Option<DockerError>) {
        if !container.state.running {
            return (self, None);
        }
        match address::way(container, self.port, &shared.settings) {
            Ok(way) => {
                debug!(container = %self.name, origin = ?self.origin, address = %way.address, "a container runs");
                (Self { way: Some(way), ..self }, None)
            }
            Err(why) => {
                let name = self.name.to_string();
                (self, Some(DockerError::NoAddress { name, why }))
            }
        }
    }
}

impl DockerInstance {
    pub(super) fn new(shared: &Rc<Shared>, version: &Version, parts: Vec<Part>, is_found: bool) -> Self {
        let meter = (version.scale.on == ScaleOn::Cpu).then(|| {
            let limits = parts.iter().map(|part| (part.claim.id.clone(), part.cpu));
            Rc::new(Mutex::new(Meter::new(&shared.engine, limits)))
        });
        Self {
            shared: Rc::clone(shared),
            version: version.name.clone(),
            meter,
            parts,
            is_found,
            started: Instant::now(),
            is_paused: false,
            exit: None,
        }
    }

    /// Where it listens.
    pub fn endpoints(&self) -> Box<[Endpoint]> {
        let ways = self.parts.iter().filter_map(|part| part.way);
        ways.map(|Way { address, .. }| Endpoint { host: address.ip().to_string().into(), port: address.port() })
            .collect()
    }

    /// The names of its containers.
    pub fn containers(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|part| &*part.name)
    }

    /// Waits until it is ready. Can be cancelled and called again.
    ///
    /// # Errors
    /// When it exits, or `start.timeout` from its start has passed; then it says on which ports it listens instead, if it does. The
    /// container is left as it is.
    pub async fn ready(&mut self, start: &Start) -> Result<(), StartError> {
        let deadline = self.started + start.timeout;
        for index in 0..self.parts.len() {
            loop {
                let Some(way) = self.parts[index].way else {
                    return Err(StartError::Exited { report: self.ended().await });
                };
                let probed = select! {
                    biased;
                    news = self.news() => {
                        news?;
                        // Once more with what is known now; a probe costs nothing.
                        continue;
                    }
                    probed = reach(way, &start.ready, deadline) => probed,
                };
                match probed {
                    Ok(probes) => debug!(version = %self.version, address = %way.address, probes, "ready"),
                    Err(last) => return Err(self.not_ready(index, start, last).await),
                }
                break;
            }
        }
        Ok(())
    }

    /// Waits for the engine's word on its start, once, then for its end, which is an error. Can be cancelled and called again.
    async fn news(&mut self) -> Result<(), StartError> {
        if self.parts.iter().any(|part| part.launch.is_some()) {
            return Ok(self.settle().await?);
        }
        Err(StartError::Exited { report: self.ended().await })
    }

    /// Waits for the engine's word on the start of all of them. Can be cancelled and called again.
    async fn settle(&mut self) -> Result<(), DockerError> {
        for part in &mut self.parts {
            part.settle(&self.shared).await?;
        }
        Ok(())
    }

    /// Why a container is not ready in time.
    async fn not_ready(&self, index: usize, start: &Start, last: NotReady) -> StartError {
        let part = &self.parts[index];
        let (engine, after, wanted) = (&self.shared.engine, start.timeout, part.port);
        let lines = logs::last_lines(engine, &part.claim.id, &part.after).await;
        let Ok(container) = Container::look(engine, &part.claim.id).await else {
            return StartError::Timeout { after, last, lines };
        };
        let name = part.name.to_string();
        match listening::addresses(&container) {
            Some(found) => {
                let answers = found.iter().any(|address| address.port() == wanted && !address.ip().is_loopback());
                if !found.is_empty() && !answers {
                    return DockerError::OtherPort { name, after, wanted, found }.into();
                }
            }
            None => {
                // What the image exposes is only a hint; the version's own port is added to it at the making.
                let image = container.exposed().into_iter().find(|port| *port != wanted);
                if let Some(exposed) =
                    image.filter(|_| matches!(last, NotReady::Connect { .. } | NotReady::Closed { .. }))
                {
                    return DockerError::ExposedPort { name, after, wanted, exposed, lines }.into();
                }
            }
        }
        StartError::Timeout { after, last, lines }
    }

    /// Waits until one of its containers has ended, or runs anew. Meanwhile tells `used` the processor time that they have used, in per cent
    /// of what they may have, where the version is scaled by that. What was paused by hand meanwhile is unpaused. While the engine is
    /// away, it counts as running. Can be cancelled and called again.
    pub async fn exited(&mut self, used: &dyn Fn(f64)) -> ExitReport {
        let Some(meter) = self.meter.clone() else { return self.ended().await };
        let mut meter = meter.lock().await;
        loop {
            select! {
                biased;
                report = self.ended() => return report,
                percent = meter.next() => used(percent),
            }
        }
    }

    async fn ended(&mut self) -> ExitReport {
        loop {
            if let Some(report) = &self.exit {
                return report.clone();
            }
            if let Err(error) = self.settle().await {
                let cause = Some(error.to_string());
                let report =
                    ExitReport { code: None, killed: false, stop_failed: false, cause, last_lines: Vec::new() };
                return self.exit.insert(report).clone();
            }
            if let Some(index) = self.parts.iter().position(|part| part.is_stale) {
                match self.look(index).await {
                    Ok(()) => {}
                    Err(error) => {
                        debug!(version = %self.version, container = %self.parts[index].name, %error, "cannot look at it");
                        sleep(LOOK_AGAIN).await;
                    }
                }
                continue;
            }
            let index = {
                let happenings = self.parts.iter_mut().map(|part| Box::pin(part.happened.changed()));
                let (happened, index, _) = select_all(happenings).await;
                if happened.is_err() {
                    // Nobody tells any more: tidegate is ending.
                    return std::future::pending().await;
                }
                index
            };
            self.parts[index].is_stale = true;
        }
    }

    /// Looks at what has become of a container.
    async fn look(&mut self, index: usize) -> Result<(), EngineError> {
        let engine = self.shared.engine.clone();
        let part = &mut self.parts[index];
        let state = match Container::look(&engine, &part.claim.id).await {
            Ok(container) => container.state,
            Err(error) if error.is_not_found() => {
                let report = ExitReport {
                    code: None,
                    killed: false,
                    stop_failed: false,
                    cause: Some(format!("its container `{}` was removed", part.name)),
                    last_lines: Vec::new(),
                };
                self.exit = Some(report);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if state.running && (state.run == part.run || part.run.is_empty()) {
            part.run = state.run;
            if state.paused && !self.is_paused {
                warn!(version = %self.version, container = %part.name, "it was paused by hand while it is needed; unpausing it");
                let client = engine.client().await?;
                client.unpause_container(&part.claim.id).await.map_err(|error| engine.error(error))?;
            }
            self.parts[index].is_stale = false;
            return Ok(());
        }
        let last_lines = logs::last_lines(&engine, &part.claim.id, &part.after).await;
        let report = self.report(index, &state, last_lines);
        self.exit = Some(report);
        Ok(())
    }

    /// The cause of an end for want of memory. The engine may miss it where it happens in the first moments.
    fn out_of_memory(&self, part: &Part, state: &State) -> Option<String> {
        let deaths = self.shared.deaths.borrow();
        let death = deaths.get(&part.claim.id).copied().unwrap_or_default();
        let is_certain = state.out_of_memory || death.out_of_memory;
        let is_likely = state.code == Some(KILLED) && part.memory.is_some() && !death.killed;
        let how = if is_certain { "out of memory" } else { "most likely out of memory" };
        let limit = match part.memory {
            Some(bytes) => format!(
                "it may have {}; give it more with `resources: {{memory: ...}}`, in a version of the next number",
                Bytes(bytes)
            ),
            None => "the host has no more".to_owned(),
        };
        (is_certain || is_likely).then(|| format!("{how}: {limit}"))
    }

    fn report(&self, index: usize, state: &State, last_lines: Vec<String>) -> ExitReport {
        let part = &self.parts[index];
        let cause = if state.running {
            Some(format!("its container `{}` was restarted by hand", part.name))
        } else {
            self.out_of_memory(part, state)
        };
        let code = state.code.filter(|_| !state.running);
        ExitReport { code, killed: false, stop_failed: false, cause, last_lines }
    }

    /// Freezes it, but for a container that another version needs as well.
    ///
    /// # Errors
    /// When the engine does not.
    pub async fn pause(&mut self) -> Result<(), StartError> {
        self.settle().await?;
        self.is_paused = true;
        let client = self.client().await?;
        for part in self.parts.iter().filter(|part| !self.shared.is_shared(&part.claim.id)) {
            let deadline = Instant::now() + HEARSAY;
            loop {
                match client.pause_container(&part.claim.id).await.map_err(|error| self.shared.engine.error(error)) {
                    Ok(()) => break,
                    // So it may be, or the engine has just heard of an earlier pause.
                    Err(EngineError::Refused { message, .. }) if message.contains("already paused") => {
                        if Instant::now() >= deadline {
                            break;
                        }
                        sleep(HEARSAY / 10).await;
                    }
                    Err(error) => return Err(DockerError::from(error).into()),
                }
            }
        }
        Ok(())
    }

    /// Thaws it, and returns when it takes requests again.
    ///
    /// # Errors
    /// When the engine does not, or it does not answer within `start.timeout`.
    pub async fn resume(&mut self, start: &Start) -> Result<(), StartError> {
        let began = Instant::now();
        let client = self.client().await?;
        for part in &self.parts {
            let deadline = Instant::now() + HEARSAY;
            loop {
                match client.unpause_container(&part.claim.id).await.map_err(|error| self.shared.engine.error(error)) {
                    Ok(()) => break,
                    // Somebody else has thawed it, or the engine has just heard of an earlier end of a pause, and it is frozen.
                    Err(EngineError::Refused { message, .. }) if message.contains("not paused") => {
                        if Instant::now() >= deadline {
                            break;
                        }
                        sleep(HEARSAY / 10).await;
                    }
                    Err(error) => return Err(DockerError::from(error).into()),
                }
            }
        }
        self.is_paused = false;
        let deadline = began + start.timeout;
        for index in 0..self.parts.len() {
            let Some(way) = self.parts[index].way else { continue };
            // The engine's word is the proof that it is thawed, and it was ready before: that it accepts tells that it still is.
            let probed = select! {
                biased;
                report = self.ended() => return Err(StartError::Exited { report }),
                probed = probe::until_ready(way.address, &start.ready, deadline) => probed,
            };
            if let Err(last) = probed {
                return Err(self.not_ready(index, start, last).await);
            }
        }
        Ok(())
    }

    /// Ends it: unpaused where it was paused, then its signal, then KILL after the grace; the log says when that was needed. A container
    /// of somebody else's is never removed, and one of ours with [`End::Removal`] alone.
    pub async fn stop(mut self, stop: &Stop, end: End) -> ExitReport {
        if let Err(error) = self.settle().await {
            debug!(version = %self.version, %error, "it is stopped before it was started");
        }
        if end == End::Handover || (self.is_found && end == End::Removal) {
            if self.is_paused && end == End::Removal {
                self.leave_unpaused().await;
            }
            let cause = Some("its container goes on".to_owned());
            return ExitReport { code: None, killed: false, stop_failed: false, cause, last_lines: Vec::new() };
        }
        let parts = std::mem::take(&mut self.parts);
        let reports = join_all(parts.iter().map(|part| self.stop_part(part, stop, end))).await;
        let worst = reports.into_iter().max_by_key(|report| (report.stop_failed, report.killed));
        worst.unwrap_or_else(|| ExitReport {
            code: None,
            killed: false,
            stop_failed: false,
            cause: Some("it had no container".to_owned()),
            last_lines: Vec::new(),
        })
    }

    /// Stops what a start that nobody waits for any more has brought up.
    pub(super) async fn undo(mut self, stop: &Stop) {
        self.parts.retain(|part| part.origin != Origin::Adopted);
        if self.parts.is_empty() {
            return;
        }
        info!(version = %self.version, "nobody waits for its start any more; stopping it");
        self.stop(stop, End::Rest).await;
    }

    async fn client(&self) -> Result<Docker, StartError> {
        self.shared.engine.client().await.map_err(|error| DockerError::from(error).into())
    }

    async fn leave_unpaused(&self) {
        let Ok(client) = self.shared.engine.client().await else { return };
        for part in &self.parts {
            if let Err(error) = client.unpause_container(&part.claim.id).await {
                warn!(version = %self.version, container = %part.name, %error, "cannot unpause what tidegate has paused");
            }
        }
    }

    async fn stop_part(&self, part: &Part, stop: &Stop, end: End) -> ExitReport {
        if self.is_found && self.shared.is_shared(&part.claim.id) {
            let cause = Some(format!("its container `{}` goes on for another version", part.name));
            return ExitReport { code: None, killed: false, stop_failed: false, cause, last_lines: Vec::new() };
        }
        let began = Instant::now();
        match self.end_part(part, stop, end).await {
            Ok(state) => {
                let mut report = self.report_stopped(part, state);
                let is_kill = stop.signal == StopSignal::Kill || stop.grace.is_zero();
                report.killed = !is_kill && report.code == Some(KILLED) && began.elapsed() >= stop.grace;
                if report.killed {
                    let signal = create::signal(stop.signal)
                        .unwrap_or("its stop signal (SIGTERM, unless its image names another)");
                    warn!(
                        version = %self.version,
                        container = %part.name,
                        "did not stop within {:?} of {signal} and was killed; the first process of a container ignores signals that it does not handle: have it handle this one, `exec` it where a shell starts it, or make `stop: {{grace: ...}}` shorter",
                        stop.grace
                    );
                }
                report
            }
            Err(error) => {
                warn!(version = %self.version, container = %part.name, "cannot be stopped, so it may still run: {error}");
                ExitReport {
                    code: None,
                    killed: false,
                    stop_failed: true,
                    cause: Some(error.to_string()),
                    last_lines: Vec::new(),
                }
            }
        }
    }

    fn report_stopped(&self, part: &Part, state: Option<State>) -> ExitReport {
        let cause = state.is_none().then(|| format!("its container `{}` was removed", part.name));
        let code = state.and_then(|state| state.code);
        ExitReport { code, killed: false, stop_failed: false, cause, last_lines: Vec::new() }
    }

    /// Stops a container, and removes it where that is asked; what it was at its end, or nothing where somebody has removed it.
    async fn end_part(&self, part: &Part, stop: &Stop, end: End) -> Result<Option<State>, EngineError> {
        let (engine, id) = (&self.shared.engine, &*part.claim.id);
        let client = engine.client().await?.with_timeout(stop.grace.saturating_add(STOP_TIMEOUT));
        let gone = |result: Result<(), bollard::errors::Error>| match result.map_err(|error| engine.error(error)) {
            Ok(()) => Ok(false),
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) => Err(error),
        };
        if self.is_paused
            && let Err(error) = client.unpause_container(id).await
        {
            debug!(container = %part.name, %error, "cannot be unpaused");
        }
        let mut is_gone = gone(self.tell_to_stop(&client, part, stop).await)?;
        let mut state = None;
        if !is_gone {
            match Container::look(engine, id).await {
                Ok(container) => state = Some(container.state),
                Err(error) if error.is_not_found() => is_gone = true,
                Err(error) => return Err(error),
            }
        }
        self.shared.inventory.borrow_mut().set(id, Condition::Still);
        if end == End::Removal && !is_gone {
            let options = RemoveContainerOptionsBuilder::new().v(true).force(true).build();
            is_gone = gone(client.remove_container(id, Some(options)).await)?;
            info!(version = %self.version, container = %part.name, "its container is removed");
        }
        if end == End::Removal || is_gone {
            self.shared.inventory.borrow_mut().remove(id);
        }
        Ok(state)
    }

    async fn tell_to_stop(&self, client: &Docker, part: &Part, stop: &Stop) -> Result<(), bollard::errors::Error> {
        let id = &*part.claim.id;
        let seconds = |time: Duration| {
            let whole = time.as_secs() + u64::from(time.subsec_nanos() > 0);
            i32::try_from(whole).unwrap_or(i32::MAX)
        };
        let mut options = StopContainerOptionsBuilder::new().t(seconds(stop.grace));
        if let Some(signal) = create::signal(stop.signal) {
            let version = client.client_version();
            // The engine counts in whole seconds.
            let is_whole = stop.grace.subsec_nanos() == 0;
            if is_whole && (version.major_version, version.minor_version) >= (1, 42) {
                options = options.signal(signal);
            } else if !self.is_found {
                // Older engines know the container's own signal alone, which is that of its making.
                let kill = KillContainerOptionsBuilder::new().signal(signal).build();
                client.kill_container(id, Some(kill)).await?;
                self.wait_for_end(part, stop.grace).await;
                options = options.t(0);
            }
        }
        client.stop_container(id, Some(options.build())).await
    }

    /// Waits until a container has ended, at most so long.
    async fn wait_for_end(&self, part: &Part, limit: Duration) {
        let mut happened = part.happened.clone();
        let ended = async {
            loop {
                match Container::look(&self.shared.engine, &part.claim.id).await {
                    Ok(container) if container.state.running => {}
                    _ => return,
                }
                if happened.changed().await.is_err() {
                    return;
                }
            }
        };
        // Who has not ended by then is killed.
        drop(timeout(limit, ended).await);
    }
}

/// When the run before this one ended. Where this one has ended already, that is not known any more.
fn after(container: &Container) -> Box<str> {
    if container.state.running { container.state.ended.clone() } else { Box::default() }
}

/// Probes until the way leads to who answers.
async fn reach(way: Way, ready: &Readiness, deadline: Instant) -> Result<u32, NotReady> {
    if way.is_published {
        probe::until_ready_behind_proxy(way.address, ready, deadline).await
    } else {
        probe::until_ready(way.address, ready, deadline).await
    }
}

/// Bytes as they are written in the config.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const KIB: u64 = 1024;
        for (unit, size) in [("GiB", KIB * KIB * KIB), ("MiB", KIB * KIB), ("KiB", KIB)] {
            if self.0 >= size && self.0.is_multiple_of(size) {
                return write!(f, "{}{unit}", self.0 / size);
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

impl fmt::Debug for DockerInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerInstance")
            .field("version", &self.version)
            .field("containers", &self.containers().collect::<Vec<_>>())
            .field("is_paused", &self.is_paused)
            .field("exit", &self.exit)
            .finish_non_exhaustive()
    }
}
