//! The stop command of a hook: of a version that is up, and of a start that came to nothing.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::exit::ExitReport;
use super::hook::cannot_run;
use super::hook_command::{HookCommand, Logged, OnDrop};
use crate::model::name::VersionName;
use crate::model::version::Stop;

/// What `stop` has at least, however short the grace: it starts a program first.
const SHORTEST_STOP: Duration = Duration::from_secs(10);

/// A stop command, to be run once.
#[derive(Debug)]
pub(super) struct StopCommand {
    version: VersionName,
    words: Box<[String]>,
    open_files: Option<u64>,
    limit: Duration,
}

impl StopCommand {
    /// The command `words`; it may run for the grace or 10 s, whichever is longer.
    pub(super) fn new(version: VersionName, words: Box<[String]>, open_files: Option<u64>, stop: &Stop) -> Self {
        Self { version, words, open_files, limit: stop.grace.max(SHORTEST_STOP) }
    }

    /// Starts it. It goes on if nobody waits for it.
    pub(super) fn start(&self) -> io::Result<Logged> {
        let (version, open_files) = (&self.version, self.open_files);
        HookCommand { version, words: &self.words, open_files, on_drop: OnDrop::Leave }.start_logged()
    }

    /// Waits for its end and reports that; the log says so where it failed or was killed.
    pub(super) async fn end(self, running: io::Result<Logged>) -> ExitReport {
        let ended = match running {
            Ok(running) => running.end(self.limit).await,
            Err(error) => Err(error),
        };
        let (version, limit) = (&self.version, self.limit);
        match ended {
            Ok((mut report, _)) => {
                report.stop_failed = report.killed || report.code != Some(0);
                if report.killed {
                    warn!(%version, "`hook.stop` did not end within {limit:?} and was killed, so the version may still run: {report}");
                } else if report.stop_failed {
                    warn!(%version, "`hook.stop` failed, so the version may still run: {report}");
                }
                report
            }
            Err(source) => {
                let error = cannot_run(&self.words, source);
                warn!(%version, "`hook.stop` failed, so the version may still run: {error}");
                // As a shell says it.
                ExitReport {
                    code: Some(127),
                    killed: false,
                    stop_failed: true,
                    cause: None,
                    last_lines: vec![error.to_string()],
                }
            }
        }
    }
}

/// Which versions have a stop command running for a start that came to nothing. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Undoing {
    // Held for a look or a change of the map. Nobody ever sends: the end of the channel is the end of the command.
    running: Arc<Mutex<HashMap<VersionName, watch::Receiver<()>>>>,
}

impl Undoing {
    /// Waits until there is none for this version: it would stop what a new start brings up.
    pub(super) async fn ended(&self, version: &VersionName) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).get(version).cloned();
        if let Some(mut running) = running {
            // An error is the end that is waited for.
            while running.changed().await.is_ok() {}
        }
    }

    /// Runs the command as a task of its own.
    fn run(&self, command: StopCommand) -> JoinHandle<ExitReport> {
        info!(version = %command.version, "its start came to nothing; running `hook.stop`");
        let (until_ended, running) = watch::channel(());
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(command.version.clone(), running);
        // Now and not in the task, so that it runs even where the runtime ends before the task's turn.
        let started = command.start();
        let undoing = self.clone();
        tokio::spawn(async move {
            let version = command.version.clone();
            let report = command.end(started).await;
            undoing.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&version);
            drop(until_ended);
            report
        })
    }
}

/// Runs the stop command once dropped, for a start that is under way.
#[derive(Debug)]
pub(super) struct Undo {
    undoing: Undoing,
    command: Option<StopCommand>,
}

impl Undo {
    pub(super) fn new(undoing: Undoing, command: StopCommand) -> Self {
        Self { undoing, command: Some(command) }
    }

    /// The start went well.
    pub(super) fn not_needed(mut self) {
        self.command = None;
    }

    /// Runs it now; the report is of one that failed. Dropping the future leaves the command alone.
    pub(super) async fn run(mut self) -> Option<ExitReport> {
        let command = self.command.take()?;
        // Without a report, the runtime is ending.
        self.undoing.run(command).await.ok().filter(|report| report.stop_failed)
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        let Some(command) = self.command.take() else { return };
        if Handle::try_current().is_ok() {
            // The task ends by itself.
            drop(self.undoing.run(command));
        } else {
            warn!(version = %command.version, "tidegate ends while it starts; `hook.stop` cannot be run");
        }
    }
}
