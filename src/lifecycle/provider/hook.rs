//! Versions that commands start and stop: containers, units of systemd, anything that listens on known addresses once it runs.
//!
//! What they start is not tidegate's child. It outlives a kill of tidegate, and is adopted afterwards where `status` says that it
//! runs; where there is no `status`, `start` is run again and should do no harm.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::error::StartError;
use super::exit::ExitReport;
use super::hook_command::{HookCommand, OnDrop};
use super::hook_stop::{StopCommand, Undo, Undoing};
use super::output::{LAST_LINES_TIMEOUT, Output};
use crate::lifecycle::probe;
use crate::model::name::VersionName;
use crate::model::version::{Endpoint, HookSpec, Start, Stop};

/// How often `status` is asked while the version is up.
const STATUS_EVERY: Duration = Duration::from_secs(10);
/// How long `status` may take.
const STATUS_LIMIT: Duration = Duration::from_secs(10);

/// Starts versions by their commands.
#[derive(Debug, Clone)]
pub struct HookProvider {
    open_files: Option<u64>,
    status_every: Duration,
    undoing: Undoing,
}

impl Default for HookProvider {
    fn default() -> Self {
        Self { open_files: None, status_every: STATUS_EVERY, undoing: Undoing::default() }
    }
}

impl HookProvider {
    /// Gives commands this soft limit on open files and not tidegate's own, which is raised.
    #[must_use]
    pub fn with_open_files(self, soft: Option<u64>) -> Self {
        Self { open_files: soft, ..self }
    }

    /// Asks `status` this often while a version is up; 10 s otherwise.
    #[must_use]
    pub fn with_status_every(self, period: Duration) -> Self {
        Self { status_every: period, ..self }
    }

    /// Runs the start command, unless `status` says that it runs already. It is not ready yet. Once the start
    /// command runs, the stop command is run where it fails, takes too long, or the future is dropped, which kills it; a start after
    /// that waits until the stop command has ended.
    ///
    /// A command has ended when its process has: a daemon that it leaves behind is none of its business, also where that still holds
    /// its output. Such a daemon loses its output when tidegate ends, and had better write to a file.
    ///
    /// # Errors
    /// When a command does not exist, fails, or takes longer than `start.timeout`.
    pub async fn start(
        &self,
        version: &VersionName,
        spec: &HookSpec,
        start: &Start,
        stop: &Stop,
    ) -> Result<HookInstance, StartError> {
        self.undoing.ended(version).await;
        let started = Instant::now();
        let deadline = started + start.timeout;
        let mut instance = HookInstance {
            provider: self.clone(),
            version: version.clone(),
            spec: spec.clone(),
            started,
            output: Output::default(),
            ask_at: started,
            exit: None,
        };
        if let Some(status) = &spec.status {
            let limit = STATUS_LIMIT.min(start.timeout);
            let report = instance.ask(status, limit).await.map_err(|source| cannot_run(status, source))?;
            if report.killed {
                return Err(StartError::HookTimeout { key: "status", limit, lines: report.last_lines, stop: None });
            }
            if report.code == Some(0) {
                info!(version = %version, "runs already, says `hook.status`; not started again");
                return Ok(instance);
            }
        }
        let limit = deadline.saturating_duration_since(Instant::now());
        let command = instance.command(&spec.start, OnDrop::Kill);
        let running = command.start_logged().map_err(|source| cannot_run(&spec.start, source))?;
        let undo = Undo::new(self.undoing.clone(), instance.stop_command(stop));
        let (report, output) = running.end(limit).await.map_err(|source| cannot_run(&spec.start, source))?;
        instance.output = output;
        match report {
            ExitReport { killed: false, code: Some(0), .. } => {
                undo.not_needed();
                Ok(instance)
            }
            ExitReport { killed: true, last_lines: lines, .. } => {
                Err(StartError::HookTimeout { key: "start", limit, lines, stop: undo.run().await.map(Box::new) })
            }
            report => Err(StartError::Hook { key: "start", report, stop: undo.run().await.map(Box::new) }),
        }
    }
}

/// A version that its start command has brought up, or that ran already. Dropped, it goes on running.
#[derive(Debug)]
pub struct HookInstance {
    provider: HookProvider,
    version: VersionName,
    spec: HookSpec,
    started: Instant,
    /// Of the start command, and of what it left behind.
    output: Output,
    /// When `status` is asked next.
    ask_at: Instant,
    exit: Option<ExitReport>,
}

impl HookInstance {
    /// Where it listens, once it is ready.
    pub fn urls(&self) -> &[Endpoint] {
        &self.spec.urls
    }

    /// Waits until all its addresses are ready. Can be cancelled and called again.
    ///
    /// # Errors
    /// When `start.timeout` from its start has passed. It is left as it is.
    pub async fn ready(&mut self, start: &Start) -> Result<(), StartError> {
        let deadline = self.started + start.timeout;
        match probe::until_all_ready(&self.spec.urls, &start.ready, deadline).await {
            Ok(probes) => {
                self.ask_at = Instant::now() + self.provider.status_every;
                debug!(version = %self.version, probes, "ready");
                Ok(())
            }
            Err(last) => {
                // What it has written may not have been read yet, where the time was over when it was asked.
                self.output.ended_within(LAST_LINES_TIMEOUT).await;
                Err(StartError::Timeout { after: start.timeout, last, lines: self.output.last_lines() })
            }
        }
    }

    /// Waits until `status` says that it does not run; for ever where there is none. A `status` that cannot say is no end. Can be
    /// cancelled and called again.
    pub async fn exited(&mut self) -> ExitReport {
        if let Some(report) = &self.exit {
            return report.clone();
        }
        let Some(status) = self.spec.status.clone() else { return std::future::pending().await };
        loop {
            sleep_until(self.ask_at).await;
            let asked = self.ask(&status, STATUS_LIMIT).await;
            self.ask_at = Instant::now() + self.provider.status_every;
            match asked {
                Ok(ExitReport { code: Some(0), .. }) => {}
                Ok(ExitReport { killed: true, .. }) => {
                    warn!(version = %self.version, "`hook.status` did not end within {STATUS_LIMIT:?} and was killed");
                }
                Ok(mut report) => {
                    report.last_lines.push("`hook.status` says that it does not run".to_owned());
                    return self.exit.insert(report).clone();
                }
                Err(error) => warn!(version = %self.version, %error, "cannot run `hook.status`"),
            }
        }
    }

    /// Runs the stop command, for the grace or 10 s, whichever is longer, and reports how that ended; the log says so where it failed or
    /// was killed. Dropping the future leaves the command alone.
    pub async fn stop(self, stop: &Stop) -> ExitReport {
        let command = self.stop_command(stop);
        let running = command.start();
        command.end(running).await
    }

    fn stop_command(&self, stop: &Stop) -> StopCommand {
        let (version, words) = (self.version.clone(), self.spec.stop.clone());
        StopCommand::new(version, words, self.provider.open_files, stop)
    }

    async fn ask(&self, status: &[String], limit: Duration) -> std::io::Result<ExitReport> {
        self.command(status, OnDrop::Kill).run_quietly(limit).await
    }

    fn command<'a>(&'a self, words: &'a [String], on_drop: OnDrop) -> HookCommand<'a> {
        HookCommand { version: &self.version, words, open_files: self.provider.open_files, on_drop }
    }
}

pub(super) fn cannot_run(words: &[String], source: std::io::Error) -> StartError {
    let program = words.first().cloned().unwrap_or_default();
    match source.kind() {
        std::io::ErrorKind::NotFound => StartError::NotFound { program },
        _ => StartError::NotExecutable { program, user: None, source },
    }
}
