//! What a service asks of TLS.

use std::sync::Arc;

use http::HeaderValue;
use rustls_pki_types::CertificateDer;

use super::certificate::Certificate;

/// What clients that name no server, or one that nobody has a certificate for, get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fallback {
    /// An alert: the handshake fails.
    #[default]
    Refuse,
    /// A certificate that tidegate has made itself, which browsers warn of.
    SelfSigned,
}

/// What clients have to show.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientAuth {
    /// Who signs their certificates.
    pub authorities: Box<[CertificateDer<'static>]>,
    /// Whether those without one are refused.
    pub required: bool,
}

/// What a service asks of TLS.
#[derive(Debug, Clone)]
pub struct ServiceTls {
    /// The pairs that its file names.
    pub certificates: Box<[Arc<Certificate>]>,
    /// Whether certificates for its hosts are had by asking (ACME).
    pub acme: bool,
    /// Whether plain HTTP is answered by a redirect, where HTTPS is to be had. On by default.
    pub redirect: bool,
    /// `Strict-Transport-Security`.
    pub hsts: Option<HeaderValue>,
    /// What clients have to show, if anything.
    pub client: Option<Arc<ClientAuth>>,
}

impl Default for ServiceTls {
    fn default() -> Self {
        Self { certificates: Box::default(), acme: false, redirect: true, hsts: None, client: None }
    }
}

impl ServiceTls {
    /// Whether `other` asks for the same.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        let Self { certificates, acme, redirect, hsts, client } = self;
        let same = |(one, other): (&Arc<Certificate>, &Arc<Certificate>)| one.is_same_as(other);
        certificates.len() == other.certificates.len()
            && certificates.iter().zip(&other.certificates).all(same)
            && (acme, redirect, hsts, client) == (&other.acme, &other.redirect, &other.hsts, &other.client)
    }

    /// Whether only clients with a certificate are served.
    #[must_use]
    pub fn needs_certificate(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.required)
    }
}
