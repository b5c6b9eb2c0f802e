//! From a server name to a certificate.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use rustls::sign::CertifiedKey;

use crate::model::host::HostPattern;

/// The pairs in force, by the hosts of the services that named them: exact before wildcard.
#[derive(Debug, Default)]
pub struct CertificateStore {
    exact: FxHashMap<Box<str>, Arc<CertifiedKey>>,
    wildcard: FxHashMap<Box<str>, Arc<CertifiedKey>>,
}

impl CertificateStore {
    /// Serves a host (or all hosts one label below it) with this pair.
    pub fn insert(&mut self, host: &HostPattern, pair: Arc<CertifiedKey>) {
        match host {
            HostPattern::Exact(host) => self.exact.insert(host.clone(), pair),
            HostPattern::Wildcard(parent) => self.wildcard.insert(parent.clone(), pair),
        };
    }

    /// The pair for a server name in lower case.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        self.exact.get(name).or_else(|| self.wildcard.get(name.split_once('.')?.1))
    }
}
