//! Lets rustls ask for the certificate of a server name.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SignatureScheme};

use crate::model::host;

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

/// The server side of TLS 1.2 and 1.3 for HTTP/1.1, with certificates from `resolver`. A client without a server name, or
/// with one that nobody has a certificate for, is refused with an alert.
pub fn server_config(resolver: Arc<dyn ResolvesServerCert>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    // Sessions are resumed by tickets alone, which no memory is needed for. Their keys are the process's own, and change every six
    // hours; rustls takes one for no other server name than the one it was given for.
    config.ticketer = Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
