//! Containers of ours that no version wants any more.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::RemoveContainerOptionsBuilder;

use super::engine_error::EngineError;
use super::inventory::Known;
use super::shared::Shared;
use super::{events, labels};

/// Stops and removes the containers of ours whose version is not `wanted`, unless its service is `held` or an instance has it.
pub(super) async fn remove_unwanted(
    shared: &Rc<Shared>,
    wanted: &HashSet<Box<str>>,
    held: &HashSet<Box<str>>,
) -> Result<(), Arc<EngineError>> {
    if shared.is_followed.get() {
        shared.synced(Duration::ZERO).await?;
    } else {
        // Nobody has asked for a container yet, so perhaps nobody needs an engine: one look will do.
        let client = shared.engine.client().await?;
        let all = events::list(&client).await.map_err(|error| shared.engine.error(error))?;
        shared.inventory.borrow_mut().replace(&all);
    }
    let unwanted: Vec<Known> = {
        let inventory = shared.inventory.borrow();
        let is_wanted =
            |known: &&Known| wanted.contains(&known.version) || held.contains(labels::service_of(&known.version));
        inventory.all().filter(|known| !is_wanted(known) && shared.is_free(&known.id)).cloned().collect()
    };
    for known in unwanted {
        if !shared.is_free(&known.id) {
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
    let client = shared.engine.client().await?;
    let is_done = |result: Result<(), bollard::errors::Error>| match result.map_err(|error| shared.engine.error(error))
    {
        Err(error) if error.is_not_found() => Ok(()),
        done => done,
    };
    // A paused one is stopped too by engines that thaw it themselves; others are asked to.
    drop(client.unpause_container(&known.id).await);
    // With the signal and the grace of its making.
    is_done(client.stop_container(&known.id, None).await)?;
    let options = RemoveContainerOptionsBuilder::new().v(true).force(true).build();
    is_done(client.remove_container(&known.id, Some(options)).await)
}
