//! What is going on, read off [`Live`] for `status` and for the metrics.

mod version;

use std::time::SystemTime;

use super::status::{Running, ServiceStatus, Status};
use crate::config::compile::Fingerprint;
use crate::live::{Live, ServiceState};
use crate::model::route::Route;
use crate::model::schedule::Schedule;
use crate::model::service::Service;
use crate::model::settings::Settings;
use crate::telemetry::metrics::ServiceReading;
use crate::telemetry::timestamp::Timestamp;

/// What of [`Status`] can be read off [`Live`]; the caller adds the rest.
#[must_use]
pub fn status(live: &Live, started_at: SystemTime) -> Status {
    let settings = &live.snapshot.settings;
    Status {
        tidegate: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_at: Timestamp(started_at).to_string(),
        uptime: started_at.elapsed().unwrap_or_default().as_secs(),
        generation: live.generation,
        services: each(live).map(|(service, state)| service_status(service, state, settings)).collect(),
        ..Status::default()
    }
}

/// What the versions are that run, or have; not those that never came up.
#[must_use]
pub fn identities(live: &Live) -> Running {
    let versions = each(live).flat_map(|(service, state)| service.versions.iter().zip(&state.units));
    let ran = versions.filter(|(_, unit)| !unit.never_came_up());
    Running {
        tidegate: env!("CARGO_PKG_VERSION").to_owned(),
        versions: ran.map(|(v, _)| (v.name.to_string(), Fingerprint::of(&v.backend))).collect(),
    }
}

/// The services for the metrics.
#[must_use]
pub fn services(live: &Live) -> Vec<ServiceReading> {
    each(live)
        .map(|(service, state)| ServiceReading {
            name: service.name.to_string(),
            own: state.own.total(),
            versions: state
                .units
                .iter()
                .enumerate()
                .map(|(index, unit)| version::reading(service, index, unit))
                .collect(),
        })
        .collect()
}

fn each(live: &Live) -> impl Iterator<Item = (&Service, &ServiceState)> {
    live.snapshot.services.iter().map(AsRef::as_ref).zip(live.services.iter().map(AsRef::as_ref))
}

fn service_status(service: &Service, state: &ServiceState, settings: &Settings) -> ServiceStatus {
    let own = format!("{}.{}", service.name, settings.base_domain);
    ServiceStatus {
        name: service.name.to_string(),
        hosts: std::iter::once(own).chain(service.routes.iter().map(host)).collect(),
        note: note(service),
        requests: state.own.total().requests(),
        versions: state.units.iter().enumerate().map(|(index, unit)| version::status(service, index, unit)).collect(),
    }
}

fn host(route: &Route) -> String {
    if route.path.is_empty() { route.host.to_string() } else { format!("{}{}", route.host, route.path) }
}

fn note(service: &Service) -> Option<String> {
    if service.policy.maintenance.is_some() {
        Some("maintenance".to_owned())
    } else if let Some(redirect) = &service.policy.redirect {
        Some(format!("redirects to {}", redirect.to))
    } else if service.schedule == Schedule::Nobody {
        Some("all weights are 0".to_owned())
    } else {
        None
    }
}
