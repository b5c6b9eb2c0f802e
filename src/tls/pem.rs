//! What a PEM file holds.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::Error;
use rustls_pki_types::pem::{self, PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::resolver::VerifierError;
use super::x509::X509Error;

/// The most that a PEM file may hold, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The certificates and keys of a file, in its order.
#[derive(Debug, Default)]
pub struct Sections {
    /// Its certificates.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Its keys.
    pub keys: Vec<PrivateKeyDer<'static>>,
    /// Whether there is a key under a passphrase.
    pub has_encrypted_key: bool,
}

/// What is wrong with a file.
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
    #[error("the file is not whole PEM{}", detail(.0))]
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
    /// They cannot be authorities.
    #[error("{0}")]
    Authorities(#[source] VerifierError),
    /// What is in the section is no certificate.
    #[error(transparent)]
    X509(#[from] X509Error),
}

impl PemFileError {
    /// What would be right.
    #[must_use]
    pub fn help(&self) -> &'static str {
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
            Self::Authorities(_) => "name a PEM file with the certificates of authorities",
            Self::X509(_) => "have the certificate made anew",
        }
    }
}

/// What is wrong, where it is more than that the end is missing.
fn detail(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => String::new(),
        error => format!(" ({error})"),
    }
}

/// Reads a file's sections; a file without any is no error.
///
/// # Errors
/// It is missing, cannot be read, is too long, or breaks off within a section.
pub fn read(path: &Path) -> Result<Sections, PemFileError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // Opening a pipe waits for a writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) if bytes.len() as u64 > MAX_BYTES => Err(PemFileError::TooLong),
        Ok(bytes) => sections(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(PemFileError::Missing),
        Err(error) => Err(PemFileError::Read(error)),
    }
}

/// The sections of a text.
///
/// # Errors
/// It breaks off within a section, or what is in one is no base64.
pub fn sections(pem: &[u8]) -> Result<Sections, PemFileError> {
    let holds = |text: &[u8]| pem.windows(text.len()).any(|window| window == text);
    // RFC 7468 (PKCS #8) and RFC 1421 (the older form, whose headers are no base64).
    if holds(b"Proc-Type: 4,ENCRYPTED") {
        return Ok(Sections { has_encrypted_key: true, ..Sections::default() });
    }
    let mut found = Sections { has_encrypted_key: holds(b"BEGIN ENCRYPTED PRIVATE KEY"), ..Sections::default() };
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (kind, der) = section.map_err(PemFileError::Pem)?;
        match kind {
            SectionKind::Certificate => found.certificates.push(CertificateDer::from(der).into_owned()),
            _ => found.keys.extend(<PrivateKeyDer<'static> as PemObject>::from_pem(kind, der)),
        }
    }
    Ok(found)
}
