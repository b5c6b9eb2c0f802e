//! A TLS client that takes any certificate and says which it got.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme, StreamOwned,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// A connection; the handshake is done with the first byte.
pub(crate) fn connect(address: SocketAddr, host: &str) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let config = client_config();
    let name = ServerName::try_from(host.to_owned()).expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(super::PATIENCE))?;
    Ok(StreamOwned::new(connection, stream))
}

/// What a client with this config gets for a GET: the answer, the certificate, and whether the session was resumed.
pub(crate) struct Got {
    pub(crate) answer: String,
    pub(crate) certificate: Vec<u8>,
    pub(crate) resumed: bool,
}

/// A GET on a connection for `name`, that asks for `host`.
pub(crate) fn get_as(
    client: &Arc<ClientConfig>,
    address: SocketAddr,
    (name, host): (&str, &str),
    path: &str,
) -> std::io::Result<Got> {
    let mut stream = handshake(client, address, name)?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let certificate = stream.conn.peer_certificates().expect("a certificate")[0].to_vec();
    let resumed = stream.conn.handshake_kind() == Some(HandshakeKind::Resumed);
    Ok(Got { answer, certificate, resumed })
}

/// A connection whose handshake is done, as far as the client can tell.
pub(crate) fn handshake(
    client: &Arc<ClientConfig>,
    address: SocketAddr,
    name: &str,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut connection = ClientConnection::new(Arc::clone(client), name).expect("a connection");
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(super::PATIENCE))?;
    stream.set_nodelay(true)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(connection, stream))
}

/// Takes any certificate.
pub(crate) fn client_config() -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TakesAny(provider)))
        .with_no_client_auth()
}

/// The answer to a GET, head and body, and the server's certificate. An error where the handshake fails.
pub(crate) fn get(address: SocketAddr, host: &str, path: &str) -> std::io::Result<(String, Vec<u8>)> {
    let mut stream = connect(address, host)?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let certificates = stream.conn.peer_certificates().expect("a certificate");
    Ok((answer, certificates[0].to_vec()))
}

#[derive(Debug)]
struct TakesAny(Arc<CryptoProvider>);

impl ServerCertVerifier for TakesAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
