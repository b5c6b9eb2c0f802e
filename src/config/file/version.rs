//! A version, within a service's file.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Bytes, CommandFile, CountOrOff, QueueFile, ReplicasForm, ScaleFile, SleepFile, Time, Word};
use crate::config::spanned::{Entries, Spanned};

/// One deployment of a service: `image`, `command`, `container`, `compose`, or `urls` with or without `hook`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "Version", default)]
#[schemars(deny_unknown_fields)]
pub struct VersionFile {
    /// Addresses of what runs already, or is started by `hook`: `http://HOST:PORT` or `https://HOST:PORT`.
    pub urls: Option<Spanned<Vec<Spanned<String>>>>,
    /// What it speaks; `http1` when left out.
    pub protocol: Option<Spanned<ProtocolFile>>,
    /// How TLS is spoken to it, where `urls` says `https`, or to a container or process that speaks TLS.
    pub upstream_tls: Option<Spanned<UpstreamTlsFile>>,
    /// A container of tidegate's own, made from this image: `NAME:TAG`, or `NAME:TAG@sha256:DIGEST`, which never changes.
    pub image: Option<Spanned<Word>>,
    /// A container that exists already, by its name: started, paused and stopped, never created, changed or removed.
    pub container: Option<Spanned<Word>>,
    /// Containers that Compose has made, as `PROJECT/SERVICE`; likewise.
    pub compose: Option<Spanned<Word>>,
    /// The port that a container listens on; `80` when left out.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<Spanned<u64>>,
    /// In place of the entry point of the image.
    pub entrypoint: Option<Spanned<CommandFile>>,
    /// What of the host a container sees: `SOURCE:TARGET`, or `SOURCE:TARGET:ro`. A source with a `/` or `.` in front is a path, relative
    /// to this file; any other is the name of a volume.
    pub volumes: Option<Vec<Spanned<Word>>>,
    /// What of the host a container may use; without limits when left out.
    pub resources: Option<Spanned<ResourcesFile>>,
    /// A process: program and arguments. It is told its port in `PORT`. A program with a `/` in it is relative to this file,
    /// any other is looked up in PATH. With `image`: the arguments of its entry point.
    pub command: Option<Spanned<CommandFile>>,
    /// Commands that start and stop what listens on `urls`.
    pub hook: Option<Spanned<HookFile>>,
    /// Environment of the process or container; `${NAME}` is filled in from tidegate's own environment, `$$` is `$`.
    pub env: Option<Spanned<Entries<Spanned<Word>>>>,
    /// A file with more of it, `NAME=value` lines; `env` comes first.
    pub env_file: Option<Spanned<String>>,
    /// Working directory of the process.
    pub cwd: Option<Spanned<String>>,
    /// The user that the process runs as, by name or number, or as `"uid:gid"`; tidegate's own, or the image's, when left out. For a
    /// process it needs root.
    pub user: Option<Spanned<Word>>,
    /// How it is stopped.
    pub stop: Option<Spanned<StopFile>>,
    /// How it is started.
    pub start: Option<StartFile>,
    /// How many instances it has; `{min: 0, max: 1}` when left out.
    pub replicas: Option<Spanned<ReplicasForm>>,
    /// By what there are more or fewer of them.
    pub scale: Option<Spanned<ScaleFile>>,
    /// Requests at a time that one instance gets, the others wait; `off` (no limit) when left out.
    pub max_concurrency: Option<CountOrOff>,
    /// When it sleeps.
    pub sleep: Option<SleepFile>,
    /// Whether it never sleeps, and has its minimum of instances also without weight; `false` when left out.
    pub keep: Option<Spanned<bool>>,
    /// Bounds of the line in which requests wait for it.
    pub queue: Option<QueueFile>,
    /// Who sees its preview domain.
    pub preview: Option<PreviewFile>,
    /// Free text, for people.
    pub remark: Option<Word>,
}

/// What a version speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename = "Protocol", rename_all = "lowercase")]
pub enum ProtocolFile {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 in clear text, as gRPC servers do.
    H2c,
    /// HTTP/2 by TLS.
    H2,
}

/// How TLS is spoken to a version.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "UpstreamTls", default)]
#[schemars(deny_unknown_fields)]
pub struct UpstreamTlsFile {
    /// A file with the certificates (PEM) that are trusted, relative to this file; those of the system when left out.
    pub ca: Option<Spanned<String>>,
    /// The name that its certificate has to have, and that it is asked for; the host of the URL when left out.
    pub server_name: Option<Spanned<Word>>,
    /// Takes any certificate, so that whoever sits in between can read and change everything; `false` when left out.
    pub insecure: Option<Spanned<bool>>,
}

/// What of the host a container may use.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename = "Resources", default)]
#[schemars(deny_unknown_fields)]
pub struct ResourcesFile {
    /// Cores, such as `0.5` or `2`.
    #[schemars(with = "Option<f64>", range(min = 0.01))]
    pub cpu: Option<Spanned<Word>>,
    /// Memory, such as `256MiB`; a container that wants more is killed. 6MiB or more.
    pub memory: Option<Spanned<Bytes>>,
}

/// Commands that start and stop what listens on `urls`, all of it together. They have tidegate's own environment. A program with a
/// `/` in it is relative to this file, any other is looked up in PATH.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "Hook")]
#[schemars(deny_unknown_fields)]
pub struct HookFile {
    /// Starts it; exit code 0 says that it is on its way.
    pub start: Spanned<CommandFile>,
    /// Stops it; exit code 0 says that it is gone.
    pub stop: Spanned<CommandFile>,
    /// Exit code 0 says that it runs, any other that it does not.
    #[serde(default)]
    pub status: Option<Spanned<CommandFile>>,
}

/// How an instance is started.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename = "Start", default)]
#[schemars(deny_unknown_fields)]
pub struct StartFile {
    /// From the start to readiness; `30s` when left out.
    pub timeout: Option<Spanned<Time>>,
    /// What readiness is; that the port accepts when left out.
    pub ready: Option<ReadyFile>,
}

/// When an instance is ready.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename = "Ready")]
#[schemars(deny_unknown_fields)]
pub struct ReadyFile {
    /// When a GET of this path answers 2xx or 3xx.
    pub http: Spanned<String>,
}

/// How an instance is stopped.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename = "Stop", default)]
#[schemars(deny_unknown_fields)]
pub struct StopFile {
    /// The signal that a process or container gets first; `TERM` when left out.
    pub signal: Option<Spanned<SignalFile>>,
    /// How long it then has before SIGKILL, or a hook's `stop` for its work; `10s` when left out.
    pub grace: Option<Time>,
}

/// A signal by which a process is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename = "Signal", rename_all = "UPPERCASE")]
pub enum SignalFile {
    /// SIGTERM.
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

impl SignalFile {
    /// All of them, as they are written.
    pub const NAMES: [&str; 7] = ["TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "KILL"];
}

/// Who sees a preview domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename = "Preview", rename_all = "lowercase")]
pub enum PreviewFile {
    /// Clients from `preview_from`.
    Private,
    /// Everybody.
    Public,
    /// Nobody.
    Off,
}
