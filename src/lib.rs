//! tidegate: an L7 reverse proxy that splits requests over the versions of a service.
//!
//! The folders are layers, and imports go down only (a test in the suite reads them):
//!
//! `model`, `telemetry` < `tls` < `config` < `lifecycle` < `live` < `proxy`, `reload`, `control` < `admin` < `app` < `cli`.
//!
//! * [`model`] is what tidegate means: services, versions, weights, routes and the pure choice between them. No I/O.
//! * [`telemetry`] is what it says of itself: structured logs, the access log, counters and their Prometheus form.
//! * [`tls`] loads certificates and keys, and picks one by server name.
//! * [`config`] turns the YAML that people write into a [`model::snapshot::Snapshot`], or into every error there is.
//! * [`lifecycle`] holds what outlives a snapshot: units (running versions), their instances, and the leases on them.
//! * [`live`] is the one pointer that a request reads: a snapshot with the running state that it refers to.
//! * [`proxy`] is the data plane: listeners, workers, the handler, upstream connections, tunnels.
//! * [`reload`] watches the files and publishes a new `Live`.
//! * [`control`] has the use cases behind the command line and the admin API.
//! * [`admin`] serves them on a unix socket and, if asked, on a loopback port.
//! * [`app`] puts the parts together, runs them and drains them; [`cli`] is one verb per file.

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod control;
pub mod lifecycle;
pub mod live;
pub mod model;
pub mod proxy;
pub mod reload;
pub mod telemetry;
pub mod tls;
