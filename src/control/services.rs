//! The services that there are.

use serde::Serialize;

use super::edit::{Desk, EditRefused};
use crate::config::home::Home;

/// One service, as its file has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServiceRow {
    /// Its name.
    pub name: String,
    /// Where it is reached: its default domain, and its own.
    pub hosts: Vec<String>,
    /// Its versions with their weights, by number.
    pub versions: Vec<VersionShare>,
    /// What is wrong with its file.
    pub error: Option<String>,
}

/// A version and its weight.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VersionShare {
    /// Its name.
    pub name: String,
    /// Percent.
    pub weight: f64,
}

/// All services that have a file, by name.
#[must_use]
pub fn list(home: &Home) -> Vec<ServiceRow> {
    home.names().into_iter().map(|name| row(&Desk { home, name })).collect()
}

fn row(desk: &Desk<'_>) -> ServiceRow {
    let own = format!("{}.{}", desk.name, desk.home.settings.base_domain);
    let mut row = ServiceRow { name: desk.name.to_string(), hosts: vec![own], versions: Vec::new(), error: None };
    match desk.read() {
        Ok(draft) => {
            row.hosts.extend(draft.service.routes.iter().map(|route| match route.path.is_empty() {
                true => route.host.to_string(),
                false => format!("{}{}", route.host, route.path),
            }));
            let shares = draft.weights();
            row.versions = shares
                .map(|(name, weight)| VersionShare { name: name.to_string(), weight: weight.percent() })
                .collect();
        }
        Err(EditRefused::Broken(errors)) => row.error = Some(errors),
        Err(error) => row.error = Some(error.to_string()),
    }
    row
}
