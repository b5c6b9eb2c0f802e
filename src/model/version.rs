//! A version: one deployment of a service.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::glob::Pattern;
use super::name::VersionName;
use super::transport::Transport;

/// Where an instance listens: a host (name or address) and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: Box<str>,
    /// 1 to 65535.
    pub port: u16,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A process that tidegate runs.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ProcessSpec {
    /// The program and its arguments; never empty.
    pub command: Box<[String]>,
    /// Added to tidegate's own environment, variables already filled in. Values are never shown.
    pub env: Box<[(String, String)]>,
    /// Working directory; tidegate's own where `None`.
    pub cwd: Option<PathBuf>,
    /// The user that it runs as, by name or number; tidegate's own where `None`.
    pub user: Option<Box<str>>,
}

/// Commands that start and stop what listens on known addresses.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HookSpec {
    /// Where it listens once it runs; never empty.
    pub urls: Box<[Endpoint]>,
    /// Starts it; exit code 0 says that it is on its way. Never empty.
    pub start: Box<[String]>,
    /// Stops it; it is gone when this has ended with exit code 0. Never empty.
    pub stop: Box<[String]>,
    /// Exit code 0 says that it runs, any other that it does not.
    pub status: Option<Box<[String]>>,
}

/// A container that tidegate creates from an image. All of it is what makes the version.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ContainerSpec {
    /// The image as written: `name`, `name:tag`, `name[:tag]@sha256:DIGEST`, or `sha256:ID`. The digest of an image that was built here
    /// is its ID.
    pub image: Box<str>,
    /// The port that it listens on. 80.
    pub port: u16,
    /// In place of the image's entry point; the image's own where `None`.
    pub entrypoint: Option<Box<[String]>>,
    /// In place of the image's command, the arguments of its entry point; the image's own where `None`.
    pub command: Option<Box<[String]>>,
    /// Added to the image's environment, variables already filled in, sorted by name. Values are never shown.
    pub env: Box<[(String, String)]>,
    /// What of the host it sees.
    pub volumes: Box<[Volume]>,
    /// The user that it runs as; the image's own where `None`.
    pub user: Option<Box<str>>,
    /// Processor time in thousandths of a core, 1 or more; no limit where `None`.
    pub cpu: Option<u32>,
    /// Memory in bytes, 6 MiB (the engine's least) or more; no limit where `None`.
    pub memory: Option<u64>,
}

/// A folder or named volume that a container sees.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Volume {
    /// What it sees.
    pub source: VolumeSource,
    /// Where it sees it: an absolute path.
    pub target: Box<str>,
    /// Whether it may not write there.
    pub read_only: bool,
}

/// What a container sees.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum VolumeSource {
    /// A file or folder of the engine's host, by its absolute path.
    Path(PathBuf),
    /// A volume that the engine keeps, by its name; made where there is none.
    Named(Box<str>),
}

/// A container that somebody else has made: started, stopped and paused, never created, changed or removed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FoundSpec {
    /// Which one.
    pub which: Found,
    /// The port that it listens on. 80.
    pub port: u16,
}

/// How a container of somebody else's is found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Found {
    /// By its name, or the beginning of its ID.
    Name(Box<str>),
    /// By Compose's labels; all containers of the service.
    Compose {
        /// `com.docker.compose.project`.
        project: Box<str>,
        /// `com.docker.compose.service`.
        service: Box<str>,
    },
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Compose { project, service } => write!(f, "{project}/{service}"),
        }
    }
}

impl std::fmt::Debug for ContainerSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ContainerSpec")
            .field("image", &self.image)
            .field("port", &self.port)
            .field("entrypoint", &self.entrypoint)
            .field("command", &self.command)
            .field("env", &names)
            .field("volumes", &self.volumes)
            .field("user", &self.user)
            .field("cpu", &self.cpu)
            .field("memory", &self.memory)
            .finish()
    }
}

impl std::fmt::Debug for ProcessSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ProcessSpec")
            .field("command", &self.command)
            .field("env", &names)
            .field("cwd", &self.cwd)
            .field("user", &self.user)
            .finish()
    }
}

/// What makes instances of a version. This is the version's identity: it never changes once the version has run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// Not ours to start: always awake.
    Urls(Box<[Endpoint]>),
    /// A process, told its port in `PORT`.
    Process(ProcessSpec),
    /// Started and stopped by commands.
    Hook(HookSpec),
    /// A container of our own.
    Container(Box<ContainerSpec>),
    /// A container of somebody else's.
    Found(FoundSpec),
}

impl Backend {
    /// Whether tidegate starts and stops it, so that it can sleep.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        !matches!(self, Self::Urls(_))
    }

    /// Whether it is a container, so that it can be paused.
    #[must_use]
    pub fn is_container(&self) -> bool {
        matches!(self, Self::Container(_) | Self::Found(_))
    }
}

/// When an instance that was started counts as ready.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Readiness {
    /// Its port accepts a connection.
    #[default]
    Port,
    /// A GET of this path answers 2xx or 3xx.
    Http(Box<str>),
}

/// How an instance is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// From the start to readiness. 30 s.
    pub timeout: Duration,
    /// What readiness is.
    pub ready: Readiness,
}

impl Default for Start {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), ready: Readiness::Port }
    }
}

/// A signal by which a process is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StopSignal {
    /// SIGTERM.
    #[default]
    Term,
    /// SIGINT.
    Int,
    /// SIGQUIT.
    Quit,
    /// SIGHUP.
    Hup,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
    /// SIGKILL: at once.
    Kill,
}

/// How an instance is stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// The signal it gets first.
    pub signal: StopSignal,
    /// How long it then has before SIGKILL. 10 s, as `docker stop`.
    pub grace: Duration,
}

impl Default for Stop {
    fn default() -> Self {
        Self { signal: StopSignal::default(), grace: Duration::from_secs(10) }
    }
}

/// Who reaches a version by its preview domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preview {
    /// Clients from `preview_from`; others get 404.
    #[default]
    Private,
    /// Everybody.
    Public,
    /// Nobody.
    Off,
}

/// How many instances a version has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replicas {
    /// At least so many while the version has weight, a rule points at it, or `keep` is set; 0 lets it sleep.
    pub min: u32,
    /// At most so many, whatever the load; at least 1.
    pub max: u32,
}

impl Default for Replicas {
    fn default() -> Self {
        Self { min: 0, max: 1 }
    }
}

/// What instances are made or removed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScaleOn {
    /// Requests at a time.
    #[default]
    Concurrency,
    /// Requests per second.
    Rps,
    /// Processor time of a container, in per cent of what it may have (`resources.cpu`, or one core).
    Cpu,
}

/// What a CPU target is when nothing is said, as Kubernetes' autoscaler has it by default.
const DEFAULT_CPU: u32 = 80;

/// Knative's `container-concurrency-target-default`.
const DEFAULT_CONCURRENCY: u32 = 100;

/// Knative's `requests-per-second-target-default`.
const DEFAULT_RPS: u32 = 200;

/// When instances are made or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// What is measured.
    pub on: ScaleOn,
    /// How much of it one instance should have; 1 or more. Where left out, `max_concurrency`, else 100, as Knative's
    /// `container-concurrency-target-default`; for requests per second 200, as Knative's `requests-per-second-target-default`; of
    /// processor time 80 per cent, as Kubernetes' autoscaler.
    pub target: Option<u32>,
}

impl Default for Scale {
    fn default() -> Self {
        Self { on: ScaleOn::Concurrency, target: None }
    }
}

/// How long a version without traffic stays awake when nothing else is said.
pub const DEFAULT_STOP_AFTER: Duration = Duration::from_secs(3600);

/// When a version sleeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sleep {
    /// Without traffic for this long, a container is paused; never where `None`. Shorter than `stop_after`.
    pub pause_after: Option<Duration>,
    /// Without traffic for this long, it is stopped; never where `None`. 1 h.
    pub stop_after: Option<Duration>,
    /// What is no traffic.
    pub ignore: Ignore,
}

impl Default for Sleep {
    fn default() -> Self {
        Self { pause_after: None, stop_after: Some(DEFAULT_STOP_AFTER), ignore: Ignore::default() }
    }
}

/// Requests that neither keep a version awake nor wake it, such as those of uptime checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignore {
    /// Patterns for the normalised path.
    pub paths: Box<[Pattern]>,
    /// Patterns for `User-Agent`.
    pub user_agents: Box<[Pattern]>,
    /// What they are answered while the version sleeps. 503.
    pub status: StatusCode,
}

impl Default for Ignore {
    fn default() -> Self {
        Self { paths: Box::default(), user_agents: Box::default(), status: StatusCode::SERVICE_UNAVAILABLE }
    }
}

impl Ignore {
    /// Whether a request with this normalised path and `User-Agent` is ignored.
    #[must_use]
    pub fn holds(&self, path: &str, user_agent: Option<&str>) -> bool {
        self.paths.iter().any(|pattern| pattern.matches(path))
            || user_agent.is_some_and(|agent| self.user_agents.iter().any(|pattern| pattern.matches(agent)))
    }

    /// Whether nothing is ignored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.user_agents.is_empty()
    }
}

/// Bounds of the line in which requests wait for a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// So many may wait at a time, 0 to 1,000,000. 20,000.
    pub max_waiting: u32,
    /// Bytes of a waiting request's body that are read ahead; the rest waits with the client. 1 MiB.
    pub max_body: u64,
}

impl Default for Queue {
    fn default() -> Self {
        Self { max_waiting: 20_000, max_body: 1024 * 1024 }
    }
}

/// One deployment of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// `<service>-<NNN>`.
    pub name: VersionName,
    /// What makes its instances.
    pub backend: Arc<Backend>,
    /// How they are spoken to.
    pub transport: Transport,
    /// How they start.
    pub start: Start,
    /// How they stop.
    pub stop: Stop,
    /// How many instances it has.
    pub replicas: Replicas,
    /// When there are more or fewer of them.
    pub scale: Scale,
    /// Requests at a time that one instance gets, 1 or more; the others wait. No limit where `None`.
    pub max_concurrency: Option<u32>,
    /// When it sleeps.
    pub sleep: Sleep,
    /// Never sleeps, and has its minimum of instances also without weight.
    pub keep: bool,
    /// Bounds of the line of requests that wait for it.
    pub queue: Queue,
    /// Who sees the preview domain.
    pub preview: Preview,
    /// Free text, for people.
    pub remark: Option<Box<str>>,
}

impl Version {
    /// How much of what is measured one instance should have. Of concurrency never more than `max_concurrency`, above which an
    /// instance would not be given it and no load would ever ask for another.
    #[must_use]
    pub fn scale_target(&self) -> u32 {
        match self.scale.on {
            ScaleOn::Rps => self.scale.target.unwrap_or(DEFAULT_RPS),
            ScaleOn::Cpu => self.scale.target.unwrap_or(DEFAULT_CPU),
            ScaleOn::Concurrency => {
                let most = self.max_concurrency.unwrap_or(u32::MAX);
                self.scale.target.or(self.max_concurrency).unwrap_or(DEFAULT_CONCURRENCY).min(most)
            }
        }
    }

    /// How long without traffic it stays awake before it is paused or else stopped; for ever where `None`.
    #[must_use]
    pub fn sleeps_after(&self) -> Option<Duration> {
        self.pauses_after().or(self.sleep.stop_after)
    }

    /// How long without traffic it stays awake before it is paused, if it is.
    #[must_use]
    pub fn pauses_after(&self) -> Option<Duration> {
        self.sleep.pause_after.filter(|_| self.backend.is_container())
    }

    /// How many instances there are at least, for a version that has weight or that a rule points at (`has_traffic`), or not.
    #[must_use]
    pub fn min_running(&self, has_traffic: bool) -> u32 {
        let min = self.replicas.min;
        match (self.keep, has_traffic) {
            (true, _) => min.max(1),
            (false, true) => min,
            (false, false) => 0,
        }
    }
}
