//! From a server name to a certificate.

use std::sync::Arc;
use std::time::SystemTime;

use crate::model::certificate::Certificate;
use crate::model::certificates::{Choices, Names};
use crate::model::host::HostPattern;
use crate::model::snapshot::Snapshot;

/// The certificates in force.
#[derive(Debug, Default)]
pub struct CertificateStore {
    /// What services' files name, by those of their hosts that it is for.
    named: Names,
    /// What is in folders, by the names in it.
    found: Arc<Names>,
    /// What services' files name, by hosts that it is not for.
    amiss: Names,
    /// For everybody else.
    fallback: Option<Arc<Certificate>>,
}

impl CertificateStore {
    /// What services' files name and what is in folders, and one for names that nobody has one for.
    #[must_use]
    pub fn of(snapshot: &Snapshot, fallback: Option<Arc<Certificate>>, now: SystemTime) -> Self {
        let mut store = Self { found: Arc::clone(&snapshot.certificates), fallback, ..Self::default() };
        for service in snapshot.services.iter().filter(|service| !service.tls.certificates.is_empty()) {
            let routed = service.routes.iter().map(|route| route.host.clone());
            for host in snapshot.own_hosts(service).chain(routed) {
                for certificate in &service.tls.certificates {
                    store.insert(&host, certificate, now);
                }
            }
        }
        store
    }

    /// Serves a service's host, or all hosts one label below it, with a pair that its file names. If the pair is not for that host,
    /// it is better than none.
    fn insert(&mut self, host: &HostPattern, certificate: &Arc<Certificate>, now: SystemTime) {
        let names = if certificate.covers(host) { &mut self.named } else { &mut self.amiss };
        names.add(host, certificate, now);
    }

    /// The certificates for a server name in lower case: those that are for this very name, then those for all names beside it, each
    /// time what its service names before what is in a folder; then what its service names although it is not for it.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Choices> {
        self.covering(name).or_else(|| self.amiss.exact(name)).or_else(|| self.amiss.below(name))
    }

    /// The same, of those alone that are for the name: a browser would be content.
    #[must_use]
    pub fn covering(&self, name: &str) -> Option<&Choices> {
        let exact = self.named.exact(name).or_else(|| self.found.exact(name));
        exact.or_else(|| self.named.below(name)).or_else(|| self.found.below(name))
    }

    /// For clients that name no server, or one that nobody has a certificate for.
    #[must_use]
    pub fn fallback(&self) -> Option<&Arc<Certificate>> {
        self.fallback.as_ref()
    }
}
