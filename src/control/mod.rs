//! The use cases behind the command line and the admin API.

pub mod status;
