//! What a service asks of TLS.

use std::sync::Arc;

use super::certificate::Certificate;

/// What clients without a certificate of their own, or for a name that nobody has one for, get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fallback {
    /// An alert: the handshake fails.
    #[default]
    Refuse,
    /// A certificate that tidegate has made itself, which browsers warn of.
    SelfSigned,
}

/// What a service asks of TLS. Everything is off by default.
#[derive(Debug, Clone, Default)]
pub struct ServiceTls {
    /// The pairs that its file names.
    pub certificates: Box<[Arc<Certificate>]>,
}

impl ServiceTls {
    /// Whether `other` asks for the same.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        let Self { certificates } = self;
        let same = |(one, other): (&Arc<Certificate>, &Arc<Certificate>)| one.is_same_as(other);
        certificates.len() == other.certificates.len() && certificates.iter().zip(&other.certificates).all(same)
    }
}
