//! Lets rustls ask for the certificate of a server name.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SignatureScheme};

use super::challenge::Challenges;
use crate::model::host;
use crate::model::tls::ClientAuth;

/// Picks the pair for a server name at the moment of the handshake, so that a reload counts for the next one.
pub struct Resolver<F>(F);

impl<F> Resolver<F>
where
    F: Fn(Option<&str>, &[SignatureScheme]) -> Option<Arc<CertifiedKey>> + Send + Sync + 'static,
{
    /// Asks `find` with the server name in its normalised form, if the client gives one, and the signatures that it takes.
    pub fn new(find: F) -> Self {
        Self(find)
    }
}

impl<F> fmt::Debug for Resolver<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Resolver").finish()
    }
}

impl<F> ResolvesServerCert for Resolver<F>
where
    F: Fn(Option<&str>, &[SignatureScheme]) -> Option<Arc<CertifiedKey>> + Send + Sync + 'static,
{
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(host::normalise);
        (self.0)(name.as_deref(), hello.signature_schemes())
    }
}

/// Why clients' certificates cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum VerifierError {
    /// One of the authorities.
    #[error("{0}")]
    Authority(#[from] rustls::Error),
    /// All together.
    #[error("{0}")]
    Build(#[from] VerifierBuilderError),
}

/// What checks the certificates of clients.
///
/// # Errors
/// The authorities are none.
pub fn verifier(auth: &ClientAuth) -> Result<Arc<dyn ClientCertVerifier>, VerifierError> {
    let mut roots = RootCertStore::empty();
    for authority in &auth.authorities {
        roots.add(authority.clone())?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    Ok(if auth.required { builder.build()? } else { builder.allow_unauthenticated().build()? })
}

/// How TLS is spoken: with everybody, and with the clients of those services that ask for certificates.
#[derive(Debug)]
pub struct Configs {
    resolver: Arc<dyn ResolvesServerCert>,
    /// With everybody else.
    plain: Arc<ServerConfig>,
    /// With authorities that want to see something.
    challenges: Arc<Challenges>,
}

/// How TLS is spoken for one service that asks for certificates, from the first handshake on. The keys of its tickets are its own: who
/// was let in elsewhere, or under other rules, resumes nothing here.
pub type AskingConfig = OnceLock<Arc<ServerConfig>>;

impl Configs {
    /// With certificates from `resolver`.
    ///
    /// # Errors
    /// The system has no random numbers for tickets.
    pub fn new(resolver: Arc<dyn ResolvesServerCert>, challenges: Arc<Challenges>) -> Result<Self, rustls::Error> {
        let plain = server_config(Arc::clone(&resolver), WebPkiClientVerifier::no_client_auth())?;
        Ok(Self { resolver, plain, challenges })
    }

    /// What authorities are shown.
    #[must_use]
    pub fn challenges(&self) -> &Challenges {
        &self.challenges
    }

    /// For those who are asked nothing.
    #[must_use]
    pub fn plain(&self) -> &Arc<ServerConfig> {
        &self.plain
    }

    /// For a service that asks. `None` where that cannot be done, which the log says: nobody is let in then.
    #[must_use]
    pub fn asking<'c>(&self, config: &'c AskingConfig, auth: &ClientAuth) -> Option<&'c Arc<ServerConfig>> {
        if let Some(config) = config.get() {
            return Some(config);
        }
        let built = verifier(auth).map_err(|error| error.to_string()).and_then(|verifier| {
            server_config(Arc::clone(&self.resolver), verifier).map_err(|error| error.to_string())
        });
        match built {
            Ok(built) => Some(config.get_or_init(|| built)),
            Err(error) => {
                tracing::error!("cannot check the certificates of clients: {error}");
                None
            }
        }
    }
}

/// The server side of TLS 1.2 and 1.3 for HTTP/2 and HTTP/1.1, with certificates from `resolver`. A client without a server name, or
/// with one that nobody has a certificate for, is refused with an alert.
pub fn server_config(
    resolver: Arc<dyn ResolvesServerCert>,
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(resolver);
    // Sessions are resumed by tickets alone, which no memory is needed for. Their keys are the process's own, and change every six
    // hours; rustls takes one for no other server name than the one it was given for.
    config.ticketer = Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
