//! Containers of a Docker engine.

pub mod credentials;
pub mod image;
