//! What is going on, read off [`Live`] for `status` and for the metrics.

use std::time::SystemTime;

use super::status::{InstanceStatus, Running, ServiceStatus, Status, VersionStatus};
use crate::config::compile::Fingerprint;
use crate::lifecycle::unit::{State, Unit};
use crate::live::{Live, ServiceState};
use crate::model::route::Route;
use crate::model::schedule::Schedule;
use crate::model::service::Service;
use crate::model::settings::Settings;
use crate::telemetry::counters::Class;
use crate::telemetry::metrics::{ServiceReading, VersionReading};
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

/// What the versions are that run.
#[must_use]
pub fn identities(live: &Live) -> Running {
    let versions = live.snapshot.services.iter().flat_map(|service| &service.versions);
    Running {
        tidegate: env!("CARGO_PKG_VERSION").to_owned(),
        versions: versions.map(|v| (v.name.to_string(), Fingerprint::of(&v.backend))).collect(),
    }
}

/// The services for the metrics.
#[must_use]
pub fn services(live: &Live) -> Vec<ServiceReading> {
    each(live)
        .map(|(service, state)| ServiceReading {
            name: service.name.to_string(),
            own: state.own.total(),
            versions: service
                .versions
                .iter()
                .zip(&state.units)
                .enumerate()
                .map(|(index, (version, unit))| VersionReading {
                    name: version.name.to_string(),
                    weight: service.weights.get(index).percent(),
                    totals: unit.counters().total(),
                    in_flight: unit.in_flight(),
                    instances: instances_by_state(unit),
                })
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
        versions: service
            .versions
            .iter()
            .zip(&state.units)
            .enumerate()
            .map(|(index, (version, unit))| {
                let totals = unit.counters().total();
                let (state, why) = (unit.state(), why(unit));
                VersionStatus {
                    name: version.name.to_string(),
                    weight: service.weights.get(index).percent(),
                    state: state.as_str().to_owned(),
                    why,
                    instances: instances(unit),
                    in_flight: unit.in_flight(),
                    requests: totals.requests(),
                    errors_5xx: totals.class(Class::ServerError),
                    remark: version.remark.as_deref().map(str::to_owned),
                }
            })
            .collect(),
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

fn why(unit: &Unit) -> Option<String> {
    match unit.state() {
        State::Failed { why, retry_in } => Some(format!("{why}; tried again every {:.1} s", retry_in.as_secs_f64())),
        State::Starting if unit.waiting() > 0 => Some(format!("{} requests wait for it", unit.waiting())),
        _ => None,
    }
}

fn instances(unit: &Unit) -> Vec<InstanceStatus> {
    unit.instances()
        .iter()
        .map(|instance| InstanceStatus {
            address: instance.endpoint().to_string(),
            state: if instance.is_out() { "out" } else { "normal" }.to_owned(),
            in_flight: u64::from(instance.leases()),
        })
        .collect()
}

fn instances_by_state(unit: &Unit) -> Vec<(&'static str, u64)> {
    let instances = unit.instances();
    let out = instances.iter().filter(|instance| instance.is_out()).count() as u64;
    vec![("normal", instances.len() as u64 - out), ("out", out)]
}
