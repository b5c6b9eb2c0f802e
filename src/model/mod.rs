//! What tidegate means, validated and immutable; no I/O, no async.
//!
//! Everything here exists only in a valid state: whoever holds a [`weight::WeightTable`] holds weights that sum up.
//! [`choose`] is the pure road from a request to a version; the proxy and `tidegate explain` both walk it.

pub mod acme;
pub mod certificate;
pub mod certificates;
pub mod choose;
pub mod glob;
pub mod host;
pub mod image;
pub mod name;
pub mod path;
pub mod policy;
pub mod request;
pub mod route;
pub mod rule;
pub mod schedule;
pub mod service;
pub mod settings;
pub mod snapshot;
pub mod sticky;
pub mod tls;
pub mod transport;
pub mod version;
pub mod weight;
