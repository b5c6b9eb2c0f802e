//! What the engine says of a tidegate's containers, without its server: they are known by their labels.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptionsBuilder;

use crate::lifecycle::provider::docker::engine::Engine;
use crate::lifecycle::provider::docker::engine_error::EngineError;
use crate::lifecycle::provider::docker::labels;
use crate::model::version::Found;
use crate::telemetry::timestamp::Timestamp;

/// Compose's labels.
const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";

/// A container that was made for a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The engine's name for it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The version, as its label says.
    pub version: String,
    /// When it was made, RFC 3339.
    pub created: Option<String>,
    /// Whether it runs.
    pub is_running: bool,
}

/// The containers of a service's versions, by version and name.
///
/// # Errors
/// The engine cannot be asked.
pub async fn of_service(engine: &Engine, owner: &str, service: &str) -> Result<Vec<Made>, EngineError> {
    let wanted = [format!("{}={owner}", labels::OWNER), format!("{}={service}", labels::SERVICE)];
    list(engine, &wanted).await
}

/// The containers that are meant by a name or by Compose's labels.
///
/// # Errors
/// The engine cannot be asked.
pub async fn found(engine: &Engine, which: &Found) -> Result<Vec<Made>, EngineError> {
    match which {
        Found::Compose { project, service } => {
            list(engine, &[format!("{PROJECT}={project}"), format!("{SERVICE}={service}")]).await
        }
        Found::Name(name) => {
            let client = engine.client().await?;
            match client.inspect_container(name, None).await {
                Ok(container) => Ok(vec![Made {
                    id: container.id.unwrap_or_else(|| name.to_string()),
                    name: name.to_string(),
                    version: String::new(),
                    created: None,
                    is_running: container.state.and_then(|state| state.running).unwrap_or(false),
                }]),
                Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(Vec::new()),
                Err(error) => Err(engine.error(error)),
            }
        }
    }
}

async fn list(engine: &Engine, wanted: &[String]) -> Result<Vec<Made>, EngineError> {
    let client: Docker = engine.client().await?;
    let filters = HashMap::from([("label", wanted.iter().map(String::as_str).collect::<Vec<_>>())]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let all = client.list_containers(Some(options)).await.map_err(|error| engine.error(error))?;
    let mut all: Vec<_> = all.into_iter().filter_map(made).collect();
    all.sort_by(|a, b| (&a.version, &a.name).cmp(&(&b.version, &b.name)));
    Ok(all)
}

fn made(summary: ContainerSummary) -> Option<Made> {
    let version = summary.labels.as_ref().and_then(|labels| labels.get(labels::VERSION)).cloned();
    let name = summary.names.iter().flatten().next().map(|name| name.trim_start_matches('/').to_owned());
    let since = summary.created.and_then(|seconds| u64::try_from(seconds).ok());
    let id = summary.id?;
    Some(Made {
        name: name.unwrap_or_else(|| id.chars().take(12).collect()),
        id,
        version: version.unwrap_or_default(),
        created: since
            .map(|seconds| Timestamp(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).to_string()),
        is_running: summary.state.is_some_and(|state| state.to_string() == "running"),
    })
}
