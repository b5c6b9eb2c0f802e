//! The certificate that everybody serves, and the load's side of TLS.
//!
//! TLS 1.3 with AES-128 and X25519 for all: what a handshake or a record costs is not to depend on what a peer likes best.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::version::TLS13;
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::{Fault, Stream};
use crate::rows::Opening;
use crate::template::host;

/// A server sends two tickets per connection as a rule; one is used for the next.
const SESSIONS: usize = 8;

/// A certificate for the first service, and what trusts it.
#[derive(Debug)]
pub(crate) struct Identity {
    /// Key and certificate, ECDSA P-256, in one PEM file.
    pub(crate) pem: String,
    client: ClientConfig,
}

impl Identity {
    /// Makes a pair that signs itself.
    pub(crate) fn new() -> io::Result<Self> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let params = CertificateParams::new(vec![host(0)]).map_err(io::Error::other)?;
        let certificate = params.self_signed(&key).map_err(io::Error::other)?;
        let pem = block("PRIVATE KEY", &key.serialize_der()) + &block("CERTIFICATE", certificate.der());
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).map_err(io::Error::other)?;
        let provider = CryptoProvider {
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            ..aws_lc_rs::default_provider()
        };
        let mut client = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.resumption = Resumption::disabled();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { pem, client })
    }

    /// How the connections of a row are opened.
    pub(crate) fn dialer(&self, opening: Opening) -> Dialer {
        let client = (opening != Opening::Clear).then(|| Arc::new(self.client.clone()));
        Dialer { client, is_resuming: opening == Opening::Resumed, knows_session: false }
    }
}

fn block(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Opens connections for one client, in turn.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    /// None in clear text.
    client: Option<Arc<ClientConfig>>,
    is_resuming: bool,
    knows_session: bool,
}

impl Dialer {
    /// The same with sessions of its own.
    pub(crate) fn for_another(&self) -> Self {
        let mut dialer = self.clone();
        if let Some(client) = dialer.client.as_mut().filter(|_| self.is_resuming) {
            Arc::make_mut(client).resumption = Resumption::in_memory_sessions(SESSIONS);
        }
        dialer
    }

    /// Connects, and sees to it that the handshake is of the kind that is to be measured.
    pub(crate) async fn dial(&mut self, address: SocketAddr) -> Result<Stream, Fault> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let Some(client) = &self.client else { return Ok(Stream::Clear(stream)) };
        let name = ServerName::try_from(host(0)).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::clone(client)).connect(name, stream).await?;
        let found = stream.get_ref().1.handshake_kind();
        let expected = if self.knows_session { HandshakeKind::Resumed } else { HandshakeKind::Full };
        if found != Some(expected) {
            return Err(Fault::Handshake { found, expected });
        }
        self.knows_session = self.is_resuming;
        Ok(Stream::Secured(Box::new(stream)))
    }
}
