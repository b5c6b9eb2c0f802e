//! What the admin API asks of the main task, which owns the reloader and the units.

use tokio::sync::oneshot;

use crate::lifecycle::keeper::CommandError;

/// One thing to do, and where the answer goes.
#[derive(Debug)]
pub(super) enum Order {
    /// Read the files again; whether anything came into force.
    Reload(oneshot::Sender<bool>),
    /// Have a version sleep; answered when it does.
    Sleep(String, oneshot::Sender<Result<(), CommandError>>),
    /// Have it stop although it may have a minimum of instances; answered when it has.
    Restart(String, oneshot::Sender<Result<(), CommandError>>),
    /// Try a version that failed again, now.
    TryAgain(String),
}
