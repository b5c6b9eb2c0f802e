//! What ten thousand certificates cost, measured on the real program over real sockets.
//!
//! `cargo bench --bench certificates [-- CERTIFICATES [SECONDS]]`. A folder of ECDSA P-256 pairs, one for each domain: the time from
//! `serve` to the first handshake, the resident memory, and full handshakes per second over all domains, against those with
//! a single one. Exit code 1 where a bar of `benches/README.md` is missed.
#![expect(clippy::print_stdout, reason = "it prints what it measures")]

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::ServerName;

/// The bar: from `serve` to the first handshake.
const START: Duration = Duration::from_secs(2);
/// The bar: resident memory, in KiB.
const MEMORY: u64 = 64 * 1024;
/// The bar: with all domains there are so many handshakes of those with one.
const RATE: f64 = 0.95;
/// Clients at a time.
const CLIENTS: usize = 8;
/// Measured by turns, so often.
const TURNS: usize = 3;

fn main() -> io::Result<ExitCode> {
    // Cargo adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let number = |at: usize, default: u64| {
        words.get(at).map_or(Ok(default), |word: &String| word.parse().map_err(io::Error::other))
    };
    let (count, seconds) = (number(0, 10_000)?, number(1, 5)?);
    let authority = Authority::new().map_err(io::Error::other)?;
    let (one, many) = (Server::start(&authority, 1)?, Server::start(&authority, count)?);
    let memory = many.rss_kib()?;
    println!("{count} certificates: from `serve` to the first handshake {} ms", many.started_in.as_millis());
    println!("resident memory: {memory} KiB ({} KiB with one)", one.rss_kib()?);
    let (mut alone, mut among) = (0.0, 0.0);
    for _ in 0..TURNS {
        alone += rate(&one, &authority, 1, seconds);
        among += rate(&many, &authority, count, seconds);
    }
    let share = among / alone;
    println!(
        "full handshakes: {:.0} per s with one, {:.0} with all ({share:.3})",
        alone / TURNS as f64,
        among / TURNS as f64
    );
    let good = many.started_in < START && memory < MEMORY && share > RATE;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The intermediate.
    chain: String,
    client: Arc<ClientConfig>,
}

impl Authority {
    fn new() -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let authority = |name: &str| -> Result<_, rcgen::Error> {
            let mut params = CertificateParams::new(Vec::new())?;
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, name);
            Ok((params, KeyPair::generate()?))
        };
        let (params, key) = authority("root")?;
        let mut roots = RootCertStore::empty();
        roots.add(params.self_signed(&key)?.der().clone())?;
        let root = Issuer::new(params, key);
        let (params, key) = authority("intermediate")?;
        let chain = pem("CERTIFICATE", params.signed_by(&key, &root)?.der());
        let mut client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.resumption = Resumption::disabled();
        Ok(Self { issuer: Issuer::new(params, key), chain, client: Arc::new(client) })
    }

    /// Key and certificate.
    fn sign(&self, name: &str) -> Result<String, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &self.issuer)?;
        let (key, own) = (pem("PRIVATE KEY", &key.serialize_der()), pem("CERTIFICATE", certificate.der()));
        Ok(format!("{key}{own}{}", self.chain))
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

fn name(number: u64) -> String {
    format!("shop-{number}.bench.test")
}

struct Server {
    child: Child,
    address: SocketAddr,
    started_in: Duration,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(authority: &Authority, count: u64) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path();
        fs::create_dir(path.join("services"))?;
        fs::create_dir(path.join("certificates"))?;
        for number in 0..count {
            let pair = authority.sign(&name(number)).map_err(io::Error::other)?;
            fs::write(path.join("certificates").join(format!("{number}.pem")), pair)?;
        }
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        fs::write(
            path.join("tidegate.yaml"),
            format!("listen: {{https: \"{address}\"}}\ntls: {{certificates: certificates}}\nlog: {{level: warn}}\n"),
        )?;
        let began = Instant::now();
        let child = spawn(path)?;
        let mut server = Self { child, address, started_in: Duration::ZERO, _folder: folder };
        while handshake(&server, authority, count - 1).is_err() {
            if let Some(status) = server.child.try_wait()? {
                return Err(io::Error::other(format!("the server ended: {status}")));
            }
            thread::sleep(Duration::from_millis(1));
        }
        server.started_in = began.elapsed();
        Ok(server)
    }

    fn rss_kib(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
        line.split_whitespace().nth(1).unwrap_or_default().parse().map_err(io::Error::other)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nobody is left to be told.
        drop(self.child.kill().and_then(|()| self.child.wait()));
    }
}

fn spawn(folder: &Path) -> io::Result<Child> {
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("serve")
        .arg(folder.join("tidegate.yaml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
}

fn handshake(server: &Server, authority: &Authority, number: u64) -> io::Result<()> {
    let mut stream = TcpStream::connect(server.address)?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(name(number)).map_err(io::Error::other)?;
    let mut client = ClientConnection::new(Arc::clone(&authority.client), name).map_err(io::Error::other)?;
    while client.is_handshaking() {
        client.complete_io(&mut stream)?;
    }
    Ok(())
}

/// Handshakes per second over the first `count` domains.
fn rate(server: &Server, authority: &Authority, count: u64, seconds: u64) -> f64 {
    let (next, done, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // A step that has no divisor in common with the count, so that neighbours do not follow each other.
                    let number = next.fetch_add(7_919, Ordering::Relaxed) % count;
                    if handshake(server, authority, number).is_ok() {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        thread::sleep(Duration::from_secs(seconds));
        stop.store(true, Ordering::Relaxed);
    });
    done.load(Ordering::Relaxed) as f64 / seconds as f64
}
