//! What starts and stops instances. So far that is processes; containers will be a second variant.

pub mod error;
pub mod exit;
pub mod listeners;
mod output;
pub mod process;
pub mod process_tree;

use std::net::SocketAddr;

use crate::model::version::{Backend, Start, Stop, Version};

use self::error::StartError;
use self::exit::ExitReport;
use self::process::{ProcessInstance, ProcessProvider};

/// All providers; the version's backend picks one.
#[derive(Debug, Clone)]
pub struct Providers {
    /// For versions with a `command`.
    pub process: ProcessProvider,
}

impl Providers {
    /// Starts one instance of a version. It is not ready yet: [`Running::ready`] waits for that.
    ///
    /// # Errors
    /// When it cannot be started; [`StartError::NotOurs`] for a version with `urls`.
    pub async fn start(&self, version: &Version) -> Result<Running, StartError> {
        match &*version.backend {
            Backend::Urls(_) => Err(StartError::NotOurs),
            Backend::Process(spec) => {
                self.process.start(&version.name, spec, &version.stop).await.map(Box::new).map(Running::Process)
            }
        }
    }
}

/// The provider's side of one running copy of a version. Dropped, it is stopped without waiting.
#[derive(Debug)]
pub enum Running {
    /// A process of this host.
    Process(Box<ProcessInstance>),
}

impl Running {
    /// Where it listens, once it is ready.
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Process(instance) => instance.address(),
        }
    }

    /// The process id of its program.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::Process(instance) => instance.pid(),
        }
    }

    /// Waits until it is ready. Can be cancelled and called again.
    ///
    /// # Errors
    /// When it exits first, or is not ready in time, and why. The instance is left as it is.
    pub async fn ready(&mut self, start: &Start) -> Result<(), StartError> {
        match self {
            Self::Process(instance) => instance.ready(start).await,
        }
    }

    /// Waits until it has ended, and nothing of it is left. Can be cancelled and called again.
    pub async fn exited(&mut self) -> ExitReport {
        match self {
            Self::Process(instance) => instance.exited().await,
        }
    }

    /// Stops it: the signal, then KILL after the grace. Returns once nothing of it is left.
    pub async fn stop(self, stop: &Stop) -> ExitReport {
        match self {
            Self::Process(instance) => instance.stop(stop).await,
        }
    }
}
