//! Watches the files and publishes what they say.

pub mod watch;
