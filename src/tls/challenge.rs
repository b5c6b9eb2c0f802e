//! What authorities ask to see before they sign: a text over plain HTTP (RFC 8555, 8.3), or a certificate over TLS (RFC 8737).

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, crypto::aws_lc_rs::sign::any_supported_type};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// The protocol by which an authority asks for such a certificate.
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// The answers that are to be had at present. Written by the control thread, read by data threads.
#[derive(Debug, Default)]
pub struct Challenges {
    /// So that nobody takes the lock as long as there are none, which is nearly always.
    count: AtomicUsize,
    /// Held for a few lines at a time.
    answers: Mutex<Answers>,
}

#[derive(Debug, Default)]
struct Answers {
    /// By token.
    texts: HashMap<String, Arc<str>>,
    /// By server name.
    certificates: HashMap<String, Arc<ServerConfig>>,
}

/// Why there can be no such certificate.
#[derive(Debug, thiserror::Error)]
pub enum ChallengeError {
    /// The name, or the system's random numbers.
    #[error("cannot make the certificate of a challenge: {0}")]
    Generate(#[from] rcgen::Error),
    /// The key that was made.
    #[error("cannot use the certificate of a challenge: {0}")]
    Key(#[from] rustls::Error),
}

/// An answer; dropping it takes it back.
#[derive(Debug)]
pub struct Answer {
    challenges: Arc<Challenges>,
    token: Option<String>,
    name: Option<String>,
}

impl Challenges {
    /// Answers with a text.
    #[must_use]
    pub fn text(self: &Arc<Self>, token: &str, text: &str) -> Answer {
        self.lock().texts.insert(token.to_owned(), text.into());
        self.count.fetch_add(1, Ordering::Release);
        Answer { challenges: Arc::clone(self), token: Some(token.to_owned()), name: None }
    }

    /// Answers with a certificate that has the digest in it.
    ///
    /// # Errors
    /// There can be none for that name.
    pub fn certificate(self: &Arc<Self>, name: &str, digest: &[u8]) -> Result<Answer, ChallengeError> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let signing = any_supported_type(&PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())))?;
        let pair = CertifiedKey::new(vec![certificate.der().clone()], signing);
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
        config.alpn_protocols = vec![ACME_TLS.to_vec()];
        self.lock().certificates.insert(name.to_owned(), Arc::new(config));
        self.count.fetch_add(1, Ordering::Release);
        Ok(Answer { challenges: Arc::clone(self), token: None, name: Some(name.to_owned()) })
    }

    /// The text for a token.
    #[must_use]
    pub fn text_of(&self, token: &str) -> Option<Arc<str>> {
        (self.count.load(Ordering::Acquire) > 0).then(|| self.lock().texts.get(token).cloned())?
    }

    /// How TLS is spoken with an authority that asks for this server name.
    #[must_use]
    pub fn config_of(&self, name: &str) -> Option<Arc<ServerConfig>> {
        (self.count.load(Ordering::Acquire) > 0).then(|| self.lock().certificates.get(name).cloned())?
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut answers = self.challenges.lock();
        if let Some(token) = &self.token {
            answers.texts.remove(token);
        }
        if let Some(name) = &self.name {
            answers.certificates.remove(name);
        }
        drop(answers);
        self.challenges.count.fetch_sub(1, Ordering::Release);
    }
}
