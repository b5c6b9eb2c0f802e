//! Images: found on the engine, pulled from registries, pinned so that a version stays what it was.

mod error;
mod progress;

use std::pin::pin;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error as EngineError;
use bollard::models::{CreateImageInfo, ImageInspect};
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use http::HeaderValue;

use crate::model::image::{Digest, Named};
pub use crate::model::image::{Reference, ReferenceError};

pub use self::error::{ImageError, PullError};
use self::progress::Layers;
pub use self::progress::Progress;
use super::credentials::Credentials;

/// How long a pull may be silent. The engine reports every layer's bytes several times a second, and is silent while it unpacks one.
const SILENCE: Duration = Duration::from_secs(10 * 60);

/// An image that is on the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalImage {
    /// What the engine knows it by.
    pub id: Digest,
    /// What the registry knows it by, under the name that was asked for; `None` for one that was built here.
    pub digest: Option<Digest>,
    /// The TCP ports that it says it listens on (`EXPOSE`), sorted.
    pub ports: Box<[u16]>,
    /// When it was made, as RFC 3339; `None` where it does not say.
    pub created: Option<Box<str>>,
}

/// Looks for an image on the engine; `None` if it is not there.
///
/// A digest is first taken for the registry's, under the reference's name, then for the ID of an image that was built here.
///
/// # Errors
/// When the engine cannot be asked.
pub async fn resolve(docker: &Docker, reference: &Reference) -> Result<Option<LocalImage>, ImageError> {
    match reference {
        Reference::Id(id) => inspect(docker, id.as_str(), None).await,
        Reference::Named(named) => match &named.digest {
            None => inspect(docker, &format!("{}:{}", named.full_name(), named.tag()), Some(named)).await,
            Some(digest) => {
                let by_digest = format!("{}@{digest}", named.full_name());
                match inspect(docker, &by_digest, Some(named)).await? {
                    Some(found) => Ok(Some(LocalImage { digest: Some(digest.clone()), ..found })),
                    None => inspect(docker, digest.as_str(), Some(named)).await,
                }
            }
        },
    }
}

/// Pulls an image: by its digest if it has one, else by its tag. `progress` is told what has come.
///
/// # Errors
/// Why it is not there, with the cure.
pub async fn pull(
    docker: &Docker,
    reference: &Reference,
    credentials: Option<&Credentials>,
    mut progress: impl FnMut(Progress),
) -> Result<LocalImage, PullError> {
    let Reference::Named(named) = reference else { return Err(PullError::Id(reference.to_string())) };
    let wanted = named.digest.as_ref().map_or(named.tag(), Digest::as_str);
    let options = CreateImageOptionsBuilder::default().from_image(&named.full_name()).tag(wanted).build();
    let docker = with_header(docker, "X-Registry-Auth", credentials.map(Credentials::header)).with_timeout(SILENCE);
    let mut events = pin!(docker.create_image(Some(options), None, None));
    let mut layers = Layers::default();
    loop {
        let event: CreateImageInfo = match tokio::time::timeout(SILENCE, events.next()).await {
            Err(_) => {
                return Err(PullError::Silent { image: reference.to_string(), registry: named.registry.to_string() });
            }
            Ok(None) => break,
            Ok(Some(event)) => event.map_err(|source| PullError::of(named, credentials.is_some(), source))?,
        };
        if let Some(now) = layers.take(&event) {
            progress(now);
        }
    }
    let found = resolve(&docker, reference).await.map_err(PullError::Image)?;
    found.ok_or_else(|| PullError::Vanished(reference.to_string()))
}

/// The image as a version records it: `name:tag@sha256:...`, with the registry's digest, or the ID of one that was built here.
#[must_use]
pub fn pin(reference: &Reference, image: &LocalImage) -> Reference {
    match reference {
        Reference::Id(_) => Reference::Id(image.id.clone()),
        Reference::Named(named) => {
            let digest = image.digest.clone().unwrap_or_else(|| image.id.clone());
            let tag = named.tag.clone().or_else(|| named.digest.is_none().then(|| named.tag().into()));
            Reference::Named(Named { tag, digest: Some(digest), ..named.clone() })
        }
    }
}

/// The engine's client with a header on each request. bollard itself writes credentials in base64's other alphabet, which engines do not
/// understand where it differs (`?`, `>` and `~` in a password).
pub(crate) fn with_header(docker: &Docker, name: &'static str, value: Option<String>) -> Docker {
    let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) else { return docker.clone() };
    let mut value = value;
    value.set_sensitive(true);
    docker.clone().with_request_modifier(move |mut request| {
        request.headers_mut().insert(name, value.clone());
        request
    })
}

async fn inspect(docker: &Docker, name: &str, of: Option<&Named>) -> Result<Option<LocalImage>, ImageError> {
    let found = match docker.inspect_image(name).await {
        Ok(found) => found,
        Err(EngineError::DockerResponseServerError { status_code: 404, .. }) => return Ok(None),
        Err(source) => return Err(ImageError::Engine { image: name.to_owned(), source: Box::new(source) }),
    };
    let id = found.id.as_deref().and_then(Digest::new).ok_or_else(|| ImageError::NoId(name.to_owned()))?;
    let digest = of.and_then(|named| repo_digest(&found, named));
    let mut ports: Vec<u16> = found
        .config
        .iter()
        .flat_map(|config| config.exposed_ports.iter().flatten())
        .filter_map(|port| port.strip_suffix("/tcp").unwrap_or(port).parse().ok())
        .collect();
    ports.sort_unstable();
    Ok(Some(LocalImage { id, digest, ports: ports.into(), created: found.created.map(String::into_boxed_str) }))
}

/// The digest under which the registry of this name has it.
fn repo_digest(image: &ImageInspect, named: &Named) -> Option<Digest> {
    image.repo_digests.iter().flatten().find_map(|text| match Reference::parse(text) {
        Ok(Reference::Named(other)) if (&other.registry, &other.repository) == (&named.registry, &named.repository) => {
            other.digest
        }
        _ => None,
    })
}
