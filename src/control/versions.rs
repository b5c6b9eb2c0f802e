//! The versions of a service: what the file says of them, and what the server does.

use serde::Serialize;

use super::building;
use super::edit::{Desk, EditRefused, names};
use super::status::{InstanceStatus, ServiceStatus};
use crate::model::version::{Backend, Preview, Version};

/// One version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VersionRow {
    /// Its name.
    pub name: String,
    /// `building`, or as the server says; `unknown` where none runs.
    pub state: String,
    /// Why it is in that state, where the server says so; of several lines where it failed.
    pub why: Option<String>,
    /// Percent.
    pub weight: f64,
    /// Its running copies.
    pub instances: Vec<InstanceStatus>,
    /// What it is made of: the image, the command, the URLs, the container.
    pub from: String,
    /// When it was made, RFC 3339, where that is known: of containers.
    pub created: Option<String>,
    /// What its file says about it.
    pub remark: Option<String>,
    /// Where it is seen, also without weight.
    pub preview: Option<String>,
}

/// The versions of a service, by number, those that are being made last. `status` is what the server says of it, if one runs; `created` is
/// asked when a version was made.
///
/// # Errors
/// There is no such service, or its file has errors.
pub fn list(
    desk: &Desk<'_>,
    status: Option<&ServiceStatus>,
    created: impl Fn(&str) -> Option<String>,
) -> Result<Vec<VersionRow>, EditRefused> {
    let building = building::of(&desk.home.services, &desk.name);
    let mut rows = Vec::new();
    if desk.file().exists() {
        let draft = desk.read()?;
        for (index, version) in draft.service.versions.iter().enumerate() {
            let seen = status.and_then(|status| status.versions.iter().find(|seen| seen.name == version.name.as_str()));
            rows.push(VersionRow {
                name: version.name.to_string(),
                state: seen.map_or_else(|| "unknown".to_owned(), |seen| seen.state.clone()),
                why: seen.and_then(|seen| seen.why.clone()),
                weight: draft.service.weights.get(index).percent(),
                instances: seen.map(|seen| seen.instances.clone()).unwrap_or_default(),
                from: from(&version.backend),
                created: created(version.name.as_str()),
                remark: version.remark.as_deref().map(str::to_owned),
                preview: preview(desk, version),
            });
        }
    } else if building.is_empty() {
        return Err(EditRefused::no_service(desk.home, desk.name.as_str()));
    }
    for (version, building) in building {
        if rows.iter().any(|row| row.name == version.as_str()) {
            continue;
        }
        rows.push(VersionRow {
            name: version.to_string(),
            state: "building".to_owned(),
            why: None,
            weight: 0.0,
            instances: Vec::new(),
            from: building.what,
            created: Some(building.since).filter(|since| !since.is_empty()),
            remark: None,
            preview: None,
        });
    }
    Ok(rows)
}

/// What a version is made of, in a few words.
#[must_use]
pub fn from(backend: &Backend) -> String {
    match backend {
        Backend::Urls(urls) => names(urls.iter().map(|url| format!("http://{url}"))),
        Backend::Process(spec) => spec.command.join(" "),
        Backend::Hook(spec) => format!("hook {}", spec.start.join(" ")),
        Backend::Container(spec) => spec.image.to_string(),
        Backend::Found(spec) => format!("container {}", spec.which),
    }
}

fn preview(desk: &Desk<'_>, version: &Version) -> Option<String> {
    let settings = &desk.home.settings;
    let (scheme, address) = match (settings.http.first(), settings.https.first()) {
        (Some(address), _) => ("http", address),
        (None, Some(address)) => ("https", address),
        (None, None) => return None,
    };
    let port = match (scheme, address.port()) {
        ("http", 80) | ("https", 443) | (_, 0) => String::new(),
        (_, port) => format!(":{port}"),
    };
    (version.preview != Preview::Off).then(|| format!("{scheme}://{}.{}{port}", version.name, settings.base_domain))
}
