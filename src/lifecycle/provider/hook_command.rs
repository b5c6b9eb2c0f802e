//! One run of a hook's command.
#![expect(unsafe_code, reason = "what a child sets between fork and exec goes through `pre_exec`")]

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, killpg, signal};
use nix::unistd::{Pid, getpid, getppid};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::exit::ExitReport;
use super::output::Output;
use crate::model::name::VersionName;

/// What becomes of a command that is not waited for any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnDrop {
    /// It is killed, with its process group; alone, where tidegate is killed. The thread that starts it must live as long as tidegate:
    /// the kernel takes the end of that thread for tidegate's.
    Kill,
    /// It goes on.
    Leave,
}

/// A command in a process group of its own, with nothing on standard input. Its environment is tidegate's, and TIDEGATE_VERSION.
#[derive(Debug)]
pub(super) struct HookCommand<'a> {
    pub(super) version: &'a VersionName,
    /// The program and its arguments; not empty.
    pub(super) words: &'a [String],
    /// The soft limit on open files.
    pub(super) open_files: Option<u64>,
    pub(super) on_drop: OnDrop,
}

impl HookCommand<'_> {
    /// Starts it and logs what it writes; what a daemon that it leaves behind goes on to write is logged too.
    ///
    /// # Errors
    /// When it cannot be run.
    pub(super) fn start_logged(&self) -> io::Result<Logged> {
        let mut running = self.spawn()?;
        let mut output = Output::default();
        let child = &mut running.child;
        output.log(self.version.clone(), "stdout", child.stdout.take().expect("stdout was asked for"));
        output.log(self.version.clone(), "stderr", child.stderr.take().expect("stderr was asked for"));
        Ok(Logged { running, output })
    }

    /// Runs it for `limit` at most without logging, for what is asked again and again. The report is as [`Logged::end`] gives it.
    ///
    /// # Errors
    /// When it cannot be run.
    pub(super) async fn run_quietly(self, limit: Duration) -> io::Result<ExitReport> {
        let mut running = self.spawn()?;
        let mut output = Output::default();
        let child = &mut running.child;
        output.keep(child.stdout.take().expect("stdout was asked for"));
        output.keep(child.stderr.take().expect("stderr was asked for"));
        running.end(limit, &mut output).await
    }

    fn spawn(&self) -> io::Result<Running> {
        let (program, arguments) = self.words.split_first().expect("a command is never empty");
        let mut command = Command::new(program);
        command.args(arguments).env("TIDEGATE_VERSION", self.version.as_str());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let (open_files, on_drop) = (self.open_files, self.on_drop);
        let tidegate = getpid();
        // SAFETY: the closure runs between fork and exec and makes system calls only, which are async-signal-safe; it neither
        // allocates nor locks.
        unsafe {
            command.pre_exec(move || {
                if let Some(soft) = open_files {
                    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
                    setrlimit(Resource::RLIMIT_NOFILE, soft.min(hard), hard)?;
                }
                if on_drop == OnDrop::Leave {
                    // It goes on without tidegate, and must not end over what it writes to nobody.
                    signal(Signal::SIGPIPE, SigHandler::SigIgn)?;
                } else {
                    // A kill of tidegate ends it too; what it leaves behind does not inherit this.
                    prctl::set_pdeathsig(Signal::SIGKILL)?;
                    if getppid() != tidegate {
                        return Err(Errno::ESRCH.into());
                    }
                }
                Ok(())
            });
        }
        Ok(Running { child: command.spawn()?, on_drop: self.on_drop })
    }
}

/// A command that runs and whose output is logged.
pub(super) struct Logged {
    running: Running,
    output: Output,
}

impl Logged {
    /// Waits for its end, for `limit` at most. `killed` says that it ran over the limit and was killed with its process group. The last
    /// lines are those of a command that failed.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub(super) async fn end(mut self, limit: Duration) -> io::Result<(ExitReport, Output)> {
        let report = self.running.end(limit, &mut self.output).await?;
        Ok((report, self.output))
    }
}

/// A command that runs, with its process group.
struct Running {
    child: Child,
    on_drop: OnDrop,
}

impl Running {
    /// Waits for its end, not for that of its output where it went well.
    async fn end(mut self, limit: Duration, output: &mut Output) -> io::Result<ExitReport> {
        let (status, killed) = match timeout(limit, self.child.wait()).await {
            Ok(status) => (status?, false),
            Err(_) => {
                self.kill();
                (self.child.wait().await?, true)
            }
        };
        let mut report =
            ExitReport { code: code(status), killed, stop_failed: false, cause: None, last_lines: Vec::new() };
        if killed || !status.success() {
            output.ended().await;
            report.last_lines = output.last_lines();
        }
        Ok(report)
    }

    /// Kills its group, as long as it has not been waited for: later, the number may be somebody else's, and who is left in the group
    /// was left behind on purpose.
    fn kill(&self) {
        if let Some(group) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            // Failing means that it is gone already.
            let _gone = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.on_drop == OnDrop::Kill {
            self.kill();
        }
    }
}

/// The exit code, as shells count signals.
fn code(status: ExitStatus) -> Option<i32> {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal))
}
