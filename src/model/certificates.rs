//! Certificates by the names that they are for.

use std::sync::Arc;
use std::time::SystemTime;

use rustc_hash::FxHashMap;
use rustls::SignatureScheme;

use super::certificate::{Certificate, KeyKind};
use super::host::HostPattern;

/// The certificates for one name: one with an elliptic curve and one with RSA, as far as there are.
#[derive(Debug, Clone, Default)]
pub struct Choices {
    elliptic: Option<Arc<Certificate>>,
    rsa: Option<Arc<Certificate>>,
}

impl Choices {
    fn add(&mut self, certificate: &Arc<Certificate>, now: SystemTime) {
        let place = match certificate.key {
            KeyKind::Ecdsa | KeyKind::Ed25519 => &mut self.elliptic,
            KeyKind::Rsa => &mut self.rsa,
        };
        if place.as_ref().is_none_or(|there| certificate.is_better_than(there, now)) {
            *place = Some(Arc::clone(certificate));
        }
    }

    /// The certificates, the one that is preferred first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Certificate>> {
        self.elliptic.iter().chain(&self.rsa)
    }

    /// The first that a client which takes these signatures can check; the first of all where none is.
    #[must_use]
    pub fn pick(&self, schemes: &[SignatureScheme]) -> Option<&Arc<Certificate>> {
        self.all().find(|it| it.pair.key.choose_scheme(schemes).is_some()).or_else(|| self.all().next())
    }
}

/// Certificates by name: exact before wildcard.
#[derive(Debug, Clone, Default)]
pub struct Names {
    all: Box<[Arc<Certificate>]>,
    exact: FxHashMap<Box<str>, Choices>,
    wildcard: FxHashMap<Box<str>, Choices>,
}

impl Names {
    /// Each under the names that are written in it.
    #[must_use]
    pub fn of(certificates: &[Arc<Certificate>], now: SystemTime) -> Self {
        let mut names = Self { all: certificates.into(), ..Self::default() };
        for certificate in certificates {
            for name in &certificate.names {
                names.add(name, certificate, now);
            }
        }
        names
    }

    /// All that it was made of.
    #[must_use]
    pub fn all(&self) -> &[Arc<Certificate>] {
        &self.all
    }

    /// Adds one under a name, whatever is written in it.
    pub fn add(&mut self, host: &HostPattern, certificate: &Arc<Certificate>, now: SystemTime) {
        let (map, name) = match host {
            HostPattern::Exact(name) => (&mut self.exact, name),
            HostPattern::Wildcard(parent) => (&mut self.wildcard, parent),
        };
        match map.get_mut(name) {
            Some(choices) => choices.add(certificate, now),
            None => map.entry(name.clone()).or_default().add(certificate, now),
        }
    }

    /// Whether there is one for a host, or for all hosts of a pattern.
    #[must_use]
    pub fn covers(&self, host: &HostPattern) -> bool {
        match host {
            HostPattern::Exact(name) => self.exact.contains_key(name) || self.below(name).is_some(),
            HostPattern::Wildcard(parent) => self.wildcard.contains_key(parent),
        }
    }

    /// Those for this very name.
    #[must_use]
    pub fn exact(&self, name: &str) -> Option<&Choices> {
        self.exact.get(name)
    }

    /// Those for all names beside this one.
    #[must_use]
    pub fn below(&self, name: &str) -> Option<&Choices> {
        self.wildcard.get(name.split_once('.')?.1)
    }
}
