//! From a snapshot to a [`Live`]: running state is carried over where nothing that concerns it has changed.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::lifecycle::units::Units;
use crate::live::{Live, ServiceState};
use crate::model::service::Service;
use crate::model::snapshot::Snapshot;
use crate::telemetry::access::AccessLog;
use crate::telemetry::counters::RequestCounters;
use crate::tls::store::CertificateStore;

/// The next `Live`. Units of new versions are started; those of versions that are gone run on until [`retire`].
pub fn build(
    snapshot: Arc<Snapshot>,
    old: Option<&Live>,
    units: &mut Units,
    threads: usize,
    access: Option<Arc<AccessLog>>,
) -> Live {
    let services = snapshot.services.iter().map(|service| carry_over(service, old, units, threads)).collect();
    let certificates = certificates(&snapshot);
    Live::new(old.map_or(1, |old| old.generation + 1), snapshot, services, certificates, access)
}

/// Lets go of the units that `live`, which is in force by now, does not know.
pub fn retire(live: &Live, units: &mut Units) {
    let names: HashSet<&str> =
        live.snapshot.services.iter().flat_map(|service| &service.versions).map(|v| v.name.as_str()).collect();
    units.keep_only(&names, live.snapshot.settings.drain.timeout);
}

fn carry_over(service: &Arc<Service>, old: Option<&Live>, units: &mut Units, threads: usize) -> Arc<ServiceState> {
    let before = old.and_then(|old| {
        let index = old.snapshot.service_index(service.name.as_str())?;
        Some((&old.snapshot.services[index], &old.services[index]))
    });
    if let Some((same, state)) = before
        && Arc::ptr_eq(same, service)
    {
        return Arc::clone(state);
    }
    let cursor = match before {
        Some((before, state)) if before.splits_like(service) => Arc::clone(&state.cursor),
        _ => Arc::new(AtomicU64::new(0)),
    };
    let own = before.map_or_else(|| Arc::new(RequestCounters::new(threads)), |(_, state)| Arc::clone(&state.own));
    Arc::new(ServiceState { cursor, units: service.versions.iter().map(|version| units.of(version)).collect(), own })
}

fn certificates(snapshot: &Snapshot) -> CertificateStore {
    let mut store = CertificateStore::default();
    for service in &snapshot.services {
        if let Some(pair) = &service.certificate {
            let routed = service.routes.iter().map(|route| route.host.clone());
            for host in snapshot.own_hosts(service).chain(routed) {
                store.insert(&host, Arc::clone(pair));
            }
        }
    }
    store
}
