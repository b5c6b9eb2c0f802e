//! Where certificates are to be had by asking (ACME, RFC 8555).

use std::path::{Path, PathBuf};

/// The directory of Let's Encrypt.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// That of its staging, whose certificates nobody trusts, and whose limits are wide.
pub const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// How an authority makes sure that a host is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// A text over plain HTTP, on port 80.
    Http01,
    /// A certificate over TLS, on port 443.
    TlsAlpn01,
}

/// The authority, and who we are to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// Where it can reach a person, such as `mailto:admin@example.com`.
    pub contact: Option<Box<str>>,
    /// Its directory.
    pub directory: Box<str>,
    /// A PEM file of the authorities that its own HTTPS is trusted by; the system's where `None`.
    pub ca_root: Option<PathBuf>,
    /// Where the account and the certificates are kept.
    pub folder: PathBuf,
    /// The challenge to use; by turns where `None`, HTTP first.
    pub challenge: Option<Challenge>,
}

impl Acme {
    /// Where the certificates are kept, one PEM file for each name.
    #[must_use]
    pub fn certificates(&self) -> PathBuf {
        self.folder.join("certificates")
    }

    /// The file of a name's certificate and key.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.certificates().join(format!("{name}.pem"))
    }

    /// Whether a certificate of this file was had by asking.
    #[must_use]
    pub fn keeps(&self, source: &Path) -> bool {
        source.starts_with(&self.folder)
    }

    /// Whether it signs for hosts of the internet alone.
    #[must_use]
    pub fn is_public(&self) -> bool {
        [LETS_ENCRYPT, LETS_ENCRYPT_STAGING].contains(&&*self.directory)
    }
}

/// Whether a host is known in some networks only (RFC 6761, 6762, 8375, and what routers make up), or an address.
#[must_use]
pub fn is_internal(host: &str) -> bool {
    const ENDS: [&str; 9] =
        ["localhost", "local", "internal", "lan", "home.arpa", "test", "example", "invalid", "home"];
    let below = |end: &str| host.strip_suffix(end).is_some_and(|rest| rest.ends_with('.'));
    let is_address = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    !host.contains('.') || is_address || ENDS.iter().any(|end| below(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_names() {
        for internal in ["shop.localhost", "nas", "nas.lan", "printer.local", "x.home.arpa", "127.0.0.1", "[::1]"] {
            assert!(is_internal(internal), "{internal}");
        }
        for public in ["shop.com", "home.arpa.org", "mylan.de", "xlocalhost.net"] {
            assert!(!is_internal(public), "{public}");
        }
    }
}
