//! What follows a version's demand: how many instances it has, when it sleeps, and how requests wait for it.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Bytes, TimeOrOff, Word};
use crate::config::spanned::Spanned;

/// How many instances a version has: always this many, or from `min` to `max`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[schemars(untagged)]
pub enum ReplicasForm {
    /// Always this many.
    #[serde(rename = "@number")]
    Fixed(#[schemars(range(min = 1, max = 100))] u32),
    /// From `min` to `max`.
    #[serde(rename = "@mapping")]
    Range(ReplicasFile),
}

/// From how many to how many instances a version has.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename = "Replicas", default)]
#[schemars(deny_unknown_fields)]
pub struct ReplicasFile {
    /// At least so many while the version has traffic to expect; `0`, when left out, lets it sleep.
    #[schemars(range(min = 0, max = 100))]
    pub min: Option<Spanned<u32>>,
    /// At most so many, whatever the load; `1` when left out.
    #[schemars(range(min = 1, max = 100))]
    pub max: Option<Spanned<u32>>,
}

/// By what there are more or fewer instances.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename = "Scale", default)]
#[schemars(deny_unknown_fields)]
pub struct ScaleFile {
    /// What is measured; `concurrency` when left out.
    pub on: Option<ScaleOnFile>,
    /// How much of it one instance should have. When left out, `max_concurrency`, or else 100 requests at a time, 200
    /// per second, or 80 per cent.
    #[schemars(range(min = 1))]
    pub target: Option<Spanned<u32>>,
}

/// What instances are made or removed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename = "ScaleOn", rename_all = "lowercase")]
pub enum ScaleOnFile {
    /// Requests at a time.
    Concurrency,
    /// Requests per second.
    Rps,
    /// Processor time of a container, in per cent of what it may have (`resources.cpu`, or one core).
    Cpu,
}

/// When a version sleeps.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename = "Sleep", default)]
#[schemars(deny_unknown_fields)]
pub struct SleepFile {
    /// A container is paused when it had no traffic for so long, which frees its processor time and lets it answer at once again; never
    /// when left out. Shorter than `stop_after`.
    pub pause_after: Option<Spanned<TimeOrOff>>,
    /// It is stopped when it had no traffic for so long; never with `off`. `1h` when left out.
    pub stop_after: Option<Spanned<TimeOrOff>>,
    /// What is no traffic, such as uptime checks.
    pub ignore: Option<IgnoreFile>,
}

/// Requests that neither keep a version awake nor wake it. Patterns are exact, or have `*` and `?`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename = "Ignore", default)]
#[schemars(deny_unknown_fields)]
pub struct IgnoreFile {
    /// Patterns for the path.
    pub paths: Option<Vec<Spanned<Word>>>,
    /// Patterns for `User-Agent`.
    pub user_agents: Option<Vec<Spanned<Word>>>,
    /// What they are answered while the version sleeps; `503` when left out.
    #[schemars(range(min = 200, max = 599))]
    pub status: Option<Spanned<u16>>,
}

/// Bounds of the line in which requests wait for a version.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename = "Queue", default)]
#[schemars(deny_unknown_fields)]
pub struct QueueFile {
    /// So many may wait at a time; `20000` when left out.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_waiting: Option<Spanned<u32>>,
    /// So much of a waiting request's body is read ahead; `1MiB` when left out.
    pub max_body: Option<Bytes>,
}

/// What browsers see while a version comes up: on or off, or on with a page of its own.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[schemars(untagged)]
pub enum WaitingPageForm {
    /// On or off.
    #[serde(rename = "@boolean")]
    Switch(bool),
    /// On, and more of it.
    #[serde(rename = "@mapping")]
    Long(WaitingPageFile),
}

/// What browsers see while a version comes up.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename = "WaitingPage", default)]
#[schemars(deny_unknown_fields)]
pub struct WaitingPageFile {
    /// Its title; the service's name when left out.
    pub title: Option<Word>,
    /// A file with the page, of at most 256 KiB. In it, `{{title}}`, `{{service}}`, `{{version}}`, `{{elapsed}}` and `{{expected}}`
    /// are filled in; the last two are whole seconds.
    pub file: Option<Spanned<String>>,
}
