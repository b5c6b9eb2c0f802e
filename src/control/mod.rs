//! The use cases behind the command line and the admin API.

pub mod build;
pub mod building;
pub mod certificates;
pub mod commands;
pub mod containers;
pub mod deploy;
pub mod edit;
pub mod explain;
pub mod inherited;
pub mod logs;
pub mod remove;
pub mod report;
pub mod services;
pub mod status;
pub mod traffic;
pub mod tuning;
pub mod versions;
