//! A tidegate before one backend: what nearly every test on the wire needs.

use super::backend::Backend;
use super::site::{Site, SiteBuilder};

/// The one service's host.
pub(crate) const HOST: &str = "app.localhost";

/// A tidegate whose only service is `app`, with the one version `app-001` at `backend`; `yaml` is put into its file.
pub(crate) fn before(backend: &Backend, yaml: &str) -> Site {
    builder(backend, yaml).start()
}

/// The same, not yet started.
pub(crate) fn builder(backend: &Backend, yaml: &str) -> SiteBuilder {
    Site::new().service("app", &file(backend, yaml))
}

/// The file of the service.
pub(crate) fn file(backend: &Backend, yaml: &str) -> String {
    format!("{yaml}\n{}", backend.as_only_version("app"))
}

/// A GET without a body, to be kept alive; `headers` are whole lines.
pub(crate) fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n")
}

/// The head of a POST; `headers` are whole lines, its framing among them.
pub(crate) fn post(path: &str, headers: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n")
}
