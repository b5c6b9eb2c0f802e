//! A certificate and its key: found to match, the chain in order.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::pem::{self, PemFileError};
use super::x509::{self, Facts};
use crate::model::certificate::Certificate;

/// Why a pair cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The certificate's file.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[source] PemFileError),
    /// The key's file.
    #[error("the key cannot be used: {0}")]
    Key(#[source] PemFileError),
    /// Two good files that do not belong together.
    #[error("the key is not the certificate's")]
    Mismatch,
}

impl PairError {
    /// What would be right.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::Certificate(error) | Self::Key(error) => error.help(),
            Self::Mismatch => "name the key that the certificate was made with",
        }
    }
}

/// What was not as it should be in a chain, and was set right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mended {
    /// The server's own certificate was not the first, or the others did not follow from one to the next.
    Order,
    /// There were certificates of others in it.
    Strangers,
}

impl Mended {
    /// What it was.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::Order => "the chain is in the wrong order; tidegate sends it in the right one",
            Self::Strangers => "there are certificates in the chain that do not belong to it; tidegate leaves them out",
        }
    }

    /// What would be right.
    #[must_use]
    pub fn help(self) -> &'static str {
        match self {
            Self::Order => "write the server's own certificate first, then each one's issuer",
            Self::Strangers => "take them out: the server's own certificate first, then each one's issuer",
        }
    }
}

/// A pair, and what was mended in it.
#[derive(Debug)]
pub struct Pair {
    /// The pair.
    pub certificate: Certificate,
    /// What was mended.
    pub mended: Option<Mended>,
}

/// A key that can sign, and its public half.
#[derive(Debug, Clone)]
pub struct Key {
    /// What signs.
    pub signing: Arc<dyn SigningKey>,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
}

impl Key {
    /// Of a private key.
    ///
    /// # Errors
    /// It is of a kind that is not supported.
    pub fn new(key: &PrivateKeyDer<'_>) -> Result<Self, PemFileError> {
        let signing = any_supported_type(key).map_err(PemFileError::Unsupported)?;
        Ok(Self::of(signing))
    }

    /// Of one that is in use.
    #[must_use]
    pub fn of(signing: Arc<dyn SigningKey>) -> Self {
        let public_key = signing.public_key().map(|key| key.to_vec()).unwrap_or_default();
        Self { signing, public_key }
    }
}

/// Some certificates that are a chain, it seems, and what is written in them.
#[derive(Debug)]
pub struct Chain(Vec<(CertificateDer<'static>, Facts)>);

impl Chain {
    /// Of the certificates of a file.
    ///
    /// # Errors
    /// There is none, or one cannot be read.
    pub fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, PemFileError> {
        if certificates.is_empty() {
            return Err(PemFileError::NoSection("CERTIFICATE"));
        }
        let read = |der: CertificateDer<'static>| x509::read(&der).map(|facts| (der, facts));
        Ok(Self(certificates.into_iter().map(read).collect::<Result<_, _>>()?))
    }

    /// Whether there is only what authorities have for themselves.
    #[must_use]
    pub fn is_of_authorities(&self) -> bool {
        self.0.iter().all(|(_, facts)| facts.is_authority)
    }

    /// The public keys in them (SubjectPublicKeyInfo, DER).
    pub fn public_keys(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|(_, facts)| facts.public_key.as_slice())
    }

    /// Whether one of them was made with this key.
    #[must_use]
    pub fn has(&self, key: &Key) -> bool {
        self.0.iter().any(|(_, facts)| facts.public_key == key.public_key)
    }

    /// Puts the chain in order behind the certificate that the key is of. `None` where there is none.
    #[must_use]
    pub fn pair(self, key: &Key, source: PathBuf) -> Option<Pair> {
        let Self(mut rest) = self;
        let own = rest.iter().position(|(_, facts)| facts.public_key == key.public_key)?;
        let count = rest.len();
        let (der, facts) = rest.remove(own);
        let (mut chain, mut issuer, mut in_order) = (vec![der], facts.issuer.clone(), own == 0);
        let is_root = facts.issuer == facts.subject;
        while let Some(next) = rest.iter().position(|(_, facts)| facts.subject == issuer).filter(|_| !is_root) {
            let (der, facts) = rest.remove(next);
            in_order &= next == 0;
            chain.push(shared(&der));
            if facts.issuer == facts.subject {
                break;
            }
            issuer = facts.issuer;
        }
        let mended = match chain.len() == count {
            true => (!in_order).then_some(Mended::Order),
            false => Some(Mended::Strangers),
        };
        // A certificate takes as much memory as its bytes, and there may be thousands.
        chain.shrink_to_fit();
        let certificate = Certificate {
            pair: Arc::new(CertifiedKey::new(chain, Arc::clone(&key.signing))),
            names: facts.names,
            key: facts.key,
            not_before: facts.not_before,
            not_after: facts.not_after,
            source,
        };
        Some(Pair { certificate, mended })
    }
}

/// The same certificate of an authority, kept once however many chains it is in, and for ever: there are a handful, and rustls has them
/// either owned by each chain or static.
fn shared(authority: &CertificateDer<'_>) -> CertificateDer<'static> {
    // Held for a look-up at a time.
    static KNOWN: Mutex<BTreeSet<&'static [u8]>> = Mutex::new(BTreeSet::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = known.get(authority.as_ref()).copied().unwrap_or_else(|| {
        let kept: &'static [u8] = Box::leak(authority.to_vec().into());
        known.insert(kept);
        kept
    });
    CertificateDer::from(kept)
}

/// Loads a certificate (its chain with it) and its key, both PEM, perhaps of one file, and checks that they belong together.
///
/// # Errors
/// A file is missing, unreadable or not what it should be, or the two do not match.
pub fn load(certificate: &Path, key: &Path) -> Result<Pair, PairError> {
    let sections = pem::read(certificate).map_err(PairError::Certificate)?;
    let chain = Chain::new(sections.certificates).map_err(PairError::Certificate)?;
    let keys = keys(key).map_err(PairError::Key)?;
    let key = keys.iter().find(|key| chain.has(key)).ok_or(PairError::Mismatch)?;
    chain.pair(key, certificate.to_owned()).ok_or(PairError::Mismatch)
}

/// The keys of a file.
///
/// # Errors
/// It is missing or unreadable, there is no key in it, or one that cannot be used.
pub fn keys(path: &Path) -> Result<Vec<Key>, PemFileError> {
    let sections = pem::read(path)?;
    if sections.keys.is_empty() {
        return Err(match sections.has_encrypted_key {
            true => PemFileError::Encrypted,
            false => PemFileError::NoSection("PRIVATE KEY"),
        });
    }
    sections.keys.iter().map(Key::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(certificate: &str, key: &str) -> Result<Pair, PairError> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
        load(&folder.join(certificate), &folder.join(key))
    }

    #[test]
    fn a_pair_loads_only_if_it_matches() {
        let good = pair("shop.pem", "shop.key").expect("matches");
        assert_eq!((good.certificate.pair.cert.len(), good.mended), (1, None));
        assert!(good.certificate.covers_name("shop.example.com") && good.certificate.covers_name("a.shop.example.com"));
        assert!(!good.certificate.covers_name("a.b.shop.example.com") && !good.certificate.covers_name("example.org"));
        for (certificate, key, message) in [
            ("shop.pem", "other.key", "the key is not the certificate's"),
            ("shop.pem", "encrypted.key", "the key cannot be used: it is encrypted"),
            ("shop.pem", "shop.pem", "the key cannot be used: there is no `PRIVATE KEY` section in the file"),
            ("shop.key", "shop.key", "the certificate cannot be used: there is no `CERTIFICATE` section in the file"),
            ("none.pem", "shop.key", "the certificate cannot be used: no such file"),
            ("shop.pem", "none.key", "the key cannot be used: no such file"),
        ] {
            assert_eq!(pair(certificate, key).expect_err(message).to_string(), message);
        }
    }

    #[test]
    fn no_half_written_file_loads() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
        let whole = std::fs::read(folder.join("shop.pem")).expect("readable");
        let cut = tempfile::NamedTempFile::new().expect("writable");
        // The last bytes, dashes and a line break, may be missing.
        for length in (0..whole.len() - 8).step_by(7) {
            std::fs::write(cut.path(), &whole[..length]).expect("writable");
            assert!(matches!(load(cut.path(), &folder.join("shop.key")), Err(PairError::Certificate(_))), "{length}");
        }
    }
}
