//! A certificate and its key: loaded, and known to match.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The most that a PEM file may hold, in bytes.
const MAX_BYTES: u64 = 1 << 20;

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

/// What is wrong with one of the files.
#[derive(Debug, thiserror::Error)]
pub enum PemFileError {
    /// There is none.
    #[error("no such file")]
    Missing,
    /// It cannot be read.
    #[error("{0}")]
    Read(#[source] io::Error),
    /// It is too long.
    #[error("the file is longer than 1 MiB")]
    TooLong,
    /// It is no PEM, or a broken one: half written, perhaps.
    #[error("the file is not whole PEM ({0})")]
    Pem(#[source] pem::Error),
    /// It is PEM, but there is nothing of the wanted kind in it.
    #[error("there is no `{0}` section in the file")]
    NoSection(&'static str),
    /// The key needs a passphrase.
    #[error("it is encrypted")]
    Encrypted,
    /// rustls does not take it.
    #[error("{0}")]
    Unsupported(#[source] Error),
}

impl PairError {
    /// What would be right.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Certificate(error) | Self::Key(error) => error.help(),
            Self::Mismatch => {
                "name the key that the certificate was made with; in a chain, the server's own certificate comes first"
            }
        }
    }
}

impl PemFileError {
    fn help(&self) -> &'static str {
        match self {
            Self::Missing => "paths are relative to the file that names them",
            Self::Read(_) => "let tidegate's user read it",
            Self::TooLong => "name the PEM file of this certificate alone",
            Self::Pem(_) => "write the whole file, or put it in place by renaming",
            Self::NoSection("CERTIFICATE") => "name a PEM file that holds `-----BEGIN CERTIFICATE-----`",
            Self::NoSection(_) => "name a PEM file that holds `-----BEGIN PRIVATE KEY-----`",
            Self::Encrypted => {
                "decrypt it: `openssl pkey -in KEY -out PLAIN_KEY`, and let only tidegate's user read it"
            }
            Self::Unsupported(_) => "use an ECDSA (P-256, P-384, P-521), Ed25519 or RSA (2048 bits or more) pair",
        }
    }
}

/// Loads a certificate (its chain behind it) and its key, both PEM, and checks that they belong together.
///
/// # Errors
/// A file is missing, unreadable or not what it should be, or the two do not match.
pub fn load(certificate: &Path, key: &Path) -> Result<CertifiedKey, PairError> {
    let chain = read(certificate).and_then(|pem| chain(&pem)).map_err(PairError::Certificate)?;
    let key = read(key).and_then(|pem| private_key(&pem)).map_err(PairError::Key)?;
    let signing = any_supported_type(&key).map_err(|error| PairError::Key(PemFileError::Unsupported(error)))?;
    let pair = CertifiedKey::new(chain, signing);
    match pair.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(pair),
        Err(Error::InconsistentKeys(_)) => Err(PairError::Mismatch),
        Err(error) => Err(PairError::Certificate(PemFileError::Unsupported(error))),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PemFileError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) if bytes.len() as u64 > MAX_BYTES => Err(PemFileError::TooLong),
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(PemFileError::Missing),
        Err(error) => Err(PemFileError::Read(error)),
    }
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemFileError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(PemFileError::Pem)?;
    if chain.is_empty() { Err(PemFileError::NoSection("CERTIFICATE")) } else { Ok(chain) }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemFileError> {
    let holds = |text: &[u8]| pem.windows(text.len()).any(|window| window == text);
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => Ok(key),
        // RFC 7468 (PKCS #8) and RFC 1421 (the older form).
        Err(_) if holds(b"BEGIN ENCRYPTED PRIVATE KEY") || holds(b"Proc-Type: 4,ENCRYPTED") => {
            Err(PemFileError::Encrypted)
        }
        Err(pem::Error::NoItemsFound) => Err(PemFileError::NoSection("PRIVATE KEY")),
        Err(error) => Err(PemFileError::Pem(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(certificate: &str, key: &str) -> Result<CertifiedKey, PairError> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
        load(&folder.join(certificate), &folder.join(key))
    }

    #[test]
    fn a_pair_loads_only_if_it_matches() {
        assert_eq!(pair("shop.pem", "shop.key").expect("matches").cert.len(), 1);
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
