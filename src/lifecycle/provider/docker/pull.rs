//! The image of a version: here already, or pulled.

use super::credentials::Keychain;
use super::engine::Engine;
use super::error::DockerError;
use super::image::{LocalImage, Reference, pull, resolve};

/// What the engine knows the image `reference` by, after pulling it where it is not here: its name where that stands for it, else its ID.
pub(super) async fn have(engine: &Engine, reference: &str) -> Result<String, DockerError> {
    let client = engine.client().await?;
    let wanted = Reference::parse(reference)?;
    let found = match resolve(&client, &wanted).await? {
        Some(found) => found,
        None => {
            tracing::info!(image = reference, "pulling the image");
            let credentials = match &wanted {
                Reference::Named(named) => {
                    let keychain = Keychain::load(|name| std::env::var_os(name))?;
                    keychain.credentials(&named.registry).await?
                }
                Reference::Id(_) => None,
            };
            pull(&client, &wanted, credentials.as_ref(), |_| {}).await?
        }
    };
    Ok(name(&client, &wanted, &found).await.unwrap_or_else(|| found.id.to_string()))
}

/// The name and tag of an image, if they stand for it now; `docker ps` shows them.
async fn name(client: &bollard::Docker, reference: &Reference, image: &LocalImage) -> Option<String> {
    let Reference::Named(named) = reference else { return None };
    let tagged = Reference::parse(&format!("{}:{}", named.name(), named.tag())).ok()?;
    let stands_for = resolve(client, &tagged).await.ok()??;
    (stands_for.id == image.id).then(|| tagged.to_string())
}
