//! The image of a version: here already, or pulled.

use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt as _;

use super::engine::Engine;
use super::engine_error::EngineError;

/// What the engine knows the image `reference` by, after pulling it where it is not here.
pub(super) async fn have(engine: &Engine, reference: &str) -> Result<String, EngineError> {
    if let Some(found) = find(engine, reference).await? {
        return Ok(found);
    }
    let client = engine.client().await?;
    tracing::info!(image = reference, "pulling the image");
    let options = CreateImageOptionsBuilder::new().from_image(reference).build();
    let mut progress = std::pin::pin!(client.create_image(Some(options), None, None));
    while let Some(step) = progress.next().await {
        step.map_err(|error| engine.error(error))?;
    }
    Ok(reference.to_owned())
}

async fn find(engine: &Engine, reference: &str) -> Result<Option<String>, EngineError> {
    let client = engine.client().await?;
    // The digest of what was built here is its ID.
    let id = reference.split_once('@').map(|(_, digest)| digest);
    for name in [Some(reference), id].into_iter().flatten() {
        match client.inspect_image(name).await.map_err(|error| engine.error(error)) {
            Ok(_) => return Ok(Some(name.to_owned())),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
