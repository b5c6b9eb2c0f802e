//! Versions that are containers of a Docker engine.
//!
//! The engine's labels are the only memory of what is ours: a tidegate that was killed finds its containers again, and takes them over
//! as they run. All of it lives on the control thread.

mod address;
mod container;
mod create;
pub mod credentials;
mod early;
pub mod engine;
pub mod engine_error;
pub mod error;
mod events;
mod found;
pub mod host;
pub mod image;
pub mod instance;
mod inventory;
pub mod labels;
mod listening;
mod logs;
mod pull;
mod shared;
mod start;
mod sweep;
mod transport;
mod usage;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{oneshot, watch};

use self::engine::Engine;
use self::engine_error::EngineError;
use self::error::DockerError;
use self::instance::DockerInstance;
use self::shared::Shared;
use self::start::Bringing;
use crate::lifecycle::provider::error::StartError;
use crate::model::name::VersionName;
use crate::model::settings::Docker;
use crate::model::version::{Backend, ContainerSpec, FoundSpec, Version};

/// What is known of the engine.
#[derive(Debug, Clone)]
pub enum EngineState {
    /// Nothing has been asked of it yet.
    Unused,
    /// It answers.
    Reachable,
    /// It does not. What runs is served on.
    Away {
        /// Why, and the cure.
        error: Arc<EngineError>,
    },
}

/// Containers of a version that run and that no instance has: those that an earlier tidegate left, or that somebody has started by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// The version's name.
    pub version: Box<str>,
    /// How many run.
    pub running: u32,
    /// How many are paused.
    pub paused: u32,
}

/// A version whose containers were made from another spec than the config has by now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The version's name.
    pub version: Box<str>,
    /// What is so, and the cure.
    pub message: String,
}

/// Starts containers. Clones are the same. Used on the control thread, within a `LocalSet`.
#[derive(Clone)]
pub struct DockerProvider {
    shared: Rc<Shared>,
}

impl DockerProvider {
    /// Containers of the engine that `settings` names, labelled as `owner`'s. Nothing is asked of the engine before it is needed.
    #[must_use]
    pub fn new(settings: &Docker, owner: &str) -> Self {
        let engine = Engine::new(settings.host.as_deref());
        Self { shared: Rc::new(Shared::new(engine, settings.clone(), owner)) }
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    /// Has a container of a version run: one of ours that no instance has, in the order running, paused, stopped, else a new one. It is
    /// not ready yet. Dropping the future stops what it has started, and the next start of the version waits for that.
    ///
    /// # Errors
    /// When the engine is away or refuses, there is no such image, the name is taken, or there is no way to the container.
    pub async fn start(&self, version: &Version, spec: &ContainerSpec) -> Result<DockerInstance, StartError> {
        let bringing = Bringing { shared: Rc::clone(&self.shared), version: version.clone(), spec: spec.clone() };
        self.unless_dropped(version, async move { bringing.up().await }).await
    }

    /// Has the containers run that somebody else has made for it. They are not ready yet. Dropping the future is as for
    /// [`start`](Self::start).
    ///
    /// # Errors
    /// When there are none, the engine is away or refuses, or there is no way to them.
    pub async fn start_found(&self, version: &Version, spec: &FoundSpec) -> Result<DockerInstance, StartError> {
        let (shared, of, spec) = (Rc::clone(&self.shared), version.clone(), spec.clone());
        self.unless_dropped(version, async move { found::bring_up(&shared, &of, &spec).await }).await
    }

    /// Removes the stopped containers of a version of ours that is no more.
    pub async fn discard(&self, version: &Version) {
        sweep::discard(&self.shared, version.name.as_str()).await;
    }

    /// Runs a start to its end as a task of its own: the engine cannot be told to stop in the middle. What comes of it when nobody waits
    /// any more is undone.
    async fn unless_dropped(
        &self,
        version: &Version,
        bringing: impl Future<Output = Result<DockerInstance, DockerError>> + 'static,
    ) -> Result<DockerInstance, StartError> {
        self.shared.undone(version.name.as_str()).await;
        let (to, from) = oneshot::channel();
        let (until_done, done) = watch::channel(());
        let stop = version.stop.clone();
        tokio::task::spawn_local(async move {
            if let Err(Ok(unwanted)) = to.send(bringing.await) {
                unwanted.undo(&stop).await;
            }
            drop(until_done);
        });
        let mut dropped = self.shared.undo_when_dropped(version.name.as_str(), done);
        let started = from.await;
        dropped.disarm();
        match started {
            Ok(started) => Ok(started?),
            // The task is never cancelled but with the runtime, which takes this future along.
            Err(_) => std::future::pending().await,
        }
    }

    /// Which versions have containers that run and that no instance has, told anew after each connection to the engine and about once a
    /// minute. Follows the engine from now on.
    #[must_use]
    pub fn present(&self) -> watch::Receiver<Arc<[Present]>> {
        self.shared.follow();
        self.shared.present.subscribe()
    }

    /// Takes note of the versions that there are, for [`differences`](Self::differences), [`present`](Self::present) and the sweep.
    pub fn expect<'v>(&self, versions: impl IntoIterator<Item = (&'v VersionName, &'v Backend)>) {
        let mut expected = self.shared.expected.borrow_mut();
        let mut found = self.shared.found.borrow_mut();
        expected.clear();
        found.clear();
        for (version, backend) in versions {
            match backend {
                Backend::Container(spec) => drop(expected.insert(version.as_str().into(), labels::spec(spec))),
                Backend::Found(spec) => found.push((version.as_str().into(), spec.which.clone())),
                Backend::Urls(_) | Backend::Process(_) | Backend::Hook(_) => {}
            }
        }
    }

    /// Stops and removes the containers of ours whose version is none of `wanted`, unless its service is one of `held`, whose file cannot
    /// be read now. What an instance has is left to it, and what others have made is never touched.
    ///
    /// # Errors
    /// When the engine is away: some may be left.
    pub async fn remove_unwanted(
        &self,
        wanted: &HashSet<Box<str>>,
        held: &HashSet<Box<str>>,
    ) -> Result<(), Arc<EngineError>> {
        sweep::remove_unwanted(&self.shared, wanted, held).await
    }

    /// The names of the containers that [`remove_unwanted`](Self::remove_unwanted) would remove, sorted.
    ///
    /// # Errors
    /// When the engine is away.
    pub async fn unwanted(
        &self,
        wanted: &HashSet<Box<str>>,
        held: &HashSet<Box<str>>,
    ) -> Result<Vec<Box<str>>, Arc<EngineError>> {
        let unwanted = sweep::unwanted(&self.shared, wanted, held).await?;
        let mut names: Vec<_> = unwanted.into_iter().map(|known| known.name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The versions whose containers were made from another spec than the config has. They are used as they are.
    #[must_use]
    pub fn differences(&self) -> Vec<Difference> {
        let expected = self.shared.expected.borrow();
        let inventory = self.shared.inventory.borrow();
        let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for known in inventory.all() {
            if expected.get(&known.version).is_some_and(|hash| known.spec.as_deref() != Some(hash)) {
                names.entry(&known.version).or_default().push(&known.name);
            }
        }
        let differences = names.into_iter().map(|(version, mut names)| {
            names.sort_unstable();
            let names = names.join(" ");
            let message = format!(
                "the file says something else of what makes `{version}` than its containers were made from, and they are used as they are: what makes a version never changes. Put it back, or write the next version; `docker rm -f {names}` if it is to be made anew"
            );
            Difference { version: version.into(), message }
        });
        differences.collect()
    }

    /// Whether the engine can be reached, as far as is known.
    #[must_use]
    pub fn engine_state(&self) -> EngineState {
        self.shared.state.borrow().clone()
    }
}

impl fmt::Debug for DockerProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerProvider")
            .field("engine", &self.shared.engine)
            .field("owner", &self.shared.owner)
            .finish_non_exhaustive()
    }
}
