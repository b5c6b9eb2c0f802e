//! What tidegate says of itself: structured logs, the access log, counters and their Prometheus form.
//!
//! Nothing here knows a service, a snapshot or a connection: callers hand in names and numbers.

pub mod access;
pub mod counters;
pub mod log;
pub mod metrics;
pub mod timestamp;
