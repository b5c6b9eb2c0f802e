//! One stream of the engine's events for all instances, and a whole list at its beginning, so that nothing that happened while the
//! engine was away is missed.

use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerSummary, EventMessage, EventMessageTypeEnum};
use bollard::query_parameters::{EventsOptionsBuilder, ListContainersOptionsBuilder};
use futures_util::StreamExt as _;
use tokio::select;
use tokio::time::{Instant, sleep, sleep_until};

use super::engine_error::EngineError;
use super::inventory::{Condition, condition};
use super::shared::Shared;
use super::{EngineState, Present, found, labels};

/// What is told of a container: all that changes what it does, or says why.
const ACTIONS: [&str; 10] =
    ["create", "start", "kill", "die", "oom", "destroy", "pause", "unpause", "rename", "connect"];
/// The first wait before the engine is tried again, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// The second list follows so soon: the first may be older than the stream's beginning.
const LIST_AGAIN: Duration = Duration::from_millis(500);
/// How often a list is taken while events come, in case one was missed.
const LIST_EVERY: Duration = Duration::from_secs(60);

impl Shared {
    /// Follows the engine from now on, as a task of its own.
    pub(super) fn follow(self: &Rc<Self>) {
        if !self.is_followed.replace(true) {
            tokio::task::spawn_local(follow(Rc::clone(self)));
        }
    }

    fn reached(&self) {
        self.was_reached.set(true);
        if !matches!(&*self.state.borrow(), EngineState::Reachable) {
            tracing::info!(engine = self.engine.host(), "connected to the Docker engine");
            self.state.send_replace(EngineState::Reachable);
        }
    }

    fn lost(&self, error: EngineError) {
        if !matches!(&*self.state.borrow(), EngineState::Away { .. }) {
            tracing::warn!("{error}; what runs is served on, and nothing can be started until the engine is back");
        }
        // Also where it was away before: whoever waits hears that it still is.
        self.state.send_replace(EngineState::Away { error: Arc::new(error) });
    }

    fn take_list(&self, list: &[ContainerSummary]) {
        self.inventory.borrow_mut().replace(list);
        self.announce(list);
    }

    /// Says which versions have containers that run and that no instance has.
    fn announce(&self, list: &[ContainerSummary]) {
        let mut counts: HashMap<Box<str>, (u32, u32)> = HashMap::new();
        let mut count = |version: &str, condition: Condition| {
            let (running, paused) = counts.entry(version.into()).or_default();
            match condition {
                Condition::Running => *running += 1,
                Condition::Paused => *paused += 1,
                Condition::Still => {}
            }
        };
        for summary in list.iter().filter(|summary| summary.id.as_ref().is_some_and(|id| self.is_free(id))) {
            let label = |name| summary.labels.as_ref().and_then(|labels| labels.get(name)).map(String::as_str);
            let ours = label(labels::OWNER).is_some_and(|owner| *owner == *self.owner);
            if let Some(version) = label(labels::VERSION).filter(|_| ours) {
                count(version, condition(summary));
            }
            for (version, which) in &*self.found.borrow() {
                if found::is_it(which, summary) {
                    count(version, condition(summary));
                }
            }
        }
        counts.retain(|_, (running, paused)| *running + *paused > 0);
        let present = counts.into_iter().map(|(version, (running, paused))| Present { version, running, paused });
        self.present.send_replace(present.collect());
    }

    fn take(&self, event: &EventMessage) {
        if event.typ == Some(EventMessageTypeEnum::NETWORK) {
            let attributes = event.actor.as_ref().and_then(|actor| actor.attributes.as_ref());
            if let Some(id) = attributes.and_then(|attributes| attributes.get("container")) {
                self.happened(id);
            }
            return;
        }
        let Some(id) = event.actor.as_ref().and_then(|actor| actor.id.as_deref()) else { return };
        self.inventory.borrow_mut().apply(event);
        match event.action.as_deref() {
            Some("oom") if !self.is_free(id) => {
                self.deaths.borrow_mut().entry(id.into()).or_default().out_of_memory = true;
            }
            Some("kill") if !self.is_free(id) => self.deaths.borrow_mut().entry(id.into()).or_default().killed = true,
            Some("destroy") => drop(self.deaths.borrow_mut().remove(id)),
            _ => {}
        }
        if event.action.as_deref() != Some("kill") {
            self.happened(id);
        }
    }
}

async fn follow(shared: Rc<Shared>) {
    let mut wait = AGAIN.0;
    loop {
        let began = Instant::now();
        let error = match session(&shared).await {
            Err(error) => error,
            Ok(never) => match never {},
        };
        shared.lost(error);
        if began.elapsed() > AGAIN.1 {
            wait = AGAIN.0;
        }
        select! {
            () = sleep(wait) => {}
            () = shared.hurry.notified() => {}
        }
        wait = (wait * 2).min(AGAIN.1);
    }
}

/// From one connection to its end.
async fn session(shared: &Shared) -> Result<std::convert::Infallible, EngineError> {
    let client = shared.engine.negotiate().await?;
    let filters: HashMap<&str, Vec<&str>> =
        [("type", vec!["container", "network"]), ("event", ACTIONS.to_vec())].into();
    let mut events = pin!(client.events(Some(EventsOptionsBuilder::new().filters(&filters).build())));
    let mut listing = pin!(list(&client));
    let mut is_listing = true;
    let mut lists = 0;
    let mut next_list = Instant::now();
    // What came while the list was under way may be newer than it.
    let mut meanwhile = Vec::new();
    loop {
        select! {
            biased;
            event = events.next() => match event {
                Some(event) => {
                    let event = event.map_err(|error| shared.engine.error(error))?;
                    shared.take(&event);
                    if is_listing {
                        meanwhile.push(event);
                    }
                }
                None => {
                    let ended = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                    return Err(shared.engine.error(ended.into()));
                }
            },
            listed = &mut listing, if is_listing => {
                let listed = listed.map_err(|error| shared.engine.error(error))?;
                shared.take_list(&listed);
                meanwhile.drain(..).for_each(|event| shared.take(&event));
                lists += 1;
                is_listing = false;
                next_list = Instant::now() + if lists == 1 { LIST_AGAIN } else { LIST_EVERY };
                shared.reached();
                shared.happened_to_all();
            }
            () = sleep_until(next_list), if !is_listing => {
                listing.set(list(&client));
                is_listing = true;
            }
        }
    }
}

/// All containers there are.
pub(super) async fn list(client: &Docker) -> Result<Vec<ContainerSummary>, bollard::errors::Error> {
    client.list_containers(Some(ListContainersOptionsBuilder::new().all(true).build())).await
}
