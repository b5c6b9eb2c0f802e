//! From a snapshot to a [`Live`]: running state is carried over where nothing that concerns it has changed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::lifecycle::units::{Units, Wish};
use crate::live::{Live, ServiceState};
use crate::model::certificate::Certificate;
use crate::model::service::Service;
use crate::model::snapshot::Snapshot;
use crate::model::tls::Fallback;
use crate::telemetry::access::AccessLog;
use crate::telemetry::counters::RequestCounters;
use crate::tls::self_signed;
use crate::tls::store::CertificateStore;

/// The next `Live`. Units of new versions are started; those of versions that are gone run on until [`retire`].
pub fn build(
    snapshot: Arc<Snapshot>,
    old: Option<&Live>,
    units: &mut Units,
    threads: usize,
    access: Option<Arc<AccessLog>>,
) -> Live {
    let drain = snapshot.settings.drain.timeout;
    let services = snapshot.services.iter().enumerate();
    let services = services.map(|service| carry_over(service, old, units, threads, drain)).collect();
    let certificates = certificates(&snapshot, old);
    Live::new(old.map_or(1, |old| old.generation + 1), snapshot, services, certificates, access)
}

/// Lets go of the units that `live`, which is in force by now, does not know, and `old` did.
pub fn retire(old: &Live, live: &Live, units: &mut Units) {
    let same = |(index, service): &(usize, &Arc<Service>)| {
        live.snapshot.services.get(*index).is_some_and(|now| Arc::ptr_eq(now, service))
    };
    let changed = old.snapshot.services.iter().enumerate().filter(|service| !same(service));
    let names = changed.flat_map(|(_, service)| &service.versions).map(|version| version.name.as_str());
    let gone = names.filter(|name| live.version(name).is_none());
    units.let_go_of(gone, live.snapshot.settings.drain.timeout);
}

fn carry_over(
    (index, service): (usize, &Arc<Service>),
    old: Option<&Live>,
    units: &mut Units,
    threads: usize,
    drain: Duration,
) -> Arc<ServiceState> {
    let before = old.and_then(|old| {
        // Mostly it is where it was, which spares a search among many.
        let same = old.snapshot.services.get(index).is_some_and(|same| Arc::ptr_eq(same, service));
        let index = if same { index } else { old.snapshot.service_index(service.name.as_str())? };
        Some((&old.snapshot.services[index], &old.services[index]))
    });
    if let Some((same, state)) = before
        && Arc::ptr_eq(same, service)
    {
        return Arc::clone(state);
    }
    let cursor = match before {
        Some((before, state)) if before.splits_like(service) => Arc::clone(&state.cursor),
        _ => Arc::default(),
    };
    let own = before.map_or_else(|| Arc::new(RequestCounters::new(threads)), |(_, state)| Arc::clone(&state.own));
    let wish = |(index, version)| Wish {
        version,
        has_traffic: service.has_traffic(index),
        // At the start of the server, what may sleep does until somebody comes; what is new is tried out, so that its faults show.
        try_out: old.is_some(),
        drain,
    };
    let units = service.versions.iter().enumerate().map(|version| units.of(wish(version))).collect();
    let asking = match before {
        Some((before, state)) if before.tls.client == service.tls.client => Arc::clone(&state.asking),
        _ => Arc::default(),
    };
    Arc::new(ServiceState { cursor, units, asking, own })
}

fn certificates(snapshot: &Snapshot, old: Option<&Live>) -> CertificateStore {
    let fallback = old.and_then(|old| old.certificates.fallback().cloned());
    let fallback = match snapshot.settings.fallback {
        Fallback::Refuse => None,
        // Once made it stays, also where the base domain changes: it is for nobody anyway.
        Fallback::SelfSigned => fallback.or_else(|| self_signed(&snapshot.settings.base_domain)),
    };
    CertificateStore::of(snapshot, fallback, SystemTime::now())
}

fn self_signed(base_domain: &str) -> Option<Arc<Certificate>> {
    self_signed::generate(base_domain).map(Arc::new).inspect_err(|error| tracing::error!("{error}")).ok()
}
