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
    /// Where it listens, such as `http://127.0.0.1:8080`.
    pub listen: Vec<String>,
    /// Data threads.
    pub threads: usize,
    /// Client connections now.
    pub connections: u64,
    /// Tunnels (WebSocket) now.
    pub tunnels: u64,
    /// By name.
    pub services: Vec<ServiceStatus>,
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
    /// `starting`, `normal`, `draining`, `failed`, ...
    pub state: String,
    /// Why it is in that state, where that is not plain.
    pub why: Option<String>,
    /// Its running copies.
    pub instances: Vec<InstanceStatus>,
    /// Requests at it now.
    pub in_flight: u64,
    /// Requests that are over.
    pub requests: u64,
    /// Those of them that were answered 5xx.
    pub errors_5xx: u64,
    /// What its file says about it.
    pub remark: Option<String>,
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
