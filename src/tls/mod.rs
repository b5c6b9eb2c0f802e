//! Certificates and keys: read, paired, picked by server name.

pub mod acme;
pub mod challenge;
pub mod client;
pub mod pair;
pub mod pem;
pub mod resolver;
pub mod self_signed;
pub mod store;
pub mod x509;
