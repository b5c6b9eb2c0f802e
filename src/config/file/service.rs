//! services/NAME.yaml.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{BytesOrOff, PreviewFile, Time, TimeOrOff, VersionFile, WaitingPageForm, Word};
use crate::config::spanned::{Entries, OneOrMany, Spanned};

/// A service, named by its file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "Service", default)]
#[schemars(deny_unknown_fields)]
pub struct ServiceFile {
    /// Hosts of the service: `shop.example.com`, or `*.shop.example.com` for all one label below. Short for `routes`.
    pub domains: Vec<Spanned<String>>,
    /// Hosts with a path prefix; the longest prefix wins.
    pub routes: Vec<Spanned<RouteFile>>,
    /// The certificate for its hosts; without one they are served over plain HTTP only.
    pub tls: Option<Spanned<TlsFile>>,
    /// Percent of the traffic by version, up to two decimals; they sum to 100, or all are 0. May be left out with exactly one version.
    pub weights: Option<Spanned<Entries<Spanned<f64>>>>,
    /// Targeted traffic, before the weights; the first rule that holds wins.
    pub rules: Vec<Spanned<RuleFile>>,
    /// Whether and how clients stay with a version.
    pub sticky: Option<Spanned<StickyFile>>,
    /// The highest number that a version ever had; kept by tidegate's commands.
    pub last_version: Option<Spanned<u32>>,
    /// What `rollback` returns to; kept by tidegate's commands.
    pub previous_weights: Option<Spanned<Entries<Spanned<f64>>>>,
    /// Who sees the preview domains of its versions.
    pub preview: Option<PreviewFile>,
    /// Deadlines, each a duration or `off`.
    pub timeouts: Option<TimeoutsFile>,
    /// The largest request body; `off` (no limit) when left out.
    pub max_body: Option<BytesOrOff>,
    /// Changes to headers on their way.
    pub headers: Option<HeadersFile>,
    /// Answers every request with a redirect.
    pub redirect: Option<RedirectForm>,
    /// Only clients from these networks are served.
    pub allow: Option<Spanned<Vec<Spanned<String>>>>,
    /// Answers every request with 503.
    pub maintenance: Option<MaintenanceForm>,
    /// What browsers see while a version comes up, instead of waiting; other clients wait. Off when left out.
    pub waiting_page: Option<WaitingPageForm>,
    /// The versions, `<service>-001` and so on; at most 10.
    pub versions: Entries<Spanned<VersionFile>>,
}

/// A host with a path prefix.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "Route")]
#[schemars(deny_unknown_fields)]
pub struct RouteFile {
    /// The host, or `*.` and a host for all one label below it.
    pub host: Spanned<String>,
    /// The path prefix; `/` when left out.
    #[serde(default)]
    pub path: Option<Spanned<String>>,
    /// Whether the prefix is taken off before forwarding.
    #[serde(default)]
    pub strip: bool,
}

/// Certificates (with their chains) and their keys, as PEM files.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "Tls", default)]
#[schemars(deny_unknown_fields)]
pub struct TlsFile {
    /// The certificate and its chain; or several, such as one with ECDSA and one with RSA, of which each client gets what it can check.
    pub certificate: Option<OneOrMany<Spanned<String>>>,
    /// The private key, or several in any order; the certificate's own file when left out.
    pub key: Option<OneOrMany<Spanned<String>>>,
    /// Whether certificates for its hosts are had by asking (ACME), and renewed; `acme` in tidegate.yaml says of whom. Off when left out.
    pub acme: bool,
    /// Whether plain HTTP is answered by a redirect to HTTPS (308), where there is a certificate for the host and a listener for HTTPS;
    /// `true` when left out.
    pub redirect: Option<Spanned<bool>>,
    /// For how long browsers are to use HTTPS only (Strict-Transport-Security); not said when left out.
    pub hsts: Option<HstsForm>,
    /// The authorities that sign clients' certificates (PEM): clients are asked for one.
    pub client_ca: Option<Spanned<String>>,
    /// Whether clients without a certificate are refused; `require` when left out.
    pub client_auth: Option<Spanned<ClientAuthFile>>,
}

/// Strict-Transport-Security: its time, or more of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(untagged)]
pub enum HstsForm {
    /// Its time.
    #[serde(rename = "@scalar-as-is")]
    Short(Time),
    /// All of it.
    #[serde(rename = "@mapping")]
    Long(HstsFile),
}

/// Strict-Transport-Security (RFC 6797).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "Hsts")]
#[schemars(deny_unknown_fields)]
pub struct HstsFile {
    /// For how long; `0s` takes it back.
    pub max_age: Time,
    /// Whether it is for all hosts below as well.
    #[serde(default)]
    pub subdomains: bool,
    /// Whether browsers may have the host in their lists.
    #[serde(default)]
    pub preload: bool,
}

/// Whether clients need a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename = "ClientAuth", rename_all = "lowercase")]
pub enum ClientAuthFile {
    /// Without one the handshake fails.
    Require,
    /// Who has one shows it, and it must be good.
    Optional,
}

/// Sends requests for which all conditions hold to one version. Patterns are exact, or have `*` and `?`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "Rule")]
#[schemars(deny_unknown_fields)]
pub struct RuleFile {
    /// Query parameters with patterns.
    #[serde(default)]
    pub query: Entries<Word>,
    /// Headers with patterns.
    #[serde(default)]
    pub header: Entries<Word>,
    /// Cookies with patterns.
    #[serde(default)]
    pub cookie: Entries<Word>,
    /// A pattern for the path.
    #[serde(default)]
    pub path: Option<Spanned<Word>>,
    /// A method, or several of which one must fit.
    #[serde(default)]
    pub method: Option<OneOrMany<Spanned<String>>>,
    /// The version.
    pub version: Spanned<String>,
}

/// Whether and how clients stay with a version: exactly one of `cookie`, `header` and `client`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "Sticky", default)]
#[schemars(deny_unknown_fields)]
pub struct StickyFile {
    /// By a cookie of this name, which tidegate sets.
    pub cookie: Option<Spanned<String>>,
    /// How long the cookie lives; as long as the browser session when left out.
    pub ttl: Option<Spanned<Time>>,
    /// By the value of this header.
    pub header: Option<Spanned<String>>,
    /// By the client's address.
    pub client: Option<Spanned<bool>>,
}

/// Deadlines, each a duration or `off`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename = "Timeouts", default)]
#[schemars(deny_unknown_fields)]
pub struct TimeoutsFile {
    /// For connecting to an instance; `5s` when left out.
    pub connect: Option<TimeOrOff>,
    /// For a body, either way, without progress; `60s` when left out.
    pub idle: Option<TimeOrOff>,
    /// Until the head of the response; `60s` when left out.
    pub response_head: Option<TimeOrOff>,
    /// For the whole exchange; `off` when left out.
    pub total: Option<TimeOrOff>,
    /// For a WebSocket without a byte either way, pings included; `off` when left out.
    pub tunnel_idle: Option<TimeOrOff>,
    /// For a WebSocket, from its beginning to its end; `off` when left out.
    pub tunnel_total: Option<TimeOrOff>,
}

/// Changes to headers on their way.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "Headers", default)]
#[schemars(deny_unknown_fields)]
pub struct HeadersFile {
    /// Of requests.
    pub request: HeaderEditsFile,
    /// Of responses.
    pub response: HeaderEditsFile,
}

/// Changes to headers, in the order remove, set, add.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "HeaderEdits", default)]
#[schemars(deny_unknown_fields)]
pub struct HeaderEditsFile {
    /// Headers that have this one value afterwards.
    pub set: Entries<Spanned<Word>>,
    /// Values put beside what is there.
    pub add: Entries<Spanned<Word>>,
    /// Headers taken out.
    pub remove: Vec<Spanned<String>>,
}

/// A redirect: its URL, or more of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(untagged)]
pub enum RedirectForm {
    /// The URL.
    #[serde(rename = "@text")]
    Short(Spanned<String>),
    /// All of it.
    #[serde(rename = "@mapping")]
    Long(RedirectFile),
}

/// A redirect.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "Redirect")]
#[schemars(deny_unknown_fields)]
pub struct RedirectFile {
    /// An absolute `http` or `https` URL.
    pub to: Spanned<String>,
    /// 301, 302, 303, 307 or 308; 308 when left out.
    #[serde(default)]
    pub status: Option<Spanned<u16>>,
    /// Whether the request's path and query are put behind the URL; `true` when left out.
    #[serde(default)]
    pub keep_path: Option<bool>,
}

/// Maintenance: on or off, or on with a message.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(untagged)]
pub enum MaintenanceForm {
    /// On or off.
    #[serde(rename = "@boolean")]
    Switch(bool),
    /// On, with a message.
    #[serde(rename = "@mapping")]
    Long(MaintenanceFile),
}

/// Maintenance.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename = "Maintenance", default)]
#[schemars(deny_unknown_fields)]
pub struct MaintenanceFile {
    /// What clients read.
    pub message: Option<String>,
    /// When they may come again.
    pub retry_after: Option<Time>,
}
