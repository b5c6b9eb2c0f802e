//! How a version is spoken to.

use std::sync::Arc;

/// The protocol towards a version's instances. HTTP/1.1 in clear text when nothing is said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transport {
    /// HTTP/2, and not HTTP/1.1.
    pub http2: bool,
    /// TLS, and how.
    pub tls: Option<Arc<UpstreamTls>>,
}

impl Transport {
    /// Whether it is HTTP/1.1 in clear text.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        !self.http2 && self.tls.is_none()
    }
}

/// TLS towards a backend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpstreamTls {
    /// The roots that are trusted, DER; those of the system where `None`.
    pub ca: Option<Box<[Box<[u8]>]>>,
    /// The name that the certificate has to have, and that the backend is asked for; the address's own where `None`.
    pub server_name: Option<Box<str>>,
    /// Whether any certificate does.
    pub insecure: bool,
}
