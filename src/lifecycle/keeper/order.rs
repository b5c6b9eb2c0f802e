//! What a unit's task is told: what its version is to be, and what a person asks of it.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::lifecycle::provider::End;
use crate::model::version::Version;

/// What a unit's task is to do.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::lifecycle) struct Order {
    pub(in crate::lifecycle) version: Version,
    /// Whether `replicas.min` holds: the version has weight, or a rule points at it.
    pub(in crate::lifecycle) has_traffic: bool,
    /// How long requests have to finish when an instance is stopped for want of load.
    pub(in crate::lifecycle) drain: Duration,
    /// Leave for good.
    pub(in crate::lifecycle) leave: Option<Leave>,
}

/// How a unit is to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lifecycle) struct Leave {
    /// It drains for at most so long.
    pub(in crate::lifecycle) drain: Duration,
    /// What then becomes of its instances.
    pub(in crate::lifecycle) end: End,
}

impl Order {
    /// How many instances there are at least.
    pub(super) fn min(&self) -> u32 {
        self.version.min_running(self.has_traffic)
    }
}

/// What a person asks of a unit.
#[derive(Debug)]
pub(in crate::lifecycle) enum Command {
    /// Sleep now; answered when it does. Even where it has a minimum of instances, if `anyhow`, from which it then wakes.
    Sleep { anyhow: bool, answer: oneshot::Sender<Result<(), CommandError>> },
    /// So many instances of it run, which somebody else has started: take them over.
    Adopt(u32),
    /// Do not wait any longer before the next try, if it has failed.
    TryAgain,
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no such version, or it is on its way out.
    #[error("there is no version `{0}`")]
    Unknown(String),
    /// It has `urls`.
    #[error("`{0}` has `urls`, which are not tidegate's to start or stop")]
    NotOurs(String),
    /// Its minimum holds.
    #[error("`{name}` has a minimum of {min} running instances: {cure}")]
    Held {
        /// The version.
        name: String,
        /// How many.
        min: u32,
        /// What would change that.
        cure: &'static str,
    },
    /// It is coming up for requests, which would be turned away.
    #[error("`{name}` is starting, and {waiting} requests wait for it: try again when they are served")]
    Awaited {
        /// The version.
        name: String,
        /// How many requests.
        waiting: u32,
    },
}
