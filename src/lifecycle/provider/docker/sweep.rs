//! Containers of ours that no version wants any more.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::RemoveContainerOptionsBuilder;

use super::container::Container;
use super::engine::Engine;
use super::engine_error::EngineError;
use super::inventory::Known;
use super::shared::Shared;
use super::{events, labels};

/// How long the engine may take to stop a container, beyond its grace.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// The grace of a container that says none, as the engine has it.
const GRACE: Duration = Duration::from_secs(10);

/// Stops and removes the containers of ours whose version is not `wanted`, unless its service is `held` or an instance has it.
pub(super) async fn remove_unwanted(
    shared: &Rc<Shared>,
    wanted: &HashSet<Box<str>>,
    held: &HashSet<Box<str>>,
) -> Result<(), Arc<EngineError>> {
    for known in unwanted(shared, wanted, held).await? {
        // Another look may have come first.
        if !shared.is_free(&known.id) || shared.inventory.borrow().get(&known.id).is_none() {
            continue;
        }
        match remove_one(shared, &known).await {
            Ok(()) => {}
            Err(error) if error.is_away() => return Err(Arc::new(error)),
            Err(error) => {
                tracing::warn!(version = %known.version, container = %known.name, "no version wants it, and it cannot be removed: {error}");
            }
        }
    }
    Ok(())
}

/// The containers that [`remove_unwanted`] would remove.
pub(super) async fn unwanted(
    shared: &Rc<Shared>,
    wanted: &HashSet<Box<str>>,
    held: &HashSet<Box<str>>,
) -> Result<Vec<Known>, Arc<EngineError>> {
    if shared.is_followed.get() {
        shared.synced(Duration::ZERO).await?;
    } else {
        // Nobody has asked for a container yet, so perhaps nobody needs an engine: one look will do, on connections that end with it.
        let engine = Engine::new(shared.settings.host.as_deref());
        let client = engine.client().await?;
        let all = events::list(&client).await.map_err(|error| engine.error(error))?;
        shared.inventory.borrow_mut().replace(&all);
    }
    let inventory = shared.inventory.borrow();
    let is_wanted =
        |known: &&Known| wanted.contains(&known.version) || held.contains(labels::service_of(&known.version));
    Ok(inventory.all().filter(|known| !is_wanted(known) && shared.is_free(&known.id)).cloned().collect())
}

/// Stops and removes the containers of a version that no instance has.
pub(super) async fn discard(shared: &Rc<Shared>, version: &str) {
    let left: Vec<Known> = shared.inventory.borrow().of(version).cloned().collect();
    for known in left {
        if shared.is_free(&known.id)
            && let Err(error) = remove_one(shared, &known).await
        {
            tracing::warn!(version, container = %known.name, "its container is not removed: {error}");
        }
    }
}

async fn remove_one(shared: &Rc<Shared>, known: &Known) -> Result<(), EngineError> {
    // Not to be taken by a start meanwhile.
    let _claim = shared.claim(&known.id);
    remove(shared, known).await?;
    shared.inventory.borrow_mut().remove(&known.id);
    tracing::info!(version = %known.version, container = %known.name, "no version wants it: the container is removed");
    Ok(())
}

async fn remove(shared: &Shared, known: &Known) -> Result<(), EngineError> {
    let container = match Container::look(&shared.engine, &known.id).await {
        Ok(container) => container,
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error),
    };
    let grace = container.answer.config.as_ref().and_then(|config| u64::try_from(config.stop_timeout?).ok());
    let limit = grace.map_or(GRACE, Duration::from_secs).saturating_add(STOP_TIMEOUT);
    let client = shared.engine.client().await?.with_timeout(limit);
    let is_done = |result: Result<(), bollard::errors::Error>| match result.map_err(|error| shared.engine.error(error))
    {
        Err(error) if error.is_not_found() => Ok(()),
        done => done,
    };
    // A paused one is stopped too by engines that thaw it themselves; others are asked to.
    drop(client.unpause_container(&known.id).await);
    // With the signal and the grace of its making.
    is_done(client.stop_container(&known.id, None).await)?;
    // Not its nameless volumes: a file that is away for a moment is no order to throw data away.
    let options = RemoveContainerOptionsBuilder::new().force(true).build();
    is_done(client.remove_container(&known.id, Some(options)).await)
}
