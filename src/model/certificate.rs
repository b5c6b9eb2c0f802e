//! A certificate with its key, and what is written in it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::sign::CertifiedKey;

use super::host::HostPattern;

/// So long before its end a certificate is warned of.
pub const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// What kind of key a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyKind {
    /// ECDSA: small and quick; what clients of the last ten years take.
    Ecdsa,
    /// Ed25519, which browsers do not take yet.
    Ed25519,
    /// RSA, for the oldest clients.
    Rsa,
}

impl KeyKind {
    /// One word for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ecdsa => "ECDSA",
            Self::Ed25519 => "Ed25519",
            Self::Rsa => "RSA",
        }
    }
}

/// How a certificate stands to the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// It begins later.
    NotYet,
    /// It holds.
    Good,
    /// It holds, and ends within [`EXPIRES_SOON`].
    EndsSoon,
    /// It is over.
    Expired,
}

/// A certificate with its chain and its key, known to belong together.
#[derive(Debug)]
pub struct Certificate {
    /// Chain and key, as rustls takes them; the chain in order, the server's own certificate first.
    pub pair: Arc<CertifiedKey>,
    /// Whom it is for: the names among its subject alternative names (RFC 9525, 6), and its addresses as hosts spell them.
    pub names: Box<[HostPattern]>,
    /// What its key is.
    pub key: KeyKind,
    /// When it begins.
    pub not_before: SystemTime,
    /// When it ends.
    pub not_after: SystemTime,
    /// The file it was read from.
    pub source: PathBuf,
}

impl Certificate {
    /// Whether it is for this host, or for all hosts of this pattern.
    #[must_use]
    pub fn covers(&self, host: &HostPattern) -> bool {
        let below = |parent: &str| self.names.iter().any(|n| matches!(n, HostPattern::Wildcard(p) if **p == *parent));
        match host {
            HostPattern::Exact(name) => self.covers_name(name),
            HostPattern::Wildcard(parent) => below(parent),
        }
    }

    /// Whether it is for this host, in its normalised form.
    #[must_use]
    pub fn covers_name(&self, host: &str) -> bool {
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| match name {
            HostPattern::Exact(name) => **name == *host,
            HostPattern::Wildcard(of) => parent == Some(&**of),
        })
    }

    /// How it stands to the time `now`.
    #[must_use]
    pub fn validity(&self, now: SystemTime) -> Validity {
        if now < self.not_before {
            Validity::NotYet
        } else if now >= self.not_after {
            Validity::Expired
        } else if now + EXPIRES_SOON >= self.not_after {
            Validity::EndsSoon
        } else {
            Validity::Good
        }
    }

    /// Whether it rather than `other` should be shown for a name that both are for: one that holds rather than one that does not,
    /// and of two the one that was made later.
    #[must_use]
    pub fn is_better_than(&self, other: &Self, now: SystemTime) -> bool {
        let rank = |it: &Self| (matches!(it.validity(now), Validity::Good | Validity::EndsSoon), it.not_before);
        rank(self) > rank(other)
    }

    /// Whether it is the same certificate with the same chain. A chain names its public key, and so stands for the pair.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.source == other.source && self.pair.cert == other.pair.cert
    }
}
