//! Backends behind TLS: whom they have to prove to be, and what is said where they cannot.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::front::HOST;
use crate::support::h2::{Client, Server};
use crate::support::site::{Site, SiteBuilder};

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

fn server_config(alpn: &[&[u8]]) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(fixture("upstream.pem")).expect("a file");
    let chain = chain.collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(fixture("upstream.key")).expect("a key");
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// Answers HTTP/1.1 by TLS: 200 with the number of the connection, and the server name that was asked for.
fn https() -> std::net::SocketAddr {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("an address");
    let config = server_config(&[b"http/1.1"]);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (Ok(mut stream), config) = (stream, Arc::clone(&config)) else { continue };
            std::thread::spawn(move || {
                let mut connection = rustls::ServerConnection::new(config).expect("a connection");
                let mut tls = rustls::Stream::new(&mut connection, &mut stream);
                let mut got = Vec::new();
                let mut piece = [0; 16_384];
                while let Ok(1..) = tls.read(&mut piece).inspect(|read| got.extend_from_slice(&piece[..*read])) {
                    let text = String::from_utf8_lossy(&got).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                    if body.len() < length.map_or(0, |length| length.parse().expect("a number")) {
                        continue;
                    }
                    let name = tls.conn.server_name().unwrap_or("-").to_owned();
                    let text = format!("{number} {name} {}", body.len());
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
                    if tls.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                    got.clear();
                }
            });
        }
    });
    address
}

fn site(url: &str, more: &str) -> SiteBuilder {
    let file = format!("versions:\n  app-001: {{urls: [\"{url}\"]{more}}}\n");
    Site::new()
        .arranged(|dir| {
            fs::copy(fixture("upstream-ca.pem"), dir.join("ca.pem")).expect("copy");
        })
        .service("app", &file)
}

#[test]
fn a_trusted_backend_is_asked_by_its_name_and_its_connections_are_used_again() {
    let address = https();
    let site =
        site(&format!("https://{address}"), ", upstream_tls: {ca: ../ca.pem, server_name: backend.test}").start();
    let mut raw = site.connect();
    for _ in 0..5 {
        assert_eq!(raw.get(HOST, "/").text(), "0 backend.test 0");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let body = "x".repeat(2_000_000);
    let answer = raw.ask(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    assert_eq!(answer.text(), "0 backend.test 2000000");
}

#[test]
fn who_cannot_prove_to_be_the_backend_is_not_asked() {
    let address = https();
    let port = address.port();
    for (url, more, outcome) in [
        // By its address, which the certificate has too; and by the system's roots, which do not.
        (format!("https://127.0.0.1:{port}"), ", upstream_tls: {ca: ../ca.pem}", None),
        (format!("https://127.0.0.1:{port}"), "", Some("tls_certificate_error")),
        (format!("https://localhost:{port}"), ", upstream_tls: {ca: ../ca.pem}", Some("tls_certificate_error")),
        (format!("https://localhost:{port}"), ", upstream_tls: {insecure: true}", None),
    ] {
        let site = site(&url, more).start();
        let answer = site.get(HOST, "/");
        match outcome {
            None => assert_eq!(answer.status(), 200, "{url} {more}: {}", site.log()),
            Some(kind) => {
                assert_eq!(answer.status(), 502, "{url} {more}");
                assert_eq!(answer.header("proxy-status"), Some(&*format!("tidegate; error={kind}; fault=upstream")));
                assert!(site.log().contains("its certificate is not to be trusted"), "{}", site.log());
            }
        }
    }
    // One that speaks no TLS at all.
    let plain = crate::support::backend::Backend::serving(|mut raw, _| {
        raw.send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    });
    let site = site(&format!("https://{}", plain.address()), ", upstream_tls: {insecure: true}").start();
    let answer = site.get(HOST, "/");
    assert_eq!(answer.header("proxy-status"), Some("tidegate; error=tls_protocol_error; fault=upstream"));
    assert!(site.log().contains("the TLS handshake failed"), "{}", site.log());
}

#[test]
fn http2_by_tls_from_end_to_end() {
    let server = Server::start(100, Some(server_config(&[b"h2"])));
    let url = format!("https://{}", server.address());
    let site = site(&url, ", protocol: h2, upstream_tls: {ca: ../ca.pem}").start();
    let answer = Client::connect(site.http()).send(crate::support::h2::request("POST", HOST, "/"), b"hello", None);
    assert_eq!(answer.text(), format!("POST https://{HOST}/|hello"));
}
