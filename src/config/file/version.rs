//! A version, within a service's file.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Time, Word};
use crate::config::spanned::{Entries, Spanned};

/// One deployment of a service: exactly one of `urls` and `command`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "Version", default)]
#[schemars(deny_unknown_fields)]
pub struct VersionFile {
    /// Addresses of what runs already: `http://HOST:PORT`.
    pub urls: Option<Spanned<Vec<Spanned<String>>>>,
    /// A process: program and arguments. It is told its port in `PORT`. A program with a `/` in it is relative to this file,
    /// any other is looked up in PATH.
    pub command: Option<Spanned<Vec<Spanned<Word>>>>,
    /// Environment of the process; `${NAME}` is filled in from tidegate's own environment, `$$` is `$`.
    pub env: Option<Spanned<Entries<Spanned<Word>>>>,
    /// A file with more of it, `NAME=value` lines; `env` comes first.
    pub env_file: Option<Spanned<String>>,
    /// Working directory of the process.
    pub cwd: Option<Spanned<String>>,
    /// How it is stopped.
    pub stop: Option<Spanned<StopFile>>,
    /// How it is started.
    pub start: Option<StartFile>,
    /// Who sees its preview domain.
    pub preview: Option<PreviewFile>,
    /// Free text, for people.
    pub remark: Option<Word>,
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

/// How a process is stopped.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename = "Stop", default)]
#[schemars(deny_unknown_fields)]
pub struct StopFile {
    /// The signal that it gets first; `TERM` when left out.
    pub signal: Option<SignalFile>,
    /// How long it then has before SIGKILL; `10s` when left out.
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
