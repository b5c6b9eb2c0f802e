//! What people write, as serde structs: 1:1 with the YAML, and the source of its JSON Schema. What it means is for `compile`.
//!
//! A field that is left out is `None` or empty here; defaults belong to the model. Doc comments on fields are what editors show.

mod command;
mod demand;
mod root;
mod service;
mod value;
mod version;

pub use command::CommandFile;
pub use demand::{
    IgnoreFile, QueueFile, ReplicasFile, ReplicasForm, ScaleFile, ScaleOnFile, SleepFile, WaitingPageFile,
    WaitingPageForm,
};
pub use root::{
    AcmeFile, ChallengeFile, ClientFile, DefaultsFile, DockerFile, DrainFile, FallbackFile, Http2File, ListenFile,
    LogFile, LogFormatFile, LogLevelFile, ProcessFile, ReachFile, RootFile, RootQueueFile, RootTlsFile,
};
pub use service::{
    ClientAuthFile, HeaderEditsFile, HeadersFile, HstsFile, HstsForm, MaintenanceFile, MaintenanceForm, RedirectFile,
    RedirectForm, RouteFile, RuleFile, ServiceFile, StickyFile, TimeoutsFile, TlsFile,
};
pub use value::{Bytes, BytesOrOff, CountOrOff, Time, TimeOrOff, Word};
pub use version::{
    HookFile, PreviewFile, ProtocolFile, ReadyFile, ResourcesFile, SignalFile, StartFile, StopFile, UpstreamTlsFile,
    VersionFile,
};

use crate::config::decode::Refusal;
use crate::config::units::duration;

/// As many instances of a version as there may be.
pub const MAX_REPLICAS: u32 = 100;

/// As many requests as may wait for one version at a time.
pub const MAX_WAITING: u32 = 1_000_000;

/// As many instances as may be coming up at a time.
pub const MAX_STARTS: u32 = 1_000;

/// Keys of a struct that are refused with more to say than that they are unknown.
pub fn refusal(structure: &str, key: &str) -> Option<Refusal> {
    use Refusal::{Elsewhere, NotYet};
    const LATER: &str = "take it out for now; tidegate ignores no key silently";
    Some(match (structure, key) {
        ("Version", "build") => {
            NotYet("build it by `tidegate deploy SERVICE --build DIR`, which writes the version with its `image`")
        }
        ("Version" | "Service", "proxy_protocol" | "send_proxy") => {
            NotYet("take it out for now; backends are told of the client by `X-Forwarded-For`")
        }
        ("Version", "socket") => NotYet("let it listen on a port, and write `urls: [\"http://127.0.0.1:3000\"]`"),
        ("Listen", "http3" | "h3" | "quic") => NotYet("take it out for now; HTTP/2 is spoken on `https` and `http`"),
        ("Http2", "extended_connect" | "connect_protocol" | "websocket") => NotYet(LATER),
        ("Version", "cpu") => Elsewhere("write `resources: {cpu: 0.5}`"),
        ("Version", "memory") => Elsewhere("write `resources: {memory: 256MiB}`"),
        ("Version", "ports") => {
            Elsewhere("write `port: 80`, the one that the container listens on; clients come through tidegate")
        }
        ("Service" | "Defaults", "on_failure") => NotYet(LATER),
        ("Service", "acme") => Elsewhere("write `tls: {acme: true}`"),
        ("RootTls", "acme") => Elsewhere("write `acme: {...}` at the top of tidegate.yaml"),
        ("Acme", "eab" | "external_account" | "external_account_binding") => {
            NotYet("use an authority without it, such as Let's Encrypt")
        }
        ("Acme" | "Tls" | "RootTls", "on_demand") => NotYet("name the hosts under `domains` in the services' files"),
        ("Acme" | "Tls", "dns" | "dns_provider") => {
            NotYet("have wildcards' certificates made by another client, into the folder of `tls: {certificates: ...}`")
        }
        ("Tls", "client_header" | "identity_header") => NotYet(LATER),
        ("Service", "sleep" | "replicas" | "scale" | "max_concurrency" | "queue" | "start" | "stop") => {
            Elsewhere("write it in each version, or under `defaults` in tidegate.yaml")
        }
        (
            "Service",
            "keep" | "command" | "urls" | "hook" | "image" | "container" | "compose" | "port" | "entrypoint"
            | "volumes" | "resources" | "user" | "env" | "env_file" | "cwd",
        ) => Elsewhere("write it in the version that it is meant for, under `versions`"),
        ("Root", "sleep" | "replicas" | "scale" | "max_concurrency" | "start" | "stop" | "waiting_page") => {
            Elsewhere("write it under `defaults`")
        }
        (
            "Version",
            "waiting_page" | "timeouts" | "max_body" | "weights" | "rules" | "sticky" | "domains" | "routes",
        ) => Elsewhere("write it at the top of the service's file"),
        ("RootQueue", "max_waiting" | "max_body") => Elsewhere("write it as `defaults: {queue: {...}}`"),
        ("Queue", "max_bodies") => {
            Elsewhere("it is for all versions together: `queue: {max_bodies: ...}` at the top of tidegate.yaml")
        }
        _ => return None,
    })
}

/// What to write in place of a value that its key cannot have.
pub fn cure(key: &str, text: &str) -> Option<String> {
    let (low, high) = match key {
        "min" => (0, MAX_REPLICAS),
        "max" | "replicas" => (1, MAX_REPLICAS),
        "max_waiting" => (0, MAX_WAITING),
        "port" => (1, 65_535),
        "max_starts" => (1, MAX_STARTS),
        "ready" if text.starts_with('/') => return Some(format!("write `ready: {{http: {text}}}`")),
        "sleep" => {
            let good = text == "off" || duration(text).is_ok_and(|time| !time.is_zero());
            return good.then(|| format!("write `sleep: {{stop_after: {text}}}`"));
        }
        "challenge" if text == "dns-01" => {
            return Some("dns-01 is not supported yet: write `http-01` or `tls-alpn-01`".to_owned());
        }
        "signal" => {
            let name = text.to_ascii_uppercase();
            let name = name.strip_prefix("SIG").unwrap_or(&name);
            return SignalFile::NAMES.contains(&name).then(|| format!("write `{name}`"));
        }
        _ => return None,
    };
    // A number in quotes needs only to lose them.
    let quoted = text.parse::<u32>().is_ok_and(|number| (low..=high).contains(&number));
    (!quoted).then(|| format!("write a whole number from {low} to {high}"))
}
