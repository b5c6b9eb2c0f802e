//! What the config says of containers, told to their provider: which there should be, which are not wanted any more; and what the
//! provider finds running, told to the units.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::lifecycle::provider::docker::{DockerProvider, Present};
use crate::live::Live;
use crate::model::version::Backend;
use crate::reload::reloader::Reloader;

/// How long after an edit the engine is asked: an edit that comes into force need not wait for that, nor each of many.
const SETTLES: Duration = Duration::from_millis(200);

/// The link between config and engine. Without a version that is a container, the engine is asked once, for what an earlier config may
/// have left behind, and then left alone.
pub(super) struct Containers {
    docker: DockerProvider,
    present: Option<watch::Receiver<Arc<[Present]>>>,
    /// When the config is to be looked at.
    due: Option<Instant>,
    told: BTreeSet<String>,
}

impl Containers {
    /// Has nothing looked at yet.
    pub(super) fn new(docker: DockerProvider) -> Self {
        Self { docker, present: None, due: Some(Instant::now()), told: BTreeSet::new() }
    }

    /// The config has changed.
    pub(super) fn edited(&mut self) {
        self.due.get_or_insert_with(|| Instant::now() + SETTLES);
    }

    /// Waits until there is something to do. Can be cancelled and called again.
    pub(super) async fn wait(&mut self) {
        let due = async {
            match self.due {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let found = async {
            let changed = match &mut self.present {
                Some(present) => present.changed().await.is_ok(),
                None => false,
            };
            if !changed {
                // Without a provider there is nothing to come.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! { () = due => {}, () = found => {} }
    }

    /// Does what is to be done.
    pub(super) fn look(&mut self, reloader: &Reloader) {
        let live = reloader.published().load();
        if self.due.is_some_and(|at| at <= Instant::now()) {
            self.due = None;
            self.expect(&live, reloader, true);
        } else {
            // What could not be removed while the engine was away, or was busy, is removed now.
            self.expect(&live, reloader, false);
        }
        if let Some(present) = &mut self.present {
            for found in present.borrow_and_update().iter() {
                tracing::debug!(version = %found.version, running = found.running, paused = found.paused, "found running");
                reloader.units().adopt(&found.version, found.running + found.paused);
            }
        }
        self.tell_differences();
    }

    /// Tells the provider what there should be, and has it remove what should not.
    fn expect(&mut self, live: &Live, reloader: &Reloader, is_edited: bool) {
        let versions = live.snapshot.services.iter().flat_map(|service| &service.versions);
        let containers = versions.filter(|version| version.backend.is_container());
        self.docker.expect(containers.map(|version| (&version.name, &*version.backend)));
        let wanted: HashSet<Box<str>> = live
            .snapshot
            .services
            .iter()
            .flat_map(|service| &service.versions)
            .filter(|version| matches!(*version.backend, Backend::Container(_)))
            .map(|version| version.name.as_str().into())
            .collect();
        let uses = live.snapshot.services.iter().flat_map(|service| &service.versions);
        if self.present.is_none() && uses.into_iter().any(|version| version.backend.is_container()) {
            self.present = Some(self.docker.present());
        }
        let held: HashSet<Box<str>> = reloader.held().map(Into::into).collect();
        // More likely a folder that is not mounted yet than the end of all services; what is removed does not come back.
        let is_empty = live.snapshot.services.is_empty() && held.is_empty();
        let (docker, needed) = (self.docker.clone(), self.present.is_some());
        tokio::task::spawn_local(async move {
            let done = match is_empty {
                false => docker.remove_unwanted(&wanted, &held).await,
                true if is_edited => docker.unwanted(&wanted, &held).await.map(|left| spared(&left)),
                true => Ok(()),
            };
            if let Err(error) = done {
                // Whoever has no containers need not have an engine.
                if needed {
                    tracing::warn!("cannot look for containers that nobody wants: {error}");
                } else {
                    tracing::debug!("no engine: {error}");
                }
            }
        });
    }

    /// Says what is new about containers that are not what the config says.
    fn tell_differences(&mut self) {
        let differences: BTreeSet<String> =
            self.docker.differences().into_iter().map(|difference| difference.message).collect();
        for message in differences.difference(&self.told) {
            tracing::error!("{message}");
        }
        self.told = differences;
    }
}

/// Says which containers are left although no version wants them.
fn spared(names: &[Box<str>]) {
    if !names.is_empty() {
        let names = names.join(" ");
        tracing::warn!(
            "there is no service at all, as where the folder of the services is not mounted yet, so these containers are left as they are: {names}; `docker rm -f {names}` if nobody needs them"
        );
    }
}
