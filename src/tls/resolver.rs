//! Lets rustls ask for the certificate of a server name.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Picks the pair for a server name at the moment of the handshake, so that a reload counts for the next one.
pub struct Resolver<F>(F);

impl<F> Resolver<F>
where
    F: Fn(&str) -> Option<Arc<CertifiedKey>> + Send + Sync + 'static,
{
    /// Asks `find` with the server name in lower case, without a trailing dot.
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
    F: Fn(&str) -> Option<Arc<CertifiedKey>> + Send + Sync + 'static,
{
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?;
        (self.0)(name.to_ascii_lowercase().trim_end_matches('.'))
    }
}

/// The server side of TLS 1.2 and 1.3 for HTTP/2 and HTTP/1.1, with certificates from `resolver`. A client without a server name, or
/// with one that nobody has a certificate for, is refused with an alert.
pub fn server_config(resolver: Arc<dyn ResolvesServerCert>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
