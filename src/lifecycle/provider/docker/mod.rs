//! Versions that are containers of a Docker engine.

pub mod engine;
pub mod engine_error;
pub mod host;
mod transport;
