//! Making a connection to an instance.

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::wire::Wire;
use crate::model::transport::{Transport, UpstreamTls};
use crate::model::version::Endpoint;
use crate::tls::client;

/// Ways to speak TLS that a thread keeps; each has what is needed to resume sessions.
const KEPT: usize = 64;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody is there.
    #[error(transparent)]
    Connect(#[from] io::Error),
    /// TLS could not be agreed upon.
    #[error("the TLS handshake failed: {0}")]
    Tls(#[source] io::Error),
    /// The certificate is not to be trusted.
    #[error("its certificate is not to be trusted: {0}")]
    Certificate(#[source] io::Error),
    /// It takes TLS and not HTTP/2, or no HTTP/2 at all.
    #[error("it does not speak HTTP/2{}", .0.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    NotHttp2(Option<h2::Error>),
}

/// What a thread knows of speaking TLS to backends.
#[derive(Debug, Default)]
pub(super) struct Dialer(RefCell<Vec<Known>>);

#[derive(Debug)]
struct Known {
    tls: Arc<UpstreamTls>,
    http2: bool,
    config: Arc<ClientConfig>,
}

impl Dialer {
    /// Connects.
    pub(super) async fn dial(&self, endpoint: &Endpoint, transport: &Transport) -> Result<Wire, DialError> {
        let stream = connect(endpoint).await?;
        let Some(tls) = &transport.tls else { return Ok(Wire::Plain(stream)) };
        let config = self.config(tls, transport.http2).map_err(|error| DialError::Tls(io::Error::other(error)))?;
        let name = tls.server_name.as_deref().unwrap_or(&endpoint.host).to_owned();
        let name = ServerName::try_from(name).map_err(|error| DialError::Tls(io::Error::other(error)))?;
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| {
            if client::is_of_certificate(&error) { DialError::Certificate(error) } else { DialError::Tls(error) }
        })?;
        if transport.http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(DialError::NotHttp2(None));
        }
        Ok(Wire::Tls(Box::new(stream)))
    }

    fn config(&self, tls: &Arc<UpstreamTls>, http2: bool) -> Result<Arc<ClientConfig>, rustls::Error> {
        let mut known = self.0.borrow_mut();
        if let Some(known) = known.iter().find(|known| known.tls == *tls && known.http2 == http2) {
            return Ok(Arc::clone(&known.config));
        }
        let config = client::client_config(tls, http2)?;
        if known.len() >= KEPT {
            known.remove(0);
        }
        known.push(Known { tls: Arc::clone(tls), http2, config: Arc::clone(&config) });
        Ok(config)
    }
}

pub(super) async fn connect(endpoint: &Endpoint) -> io::Result<TcpStream> {
    let stream = match endpoint.host.parse::<IpAddr>() {
        Ok(address) => TcpStream::connect((address, endpoint.port)).await,
        Err(_) => TcpStream::connect((&*endpoint.host, endpoint.port)).await,
    }?;
    stream.set_nodelay(true)?;
    if stream.local_addr()? == stream.peer_addr()? {
        // Nobody listens: on loopback a socket can connect to itself.
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}
