//! Which names want a certificate.

use std::sync::Arc;
use std::time::SystemTime;

use crate::model::acme::{Acme, is_internal};
use crate::model::host::HostPattern;
use crate::model::snapshot::Snapshot;
use crate::tls::store::CertificateStore;

/// The time of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// When it begins.
    pub not_before: SystemTime,
    /// When it ends.
    pub not_after: SystemTime,
}

/// The names that want a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where from.
    pub acme: Acme,
    /// Each once, and what it has.
    pub names: Vec<(Box<str>, Option<Held>)>,
}

impl Wanted {
    /// Of what is in force. Names that have a certificate from elsewhere want none; nor do those that no public authority signs for.
    #[must_use]
    pub fn of(snapshot: &Snapshot, store: &CertificateStore) -> Arc<Self> {
        let acme = snapshot.settings.acme.clone();
        let mut names = Vec::new();
        for service in snapshot.services.iter().filter(|service| service.tls.acme) {
            let own = HostPattern::Exact(format!("{}.{}", service.name, snapshot.settings.base_domain).into());
            let own = Some(own).filter(|_| !is_internal(&snapshot.settings.base_domain));
            for host in own.into_iter().chain(service.routes.iter().map(|route| route.host.clone())) {
                let HostPattern::Exact(name) = host else { continue };
                if acme.is_public() && is_internal(&name) {
                    continue;
                }
                let there = store.covering(&name).and_then(|choices| choices.all().next());
                let held = |not_before, not_after| Some(Held { not_before, not_after });
                match there {
                    Some(own) if acme.keeps(&own.source) => names.push((name, held(own.not_before, own.not_after))),
                    Some(_) => {}
                    None => names.push((name, None)),
                }
            }
        }
        names.sort_by(|(one, _), (other, _)| one.cmp(other));
        names.dedup_by(|(one, _), (other, _)| one == other);
        Arc::new(Self { acme, names })
    }
}
