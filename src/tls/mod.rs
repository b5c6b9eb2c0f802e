//! Certificates and keys: loaded as pairs, picked by server name.

pub mod client;
pub mod pair;
pub mod resolver;
pub mod store;
