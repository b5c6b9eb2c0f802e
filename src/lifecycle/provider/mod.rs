//! What starts and stops instances.

pub mod docker;
pub mod error;
pub mod exit;
pub mod hook;
mod hook_command;
mod hook_stop;
mod line_rate;
pub mod listeners;
mod output;
pub mod process;
pub mod process_tree;
mod sock_diag;
pub mod user;

use std::future::Future;

use crate::model::version::{Backend, Endpoint, Start, Stop, Version};

use self::docker::DockerProvider;
use self::docker::instance::DockerInstance;
use self::error::StartError;
use self::exit::ExitReport;
use self::hook::{HookInstance, HookProvider};
use self::process::{ProcessInstance, ProcessProvider};

/// Starts instances. Real ones are behind [`Providers`]; the simulation has one of its own.
pub trait Provider: Clone + 'static {
    /// The provider's side of one running copy.
    type Running: Running;

    /// Starts one instance of a version. It is not ready yet: [`Running::ready`] waits for that. Dropping the future leaves nothing
    /// behind, though a hook's stop command may take its time; the next start waits for it.
    ///
    /// # Errors
    /// When it cannot be started.
    fn start(&self, version: &Version) -> impl Future<Output = Result<Self::Running, StartError>>;

    /// Removes what is left of a version that is no more, and of which nothing runs: containers that were stopped.
    fn discard(&self, version: &Version) -> impl Future<Output = ()>;
}

/// The provider's side of one running copy of a version. Dropped, it is stopped without waiting; what a hook started goes on running.
pub trait Running: 'static {
    /// Where it listens, once it is ready: one address, or several where one start brings up several.
    fn endpoints(&self) -> Box<[Endpoint]>;

    /// Waits until it is ready. Can be cancelled and called again.
    ///
    /// # Errors
    /// When it exits first, or is not ready in time, and why. The instance is left as it is.
    fn ready(&mut self, start: &Start) -> impl Future<Output = Result<(), StartError>>;

    /// Waits until it has ended; what it has left behind may still be ending, and holds what it had (its port) until then. Meanwhile tells
    /// `used`, about once a second, how much processor time it has used since the last time, in per cent of what it may have, where the
    /// version is scaled by that. Can be cancelled and called again.
    fn exited(&mut self, used: &dyn Fn(f64)) -> impl Future<Output = ExitReport>;

    /// Freezes it. It has no request, and gets none until [`Self::resume`]. Only asked of containers.
    ///
    /// # Errors
    /// When it cannot be frozen, or has ended; it is then stopped.
    fn pause(&mut self) -> impl Future<Output = Result<(), StartError>>;

    /// Thaws it, and returns when it takes requests again. Can be cancelled, and then only stopped.
    ///
    /// # Errors
    /// When it cannot be thawed, or has ended meanwhile; it is then stopped.
    fn resume(&mut self, start: &Start) -> impl Future<Output = Result<(), StartError>>;

    /// Ends it as `end` says: the signal, then KILL after the grace. Returns once nothing of it runs.
    fn stop(self, stop: &Stop, end: End) -> impl Future<Output = ExitReport>;
}

/// Why an instance is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is not needed for now: a container stays, stopped, and is started again when it is.
    Rest,
    /// Its version is no more: nothing of it stays.
    Removal,
    /// tidegate ends: processes end with it, and containers go on, to be adopted by the next.
    Handover,
}

/// All providers; the version's backend picks one.
#[derive(Debug, Clone)]
pub struct Providers {
    /// For versions with a `command`.
    pub process: ProcessProvider,
    /// For versions with a `hook`.
    pub hook: HookProvider,
    /// For versions with an `image`, a `container` or a service of `compose`.
    pub docker: DockerProvider,
}

impl Provider for Providers {
    type Running = AnyRunning;

    /// [`StartError::NotOurs`] for a version with `urls`.
    async fn start(&self, version: &Version) -> Result<AnyRunning, StartError> {
        match &*version.backend {
            Backend::Urls(_) => Err(StartError::NotOurs),
            Backend::Container(spec) => self.docker.start(version, spec).await.map(Box::new).map(AnyRunning::Docker),
            Backend::Found(spec) => self.docker.start_found(version, spec).await.map(Box::new).map(AnyRunning::Docker),
            Backend::Process(spec) => self
                .process
                .start(&version.name, spec, &version.start, &version.stop)
                .await
                .map(Box::new)
                .map(AnyRunning::Process),
            Backend::Hook(spec) => self
                .hook
                .start(&version.name, spec, &version.start, &version.stop)
                .await
                .map(Box::new)
                .map(AnyRunning::Hook),
        }
    }

    async fn discard(&self, version: &Version) {
        if let Backend::Container(_) = &*version.backend {
            self.docker.discard(version).await;
        }
    }
}

/// A running copy, whoever started it.
#[derive(Debug)]
pub enum AnyRunning {
    /// A process of this host.
    Process(Box<ProcessInstance>),
    /// What commands have started.
    Hook(Box<HookInstance>),
    /// Containers.
    Docker(Box<DockerInstance>),
}

impl Running for AnyRunning {
    fn endpoints(&self) -> Box<[Endpoint]> {
        match self {
            Self::Process(instance) => {
                let address = instance.address();
                Box::new([Endpoint { host: address.ip().to_string().into(), port: address.port() }])
            }
            Self::Hook(instance) => instance.urls().into(),
            Self::Docker(instance) => instance.endpoints(),
        }
    }

    async fn ready(&mut self, start: &Start) -> Result<(), StartError> {
        match self {
            Self::Process(instance) => instance.ready(start).await,
            Self::Hook(instance) => instance.ready(start).await,
            Self::Docker(instance) => instance.ready(start).await,
        }
    }

    async fn exited(&mut self, used: &dyn Fn(f64)) -> ExitReport {
        match self {
            Self::Process(instance) => instance.exited().await,
            Self::Hook(instance) => instance.exited().await,
            Self::Docker(instance) => instance.exited(used).await,
        }
    }

    async fn pause(&mut self) -> Result<(), StartError> {
        match self {
            Self::Docker(instance) => instance.pause().await,
            Self::Process(_) | Self::Hook(_) => Err(StartError::CannotPause),
        }
    }

    async fn resume(&mut self, start: &Start) -> Result<(), StartError> {
        match self {
            Self::Docker(instance) => instance.resume(start).await,
            Self::Process(_) | Self::Hook(_) => Err(StartError::CannotPause),
        }
    }

    async fn stop(self, stop: &Stop, end: End) -> ExitReport {
        match self {
            Self::Docker(instance) => instance.stop(stop, end).await,
            Self::Process(instance) => instance.stop(stop).await,
            Self::Hook(instance) => instance.stop(stop).await,
        }
    }
}
