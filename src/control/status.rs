//! What `/status` says and `tidegate status` shows: data only. New fields get a default, so that a command line and a server of
//! different versions understand each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::compile::Fingerprint;

/// The state of the whole.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The tidegate that runs, such as `0.1.0`.
    pub tidegate: String,
    /// Its process.
    pub pid: u32,
    /// When it started, RFC 3339.
    pub started_at: String,
    /// Seconds since then.
    pub uptime: u64,
    /// Where its `tidegate.yaml` is.
    pub config: String,
    /// Rises with each edit that came into force.
    pub generation: u64,
    /// When the last edit came into force, RFC 3339.
    pub in_force_since: String,
    /// What is wrong with edits that are held back. Empty when all that is written is in force.
    pub rejected: Vec<Rejected>,
    /// Other things that a person should know: edits noticed late for lack of inotify watches, a setting that needs a restart.
    pub notices: Vec<String>,
    /// Where it listens, such as `http://127.0.0.1:8080`; nowhere while it ends.
    pub listen: Vec<String>,
    /// Whether it was told to end, and finishes what is on its way.
    pub ending: bool,
    /// Then: seconds until what is not over is cut.
    pub cut_in: Option<u64>,
    /// Data threads.
    pub threads: usize,
    /// Client connections now.
    pub connections: u64,
    /// Those of them that speak HTTP/2.
    pub http2_connections: u64,
    /// Tunnels (WebSocket) now.
    pub tunnels: u64,
    /// Instances that are coming up.
    pub starts: StartsStatus,
    /// Certificates that do not hold, or end within 14 days.
    pub certificates: Vec<CertificateStatus>,
    /// By name.
    pub services: Vec<ServiceStatus>,
}

/// A certificate in force; of `/certificates` and `tidegate cert` too.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateStatus {
    /// Whom it is for.
    pub names: Vec<String>,
    /// `good`, `ends soon` (within 14 days), `expired` or `not yet valid`.
    pub state: String,
    /// Whole days until it ends.
    pub days_left: u64,
    /// When it begins, RFC 3339.
    pub not_before: String,
    /// When it ends, RFC 3339.
    pub not_after: String,
    /// `ECDSA`, `Ed25519` or `RSA`.
    pub key: String,
    /// Who made it.
    pub issuer: String,
    /// Its number there, in hexadecimal.
    pub serial: String,
    /// How many certificates are sent, its own among them.
    pub chain: usize,
    /// Its file.
    pub source: String,
}

/// The instances of all versions that are coming up.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StartsStatus {
    /// So many may at a time: `max_starts`.
    pub max: u32,
    /// So many do.
    pub now: u32,
    /// So many wait for their turn.
    pub waiting: u32,
}

/// One thing that is wrong with an edit, in one line.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rejected {
    /// The file.
    pub file: String,
    /// From 1; 0 if the error has no place in the file.
    pub line: usize,
    /// From 1; 0 if the error has no place in the line.
    pub column: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

/// One service.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Where it is reached: hosts, with a path where its routes have one. The default domain is among them.
    pub hosts: Vec<String>,
    /// What it does instead of, or besides, proxying: `maintenance`, `redirects to ...`, `all weights are 0`.
    pub note: Option<String>,
    /// Requests it answered itself.
    pub requests: u64,
    /// By name.
    pub versions: Vec<VersionStatus>,
}

/// One version.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VersionStatus {
    /// Its name.
    pub name: String,
    /// Its share of the weighted choices, in percent (0 to 100).
    pub weight: f64,
    /// `asleep`, `starting`, `normal`, `draining`, `failed` or `stopped`.
    pub state: String,
    /// Why it is in that state, where that is not plain; of several lines where it failed.
    pub why: Option<String>,
    /// Where it failed: how long from then on it is not tried again, in milliseconds.
    pub backoff_ms: Option<u64>,
    /// What keeps it awake; none for a version that is not up, or that others start and stop.
    pub awake: Option<AwakeStatus>,
    /// How many instances there may be; none for a version that others start and stop.
    pub replicas: Option<ReplicasStatus>,
    /// Its running copies.
    pub instances: Vec<InstanceStatus>,
    /// Requests at it now.
    pub in_flight: u64,
    /// Requests in line for it now.
    pub waiting: u64,
    /// Requests that are over.
    pub requests: u64,
    /// Those of them that were answered 5xx.
    pub errors_5xx: u64,
    /// While it is starting: for how long, in milliseconds.
    pub starting_ms: Option<u64>,
    /// What a start takes, by those that there were, in milliseconds.
    pub typical_start_ms: Option<u64>,
    /// The last wakes that are over, newest first; at most five.
    pub wakes: Vec<WakeStatus>,
    /// What its file says about it.
    pub remark: Option<String>,
}

/// What keeps a version awake.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AwakeStatus {
    /// The strongest reason: `keep`, `min` (there are always so many instances), `never` (`stop_after: off`), `requests`, `tunnels`
    /// (until they have been silent for long enough), or `idle` (nothing does).
    pub because: String,
    /// Requests at it or in line for it that keep it awake.
    pub requests: u64,
    /// Tunnels, and requests that `ignore` names: they keep it awake only while they carry something, or not at all.
    pub tunnels: u64,
    /// Seconds until it sleeps if nothing comes.
    pub sleeps_in: Option<u64>,
}

/// How many instances a version has.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplicasStatus {
    /// At least so many now: 0 for a version that has neither weight, nor a rule, nor `keep`.
    pub min: u32,
    /// At most so many.
    pub max: u32,
    /// How many the load asks for, where that is more than there may be.
    pub wanted: Option<u32>,
    /// Whether there are as many as there may be, and work for more.
    pub at_max: bool,
}

/// One wake that is over.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WakeStatus {
    /// When it was asked for, RFC 3339.
    pub asked: String,
    /// Until it was started, or could not be, in milliseconds.
    pub start_ms: u64,
    /// From then until it was ready, or failed, in milliseconds; none if it could not be started.
    pub probe_ms: Option<u64>,
    /// Requests that waited when it was over.
    pub waited: u64,
    /// Why it failed, if it did; of several lines.
    pub failed: Option<String>,
}

/// One running copy of a version.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceStatus {
    /// Host and port.
    pub address: String,
    /// `normal`, `starting`, `out` (after refused connections), ...
    pub state: String,
    /// Requests at it now.
    pub in_flight: u64,
}

/// What `/identities` says, for `tidegate check`: what the versions are that run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The tidegate that runs; fingerprints are comparable within a release only.
    pub tidegate: String,
    /// By name.
    pub versions: BTreeMap<String, Fingerprint>,
}
