//! Versions that are containers of a Docker engine.

pub mod credentials;
pub mod engine;
pub mod engine_error;
pub mod host;
pub mod image;
mod transport;
