//! What people write, as serde structs: 1:1 with the YAML, and the source of its JSON Schema. What it means is for `compile`.
//!
//! A field that is left out is `None` or empty here; defaults belong to the model. Doc comments on fields are what editors show.

mod root;
mod service;
mod value;
mod version;

pub use root::{
    ClientFile, DefaultsFile, DrainFile, ListenFile, LogFile, LogFormatFile, LogLevelFile, ProcessFile, RootFile,
};
pub use service::{
    HeaderEditsFile, HeadersFile, MaintenanceFile, MaintenanceForm, RedirectFile, RedirectForm, RouteFile, RuleFile,
    ServiceFile, StickyFile, TimeoutsFile, TlsFile,
};
pub use value::{Bytes, BytesOrOff, Time, TimeOrOff, Word};
pub use version::{PreviewFile, ReadyFile, SignalFile, StartFile, StopFile, VersionFile};

/// Keys that are known and not supported yet, by struct, with what to do meanwhile.
pub fn unsupported(structure: &str, key: &str) -> Option<&'static str> {
    const LATER: &str = "take it out for now; tidegate ignores no key silently";
    Some(match (structure, key) {
        ("Version", "image" | "container" | "hook" | "build") => {
            "write `command: [...]` for a process or `urls: [...]` for what runs already"
        }
        ("Version", "port") => "a process is told its port in `PORT`; an entry of `urls` ends in its port",
        (
            "Version",
            "replicas" | "scale" | "max_concurrency" | "sleep" | "keep" | "volumes" | "resources" | "cpu" | "memory"
            | "user",
        ) => LATER,
        ("Service", "on_failure" | "sleep" | "replicas" | "scale" | "max_concurrency") => LATER,
        ("Tls", "acme") | ("Service" | "Root", "acme") => {
            "name a pair: `tls: {certificate: PATH, key: PATH}` in the service's file"
        }
        ("Defaults", "sleep" | "scale" | "replicas" | "max_concurrency" | "on_failure") => LATER,
        _ => return None,
    })
}
