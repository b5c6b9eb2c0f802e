//! Watches the files and publishes what they say: read, compile, compare, swap, let go.

pub mod graveyard;
pub mod publish;
pub mod reloader;
pub mod standing;
pub mod watch;
