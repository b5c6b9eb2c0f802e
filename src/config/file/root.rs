//! tidegate.yaml.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Bytes, BytesOrOff, CountOrOff, PreviewFile, QueueFile, ReplicasForm, ScaleFile, SleepFile, StartFile, StopFile,
    Time, TimeOrOff, TimeoutsFile, WaitingPageForm, Word,
};
use crate::config::spanned::{OneOrMany, Spanned};

/// The server's own settings.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "Root", default)]
#[schemars(deny_unknown_fields)]
pub struct RootFile {
    /// Where clients connect; `{http: "127.0.0.1:8080"}` when left out.
    pub listen: Option<Spanned<ListenFile>>,
    /// Certificates for all services.
    pub tls: Option<RootTlsFile>,
    /// Of whom certificates are had for services with `tls: {acme: true}`; Let's Encrypt when left out.
    pub acme: Option<AcmeFile>,
    /// The admin port, on loopback; off when left out. Read-only without the token.
    pub admin: Option<Spanned<Word>>,
    /// The file with the token for writes on the admin port.
    pub admin_token_file: Option<Spanned<String>>,
    /// The admin unix socket; `tidegate.sock` beside this file when left out.
    pub socket: Option<Spanned<String>>,
    /// Default domains are `<service>.<base_domain>`; `localhost` when left out.
    pub base_domain: Option<Spanned<String>>,
    /// The folder of the services, one per *.yaml; `services` when left out.
    pub services: Option<Spanned<String>>,
    /// Networks of proxies whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Option<Vec<Spanned<String>>>,
    /// Networks that see private preview domains; loopback when left out.
    pub preview_from: Option<Vec<Spanned<String>>>,
    /// Data threads, 1 to 256; one per core when left out.
    #[schemars(range(min = 1, max = 256))]
    pub threads: Option<Spanned<u64>>,
    /// Client connections at a time; 0 derives it from the limit on open files.
    pub max_connections: Option<u64>,
    /// Limits on clients before a service is known.
    pub client: Option<ClientFile>,
    /// How the server ends.
    pub drain: Option<DrainFile>,
    /// The processes that tidegate runs.
    pub process: Option<ProcessFile>,
    /// The Docker engine.
    pub docker: Option<DockerFile>,
    /// Instances of all versions that may be coming up at a time, others wait for their turn; `16` when left out.
    #[schemars(range(min = 1, max = 1000))]
    pub max_starts: Option<Spanned<u64>>,
    /// Requests that wait for versions, all together.
    pub queue: Option<RootQueueFile>,
    /// A file for the access log (JSON lines), or `-` for standard output; off when left out.
    pub access_log: Option<Spanned<String>>,
    /// tidegate's own log.
    pub log: Option<LogFile>,
    /// What a service or version may set, set once for all.
    pub defaults: Option<DefaultsFile>,
}

/// Where clients connect: `address:port`, one or a list of them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "Listen", default)]
#[schemars(deny_unknown_fields)]
pub struct ListenFile {
    /// For plain HTTP.
    pub http: Option<OneOrMany<Spanned<Word>>>,
    /// For HTTPS.
    pub https: Option<OneOrMany<Spanned<Word>>>,
    /// Load balancers, as networks, that say by the PROXY protocol (version 1 or 2) who the client is. They have to say it on every
    /// connection; nobody else can.
    pub proxy_protocol: Option<Vec<Spanned<String>>>,
}

/// Certificates for all services.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "RootTls", default)]
#[schemars(deny_unknown_fields)]
pub struct RootTlsFile {
    /// A folder in which, and in whose folders, every PEM certificate with its key is found, whatever the files are called.
    pub certificates: Option<Spanned<String>>,
    /// What clients get that name no server, or one without a certificate; `refuse` when left out.
    pub fallback: Option<FallbackFile>,
    /// The port of HTTPS as clients see it, to which they are redirected; 443 or that of the first HTTPS listener when left out.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<Spanned<u64>>,
}

/// Of whom certificates are had, and how.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "Acme", default)]
#[schemars(deny_unknown_fields)]
pub struct AcmeFile {
    /// A mail address that the authority may write to.
    pub contact: Option<Spanned<String>>,
    /// The authority: `letsencrypt` (when left out), `letsencrypt-staging` for trials, or the URL of its directory.
    pub directory: Option<Spanned<String>>,
    /// The authorities that sign the directory's own certificate (PEM); those of the system when left out.
    pub ca_root: Option<Spanned<String>>,
    /// Where the account and the certificates are kept; `acme` beside this file when left out.
    pub folder: Option<Spanned<String>>,
    /// The challenge to use; both by turns when left out.
    pub challenge: Option<ChallengeFile>,
}

/// How an authority makes sure that a host is ours.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename = "Challenge")]
pub enum ChallengeFile {
    /// It asks over plain HTTP, on port 80.
    #[serde(rename = "http-01")]
    Http01,
    /// It asks over TLS, on port 443.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

/// What clients get that name no server, or one without a certificate.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename = "Fallback", rename_all = "snake_case")]
pub enum FallbackFile {
    /// The handshake fails.
    Refuse,
    /// A certificate that tidegate makes itself, and that nobody trusts.
    SelfSigned,
}

/// Limits on clients before a service is known.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "Client", default)]
#[schemars(deny_unknown_fields)]
pub struct ClientFile {
    /// From the first byte of a request's head to its last; `30s` when left out.
    pub request_head: Option<Spanned<Time>>,
    /// How long a connection may idle between requests; `75s` when left out.
    pub keep_alive: Option<Spanned<Time>>,
    /// The largest request head, 8KiB to 1MiB; `64KiB` when left out.
    pub max_head: Option<Spanned<Bytes>>,
    /// What concerns HTTP/2 alone.
    pub http2: Option<Http2File>,
}

/// Limits on a client connection of HTTP/2, which is spoken by TLS, and in clear text with clients that know so beforehand.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "Http2", default)]
#[schemars(deny_unknown_fields)]
pub struct Http2File {
    /// Requests at a time on one connection; `128` when left out.
    #[schemars(range(min = 1, max = 10000))]
    pub max_streams: Option<Spanned<u64>>,
    /// A client that has cancelled so many requests more than it has waited for is cut off; `100` when left out.
    #[schemars(range(min = 1, max = 100000))]
    pub max_resets: Option<Spanned<u64>>,
    /// How old a connection gets before the client is asked to open another, or `off`; `1h` when left out.
    pub max_age: Option<TimeOrOff>,
    /// A client that has been quiet for this long is pinged, and has 20 s to answer, or `off`; `30s` when left out.
    pub ping: Option<TimeOrOff>,
}

/// How the server ends.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "Drain", default)]
#[schemars(deny_unknown_fields)]
pub struct DrainFile {
    /// Requests have this long to finish; `30s` when left out.
    pub timeout: Option<Spanned<Time>>,
    /// Idle connections are kept open this long; `2s` when left out.
    pub linger: Option<Spanned<Time>>,
}

/// The processes that tidegate runs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "Process", default)]
#[schemars(deny_unknown_fields)]
pub struct ProcessFile {
    /// The ports that they get, outside the kernel's ephemeral range; `20000-29999` when left out.
    #[schemars(regex(pattern = "^[0-9]+-[0-9]+$"))]
    pub ports: Option<Spanned<String>>,
}

/// The Docker engine, and how its containers are reached.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "Docker", default)]
#[schemars(deny_unknown_fields)]
pub struct DockerFile {
    /// Where it is, as in `DOCKER_HOST`: `unix:///PATH` or `tcp://HOST:PORT`; what that variable says when left out, or else
    /// `unix:///var/run/docker.sock`.
    pub host: Option<Spanned<Word>>,
    /// The network that tidegate's containers are put on; `bridge` when left out.
    pub network: Option<Spanned<Word>>,
    /// How containers are reached: by their own address (`network`), by a port published on loopback (`published`), or by whichever works
    /// (`auto`, when left out).
    pub reach: Option<ReachFile>,
    /// Whose containers are tidegate's, where several share an engine: what is in their label `tidegate.owner`; the path of this file
    /// when left out.
    pub owner: Option<Spanned<Word>>,
}

/// How containers are reached.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename = "Reach", rename_all = "lowercase")]
pub enum ReachFile {
    /// By whichever works.
    Auto,
    /// By their own address.
    Network,
    /// By a port published on loopback.
    Published,
}

/// Requests that wait for versions, all together.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "RootQueue", default)]
#[schemars(deny_unknown_fields)]
pub struct RootQueueFile {
    /// So much of their bodies is kept; `64MiB` when left out.
    pub max_bodies: Option<Bytes>,
}

/// tidegate's own log.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "Log", default)]
#[schemars(deny_unknown_fields)]
pub struct LogFile {
    /// How much it says; `info` when left out.
    pub level: Option<LogLevelFile>,
    /// For people or for machines; `text` when left out.
    pub format: Option<LogFormatFile>,
}

/// How much the log says.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename = "LogLevel", rename_all = "lowercase")]
pub enum LogLevelFile {
    /// Only what needs hands.
    Error,
    /// And what may need them.
    Warn,
    /// And what changes.
    Info,
    /// And what was decided.
    Debug,
    /// Everything.
    Trace,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename = "LogFormat", rename_all = "lowercase")]
pub enum LogFormatFile {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// What a service or version may set, set once for all.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename = "Defaults", default)]
#[schemars(deny_unknown_fields)]
pub struct DefaultsFile {
    /// Deadlines of services.
    pub timeouts: Option<TimeoutsFile>,
    /// The largest request body of services.
    pub max_body: Option<BytesOrOff>,
    /// Who sees the preview domains of versions.
    pub preview: Option<PreviewFile>,
    /// How instances are started.
    pub start: Option<StartFile>,
    /// How processes, containers and hooks are stopped.
    pub stop: Option<StopFile>,
    /// How many instances versions have.
    pub replicas: Option<Spanned<ReplicasForm>>,
    /// By what versions have more or fewer instances.
    pub scale: Option<ScaleFile>,
    /// Requests at a time that one instance gets; `off` (no limit) when left out.
    pub max_concurrency: Option<CountOrOff>,
    /// When versions sleep.
    pub sleep: Option<SleepFile>,
    /// Bounds of the line in which requests wait for a version.
    pub queue: Option<QueueFile>,
    /// What browsers see while a version comes up; off when left out.
    pub waiting_page: Option<WaitingPageForm>,
}
