//! The use cases behind the command line and the admin API.

pub mod build;
pub mod commands;
pub mod explain;
pub mod report;
pub mod status;
