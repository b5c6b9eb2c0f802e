//! A version: one deployment of a service.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::name::VersionName;

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
}

impl std::fmt::Debug for ProcessSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ProcessSpec")
            .field("command", &self.command)
            .field("env", &names)
            .field("cwd", &self.cwd)
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

/// One deployment of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// `<service>-<NNN>`.
    pub name: VersionName,
    /// What makes its instances.
    pub backend: Arc<Backend>,
    /// How they start.
    pub start: Start,
    /// How they stop.
    pub stop: Stop,
    /// Who sees the preview domain.
    pub preview: Preview,
    /// Free text, for people.
    pub remark: Option<Box<str>>,
}
