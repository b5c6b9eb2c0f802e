//! A certificate of our own, for clients that nobody has one for.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::x509::{self, X509Error};
use crate::model::certificate::Certificate;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum SelfSignedError {
    /// The names, or the system's random numbers.
    #[error("cannot make a self-signed certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// The key that was made.
    #[error("cannot use a self-signed certificate: {0}")]
    Key(#[from] rustls::Error),
    /// The certificate that was made.
    #[error("cannot use a self-signed certificate: {0}")]
    Read(#[from] X509Error),
}

/// Makes one for a base domain and all names below it. It is in memory alone, and another one after the next start.
///
/// # Errors
/// The base domain is no name that a certificate can have.
pub fn generate(base_domain: &str) -> Result<Certificate, SelfSignedError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![base_domain.to_owned(), format!("*.{base_domain}")])?;
    params.distinguished_name.push(DnType::CommonName, "tidegate, self-signed");
    let certificate = params.self_signed(&key)?;
    let facts = x509::read(certificate.der())?;
    let signing = any_supported_type(&PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())))?;
    Ok(Certificate {
        pair: Arc::new(CertifiedKey::new(vec![certificate.der().clone()], signing)),
        names: facts.names,
        key: facts.key,
        not_before: facts.not_before,
        not_after: facts.not_after,
        source: PathBuf::new(),
    })
}
