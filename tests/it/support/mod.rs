//! Builders that tests read as sentences: a [`site::Site`] is the real binary with real files, a [`backend::Backend`] is a real
//! socket that does what the test says, a [`raw::Raw`] speaks bytes.

pub(crate) mod authority;
pub(crate) mod backend;
pub(crate) mod docker;
pub(crate) mod engine;
pub(crate) mod front;
pub(crate) mod h2;
pub(crate) mod ledger;
pub(crate) mod local_base;
pub(crate) mod pebble;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod registry;
pub(crate) mod site;
pub(crate) mod tls;
pub(crate) mod websocket;

use std::time::{Duration, Instant};

/// How long anything may take that is expected to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `probe` finds something.
///
/// # Panics
/// If it does not within [`PATIENCE`].
pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not happen within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Says that a test is skipped for want of something, and the cure; fails where `TIDEGATE_REQUIRE` names it.
pub(crate) fn skip(needs: &str, cure: &str) {
    let required = std::env::var("TIDEGATE_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|it| it == needs), "{needs} is required: {cure}");
    eprintln!("SKIPPED: needs {needs}; {cure}");
}
