//! Containers that somebody else has made: found, started and stopped, and never created, changed or removed.

use std::rc::Rc;

use bollard::models::ContainerSummary;
use futures_util::future::try_join_all;
use strsim::jaro_winkler;

use super::error::DockerError;
use super::events;
use super::instance::{DockerInstance, Part};
use super::inventory::condition;
use super::shared::Shared;
use super::start::bring;
use crate::model::version::{Found, FoundSpec, Version};

/// Compose's labels.
const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const ONE_OFF: &str = "com.docker.compose.oneoff";
/// The fewest characters of an ID that name a container, lest a short name be taken for one.
const SHORTEST_ID: usize = 6;
/// How alike a name has to be to be shown, 0 to 1, and how many are.
const NEAR: (f64, usize) = (0.75, 3);

/// Has all containers run that are meant.
pub(super) async fn bring_up(
    shared: &Rc<Shared>,
    version: &Version,
    spec: &FoundSpec,
) -> Result<DockerInstance, DockerError> {
    shared.synced(version.start.timeout).await.map_err(DockerError::Away)?;
    let client = shared.engine.client().await?;
    let all = events::list(&client).await.map_err(|error| shared.engine.error(error))?;
    let meant = meant(&spec.which, &all);
    if meant.is_empty() {
        return Err(not_found(&spec.which, &all));
    }
    let each = meant.into_iter().map(async |summary| {
        let (id, name) = (summary.id.as_deref().unwrap_or_default(), name(summary));
        let claim = shared.claim(id);
        match bring(shared, name, id, condition(summary)).await? {
            Some((origin, container)) => {
                let part = Part::new(shared, claim, origin, &container, spec.port);
                Ok(part.with_way(&container, shared))
            }
            None => Err(DockerError::Removed { name: name.to_owned() }),
        }
    });
    let (parts, errors): (Vec<_>, Vec<_>) = try_join_all(each).await?.into_iter().unzip();
    let instance = DockerInstance::new(shared, version, parts, true);
    match errors.into_iter().flatten().next() {
        None => Ok(instance),
        Some(error) => {
            instance.undo(&version.stop).await;
            Err(error)
        }
    }
}

/// Whether a container is meant, or one of those that are.
pub(super) fn is_it(which: &Found, summary: &ContainerSummary) -> bool {
    match which {
        Found::Name(name) => has_name(summary, name) || has_id(summary, name),
        Found::Compose { project, service } => {
            let label = |name| summary.labels.as_ref().and_then(|labels| labels.get(name)).map(String::as_str);
            label(PROJECT) == Some(project)
                && label(SERVICE) == Some(service)
                && !label(ONE_OFF).is_some_and(|one_off| one_off.eq_ignore_ascii_case("true"))
        }
    }
}

/// The containers that are meant: of a name and an ID that are alike the name counts, as for Docker.
fn meant<'a>(which: &Found, all: &'a [ContainerSummary]) -> Vec<&'a ContainerSummary> {
    if let Found::Name(name) = which {
        let by_name = all.iter().find(|summary| has_name(summary, name));
        let mut by_id = all.iter().filter(|summary| has_id(summary, name));
        let only = |first: &'a ContainerSummary, second: Option<_>| second.is_none().then_some(first);
        return by_name.or_else(|| by_id.next().and_then(|first| only(first, by_id.next()))).into_iter().collect();
    }
    let mut found: Vec<_> = all.iter().filter(|summary| is_it(which, summary)).collect();
    found.sort_by_key(|summary| name(summary));
    found
}

fn not_found(which: &Found, all: &[ContainerSummary]) -> DockerError {
    let (what, names): (_, Vec<String>) = match which {
        Found::Name(name) => (
            format!("there is no container `{name}`: `docker ps -a` lists those there are"),
            all.iter().map(|summary| self::name(summary).to_owned()).collect(),
        ),
        Found::Compose { project, service } => (
            format!(
                "Compose's project `{project}` has no container of the service `{service}`: `docker compose -p {project} create {service}` makes it"
            ),
            all.iter()
                .filter_map(|summary| {
                    let labels = summary.labels.as_ref()?;
                    Some(format!("{}/{}", labels.get(PROJECT)?, labels.get(SERVICE)?))
                })
                .collect(),
        ),
    };
    DockerError::NotFound { what, near: near(&which.to_string(), names) }
}

/// The names that are most like one that is not there.
fn near(wanted: &str, mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names.dedup();
    let likeness = |name: &String| jaro_winkler(wanted, name);
    names.retain(|name| likeness(name) >= NEAR.0);
    names.sort_by(|one, other| likeness(other).total_cmp(&likeness(one)));
    names.truncate(NEAR.1);
    names
}

fn has_name(summary: &ContainerSummary, name: &str) -> bool {
    summary.names.iter().flatten().any(|own| own.trim_start_matches('/') == name)
}

fn has_id(summary: &ContainerSummary, beginning: &str) -> bool {
    let is_id = beginning.len() >= SHORTEST_ID && beginning.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id && summary.id.as_ref().is_some_and(|id| id.starts_with(beginning))
}

fn name(summary: &ContainerSummary) -> &str {
    summary.names.iter().flatten().next().map_or("", |name| name.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(id: &str, name: &str, labels: &[(&str, &str)]) -> ContainerSummary {
        ContainerSummary {
            id: Some(id.to_owned()),
            names: Some(vec![format!("/{name}")]),
            labels: Some(labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()),
            ..ContainerSummary::default()
        }
    }

    #[test]
    fn a_name_counts_before_an_id_and_an_id_that_two_have_names_nobody() {
        let all = [summary("abcdef01", "db", &[]), summary("abcdef99", "abcdef", &[]), summary("abcde00", "web", &[])];
        let ids = |name: &str| {
            let found = meant(&Found::Name(name.into()), &all);
            found.iter().filter_map(|summary| summary.id.as_deref()).collect::<Vec<_>>()
        };
        assert_eq!(ids("db"), ["abcdef01"]);
        assert_eq!(ids("abcdef"), ["abcdef99"]);
        assert_eq!(ids("abcdef0"), ["abcdef01"]);
        assert!(ids("abcde").is_empty(), "too short for an ID");
        let error = not_found(&Found::Name("webb".into()), &all).to_string();
        assert!(error.contains("no container `webb`") && error.contains("there is `web`"), "{error}");
    }

    #[test]
    fn all_containers_of_a_service_of_compose_are_meant_but_no_one_off() {
        let labels = |service| [(PROJECT, "shop"), (SERVICE, service), (ONE_OFF, "False")];
        let all = [
            summary("b", "shop-web-2", &labels("web")),
            summary("a", "shop-web-1", &labels("web")),
            summary("c", "shop-db-1", &labels("db")),
            summary("d", "shop-web-run-1", &[(PROJECT, "shop"), (SERVICE, "web"), (ONE_OFF, "True")]),
        ];
        let which = |service: &str| Found::Compose { project: "shop".into(), service: service.into() };
        let found: Vec<&str> = meant(&which("web"), &all).into_iter().map(name).collect();
        assert_eq!(found, ["shop-web-1", "shop-web-2"]);
        let error = not_found(&which("wep"), &all).to_string();
        assert!(error.contains("no container of the service `wep`") && error.contains("`shop/web`"), "{error}");
    }
}
