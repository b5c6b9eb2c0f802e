//! Ports for programs that must be told one.

use std::sync::LazyLock;

use tidegate::lifecycle::ports::Ports;

/// Apart from the default of `process.ports`, which servers under test use, and below the ephemeral range.
static PORTS: LazyLock<Ports> =
    LazyLock::new(|| Ports::new(30_000..=32_767, std::process::id().to_le_bytes()[0].into()));

/// The test binary's own ports.
pub(crate) fn ports() -> Ports {
    PORTS.clone()
}
