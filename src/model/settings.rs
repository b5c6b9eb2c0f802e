//! What tidegate.yaml says of the server itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::acme::Acme;
use super::tls::Fallback;

/// The default ports for process instances: below Linux's ephemeral range, which begins at 32768.
pub const DEFAULT_PROCESS_PORTS: (u16, u16) = (20_000, 29_999);

/// How many bytes of bodies of waiting requests are kept, when nothing else is said.
pub const DEFAULT_MAX_HELD_BODIES: u64 = 64 * 1024 * 1024;

/// Deadlines and limits on the client's side, before a service is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientLimits {
    /// From the first byte of a request's head to its last. 30 s.
    pub request_head: Duration,
    /// How long a connection may idle between requests. 75 s, as nginx.
    pub keep_alive: Duration,
    /// The largest request head in bytes, 8 KiB to 1 MiB. 64 KiB.
    pub max_head: usize,
    /// What concerns HTTP/2 alone.
    pub http2: Http2Limits,
}

/// Limits on a client connection of HTTP/2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http2Limits {
    /// Requests at a time, 1 to 10,000. 128, as nginx.
    pub max_streams: u32,
    /// A client may cancel so many requests more than it waits for, 1 to 100,000. 100.
    pub max_resets: u32,
    /// How old a connection gets before the client is asked to open another; no limit where `None`. 1 h, as nginx's `keepalive_time`.
    pub max_age: Option<Duration>,
    /// A client that has been quiet for this long is pinged, and has 20 s to answer; never where `None`. 30 s.
    pub ping: Option<Duration>,
}

impl Default for Http2Limits {
    fn default() -> Self {
        let (max_age, ping) = (Some(Duration::from_secs(3600)), Some(Duration::from_secs(30)));
        Self { max_streams: 128, max_resets: 100, max_age, ping }
    }
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            request_head: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            max_head: 64 * 1024,
            http2: Http2Limits::default(),
        }
    }
}

/// How the server ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// Requests have this long to finish. 30 s.
    pub timeout: Duration,
    /// Idle connections are kept open this long, so that a request on its way is still answered. 2 s.
    pub linger: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), linger: Duration::from_secs(2) }
    }
}

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// How containers are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// By their own address where this host has one in their network, else by a published port.
    #[default]
    Auto,
    /// By their own address.
    Network,
    /// By a port published on loopback.
    Published,
}

/// The Docker engine, and how its containers are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Docker {
    /// As `DOCKER_HOST`: `unix:///PATH`, `tcp://HOST:PORT`; `None` is what the variable says, else `/var/run/docker.sock`.
    pub host: Option<Box<str>>,
    /// The network that containers of ours are on, by name. `bridge`.
    pub network: Box<str>,
    /// How they are reached.
    pub reach: Reach,
    /// Whose containers are ours: what their label `tidegate.owner` says. The path of tidegate.yaml where `None`.
    pub owner: Option<Box<str>>,
}

impl Default for Docker {
    fn default() -> Self {
        Self { host: None, network: "bridge".into(), reach: Reach::Auto, owner: None }
    }
}

/// How many versions may be coming up at a time, when nothing else is said: enough that nobody who is small notices, and a host whose
/// containers all wake at once after a restart does not come to a stand.
pub const DEFAULT_MAX_STARTS: u32 = 16;

/// The verbosity of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// Only what needs hands.
    Error,
    /// And what may need them.
    Warn,
    /// And what changes.
    #[default]
    Info,
    /// And what was decided.
    Debug,
    /// Everything.
    Trace,
}

/// The settings of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Addresses for plain HTTP.
    pub http: Box<[SocketAddr]>,
    /// Addresses for HTTPS.
    pub https: Box<[SocketAddr]>,
    /// Where certificates are had by asking.
    pub acme: Acme,
    /// A folder of certificates and keys.
    pub certificates: Option<PathBuf>,
    /// The port of HTTPS as clients see it; `None` where there is no HTTPS, or no port that is known beforehand.
    pub https_port: Option<u16>,
    /// Who gets a certificate that is for nobody.
    pub fallback: Fallback,
    /// The admin port, on loopback.
    pub admin: Option<SocketAddr>,
    /// The file with the admin port's token for writes.
    pub admin_token_file: Option<PathBuf>,
    /// The admin unix socket.
    pub socket: PathBuf,
    /// Default domains are `<service>.<base_domain>`; normalised.
    pub base_domain: Box<str>,
    /// Balancers that begin each connection by saying who the client is.
    pub proxy_protocol: Box<[IpNet]>,
    /// Proxies whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Box<[IpNet]>,
    /// Who sees private preview domains.
    pub preview_from: Box<[IpNet]>,
    /// Data threads, 1 to 256; `None` is one per core.
    pub threads: Option<usize>,
    /// Client connections at a time; `None` is derived from the limit on open files.
    pub max_connections: Option<usize>,
    /// Limits on clients.
    pub client: ClientLimits,
    /// How the server ends.
    pub drain: Drain,
    /// Bytes of bodies of waiting requests, over all versions. 64 MiB.
    pub max_held_bodies: u64,
    /// First and last port for process instances.
    pub process_ports: (u16, u16),
    /// The Docker engine.
    pub docker: Docker,
    /// Instances of the whole host that may be coming up at a time, 1 or more; others wait for their turn. 16.
    pub max_starts: u32,
    /// The access log, off when `None`.
    pub access_log: Option<AccessLogTarget>,
    /// Verbosity of the log.
    pub log_level: LogLevel,
    /// Form of the log.
    pub log_format: LogFormat,
}
