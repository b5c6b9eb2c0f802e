//! What the machine gives.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors kept back for files, the admin API, listeners and the processes' pipes.
const RESERVED: u64 = 256;

/// Raises the limit on open files to what the system allows. Most shells hand down 1,024, which is for `select(2)`. Returns the soft
/// limit as it was.
pub(super) fn raise_open_files() -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    if let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        tracing::warn!(%error, "cannot raise the limit on open files");
    }
    Some(soft)
}

/// How many client connections there may be: each may need a connection to a backend too.
pub(super) fn connections() -> usize {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    usize::try_from(soft.saturating_sub(RESERVED) / 2).unwrap_or(usize::MAX).clamp(64, 1_000_000)
}

/// Cores that this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(256)
}
