//! Versions that are processes of this host, each below a supervisor (`tidegate supervise`) that outlives neither it nor tidegate.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use std::{fs, io};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::select;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::error::StartError;
use super::exit::ExitReport;
use super::listeners::{self, Listening};
use super::output::Output;
use crate::lifecycle::ports::{PortGuard, Ports};
use crate::lifecycle::probe;
use crate::model::name::VersionName;
use crate::model::version::{ProcessSpec, Start, Stop, StopSignal};

/// How long the supervisor may take to say that the program runs.
const SPAWN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long beyond the grace a supervisor may take to kill and reap.
const REAP_TIMEOUT: Duration = Duration::from_secs(5);
/// The listener is looked up again after this: the program may have replaced it between the probe and the look.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The longest line from a supervisor.
const LONGEST_NEWS: usize = 64;

/// Starts processes.
#[derive(Debug, Clone)]
pub struct ProcessProvider {
    supervisor: PathBuf,
    ports: Ports,
    open_files: Option<u64>,
}

impl ProcessProvider {
    /// Starts processes on `ports`, below the supervisor that this very program is.
    pub fn new(ports: Ports) -> Self {
        // Stays the running program, also where its file has been replaced by a newer one.
        Self::with_supervisor("/proc/self/exe".into(), ports)
    }

    /// The same, with another tidegate program as the supervisor.
    pub fn with_supervisor(supervisor: PathBuf, ports: Ports) -> Self {
        Self { supervisor, ports, open_files: None }
    }

    /// Gives processes this soft limit on open files and not tidegate's own, which is raised: programs that use `select` or close all
    /// descriptors do badly with a high one.
    #[must_use]
    pub fn with_open_files(self, soft: Option<u64>) -> Self {
        Self { open_files: soft, ..self }
    }

    /// Starts a process; it is not ready yet. Needs a runtime with I/O and time. Dropping the future leaves nothing behind.
    ///
    /// `stop` is how it stops where nothing else is said: by a signal to its supervisor, or by a kill of tidegate.
    ///
    /// # Errors
    /// When there is no port, the program does not exist or cannot be executed.
    pub async fn start(
        &self,
        version: &VersionName,
        spec: &ProcessSpec,
        stop: &Stop,
    ) -> Result<ProcessInstance, StartError> {
        let port = self.ports.take()?;
        if let Some(path) = &spec.cwd {
            fs::read_dir(path).map_err(|source| StartError::Directory { path: path.clone(), source })?;
        }
        let started = Instant::now();
        let (ours, theirs) = StdUnixStream::pair().map_err(StartError::Supervisor)?;
        ours.set_nonblocking(true).map_err(StartError::Supervisor)?;
        let control = UnixStream::from_std(ours).map_err(StartError::Supervisor)?;
        let mut supervisor =
            self.command(version, spec, stop, port.port(), theirs).spawn().map_err(StartError::Supervisor)?;
        let mut output = Output::default();
        output.log(version.clone(), "stdout", supervisor.stdout.take().expect("stdout was asked for"));
        output.log(version.clone(), "stderr", supervisor.stderr.take().expect("stderr was asked for"));
        let supervisor_pid = supervisor.id().expect("it was not waited for yet");
        let mut instance = ProcessInstance {
            version: version.clone(),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port.port())),
            _port: port,
            supervisor,
            supervisor_pid: pid(supervisor_pid),
            program: None,
            control,
            output,
            started,
            exit: None,
        };
        instance.await_program(spec).await?;
        Ok(instance)
    }

    fn command(
        &self,
        version: &VersionName,
        spec: &ProcessSpec,
        stop: &Stop,
        port: u16,
        control: StdUnixStream,
    ) -> Command {
        let mut command = Command::new(&self.supervisor);
        command.arg0("tidegate").arg("supervise");
        command.arg("--grace-ms").arg(stop.grace.as_millis().to_string());
        command.arg("--signal").arg(name(stop.signal));
        if let Some(open_files) = self.open_files {
            command.arg("--open-files").arg(open_files.to_string());
        }
        let (program, arguments) = spec.command.split_first().expect("a command is never empty");
        // `tidegate` is the one that runs, wherever it lies: the shipped config needs nothing on the PATH.
        let program = if program == "tidegate" { self.supervisor.as_os_str() } else { program.as_ref() };
        command.arg("--").arg(program).args(arguments);
        command.envs(spec.env.iter().map(|(name, value)| (name, value)));
        command.env("PORT", port.to_string()).env("TIDEGATE_VERSION", version.as_str());
        if let Some(cwd) = &spec.cwd {
            command.current_dir(cwd);
        }
        command.stdin(Stdio::from(OwnedFd::from(control))).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C in a terminal is for tidegate, which then stops its processes in order.
        command.process_group(0);
        command
    }
}

/// One process. Dropped, it is stopped without waiting: its stop signal now, KILL half a second later.
#[derive(Debug)]
pub struct ProcessInstance {
    version: VersionName,
    address: SocketAddr,
    _port: PortGuard,
    supervisor: Child,
    supervisor_pid: Pid,
    /// The program, and its process group.
    program: Option<Pid>,
    control: UnixStream,
    output: Output,
    started: Instant,
    exit: Option<ExitReport>,
}

impl ProcessInstance {
    /// Where it listens, once it is ready.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The program's process id.
    pub fn pid(&self) -> Option<u32> {
        self.program.and_then(|pid| u32::try_from(pid.as_raw()).ok())
    }

    /// Waits until it is ready. Can be cancelled and called again.
    ///
    /// # Errors
    /// When it exits, when somebody else has its port, when `start.timeout` from its start has passed (then it says where it
    /// listens instead, if it does). The process is left as it is.
    pub async fn ready(&mut self, start: &Start) -> Result<(), StartError> {
        let wanted = self.address;
        let deadline = self.started + start.timeout;
        let probed = select! {
            biased;
            report = self.exited() => return Err(StartError::Exited { report }),
            probed = probe::until_ready(wanted, &start.ready, deadline) => probed,
        };
        match probed {
            Ok(()) => self.confirm_listener().await,
            Err(last) => match self.listening() {
                Listening::On(found)
                    if !found.is_empty() && !found.iter().any(|one| listeners::answers(*one, wanted)) =>
                {
                    Err(StartError::OtherAddress { wanted, found })
                }
                _ => Err(StartError::Timeout { after: start.timeout, last, lines: self.output.last_lines() }),
            },
        }
    }

    /// Waits until it has ended, and nothing of it is left. Can be cancelled and called again.
    pub async fn exited(&mut self) -> ExitReport {
        if let Some(report) = &self.exit {
            return report.clone();
        }
        let status = match self.supervisor.wait().await {
            Ok(status) => status.code(),
            Err(error) => {
                warn!(version = %self.version, %error, "cannot wait for a supervisor");
                None
            }
        };
        if status.is_none()
            && let Some(group) = self.program
        {
            // The program died with its supervisor (PR_SET_PDEATHSIG); what it started has not. An empty group is fine.
            let _empty = killpg(group, Signal::SIGKILL);
        }
        self.output.ended().await;
        let killed = self.last_news().lines().any(|news| news == "killed");
        let report = ExitReport { code: status, killed, last_lines: self.output.last_lines() };
        self.exit.insert(report).clone()
    }

    /// Stops it: the signal, then KILL after the grace; the log says when that was needed. Returns once nothing of it is left.
    pub async fn stop(mut self, stop: &Stop) -> ExitReport {
        let order = format!("stop {} {}\n", name(stop.signal), stop.grace.as_millis());
        // Failing means that the supervisor has ended.
        let _ended = self.control.write_all(order.as_bytes()).await;
        let report = match timeout(stop.grace.saturating_add(REAP_TIMEOUT), self.exited()).await {
            Ok(report) => report,
            Err(_) => {
                warn!(version = %self.version, pid = self.pid(), "its supervisor does not end; killing it");
                let _ended = self.supervisor.start_kill();
                self.exited().await
            }
        };
        if report.killed {
            let signal = name(stop.signal);
            warn!(version = %self.version, pid = self.pid(), "did not stop within {:?} of SIG{signal} and was killed", stop.grace);
        }
        report
    }

    /// Waits for the supervisor's word on whether the program runs.
    async fn await_program(&mut self, spec: &ProcessSpec) -> Result<(), StartError> {
        let news = match timeout(SPAWN_TIMEOUT, read_line(&mut self.control)).await {
            Ok(news) => news.map_err(StartError::Supervisor)?,
            Err(_) => return Err(StartError::Supervisor(io::ErrorKind::TimedOut.into())),
        };
        match news.split_once(' ').and_then(|(what, number)| Some((what, number.parse::<i32>().ok()?))) {
            Some(("started", pid)) => {
                self.program = Some(Pid::from_raw(pid));
                debug!(version = %self.version, pid, address = %self.address, "started");
                Ok(())
            }
            Some(("failed", errno)) => {
                let program = spec.command.first().cloned().unwrap_or_default();
                let source = io::Error::from_raw_os_error(errno);
                Err(match source.kind() {
                    io::ErrorKind::NotFound => StartError::NotFound { program },
                    _ => StartError::NotExecutable { program, source },
                })
            }
            _ => {
                let report = self.exited().await;
                Err(StartError::Supervisor(io::Error::other(report.to_string())))
            }
        }
    }

    /// Once the port accepts: is it ours that does?
    async fn confirm_listener(&mut self) -> Result<(), StartError> {
        for attempt in 0..2 {
            match self.listening() {
                Listening::On(found) if !found.iter().any(|one| listeners::answers(*one, self.address)) => {}
                _ => return Ok(()),
            }
            if attempt == 0 {
                select! {
                    report = self.exited() => return Err(StartError::Exited { report }),
                    () = sleep(LOOK_AGAIN) => {}
                }
            }
        }
        Err(StartError::PortTaken { port: self.address.port() })
    }

    fn listening(&self) -> Listening {
        listeners::of_descendants(self.supervisor_pid).unwrap_or_else(|error| {
            warn!(version = %self.version, %error, "cannot tell from /proc who listens");
            Listening::Unknown
        })
    }

    /// What the supervisor said and nobody has read yet.
    fn last_news(&self) -> String {
        let mut news = [0; LONGEST_NEWS];
        let length = self.control.try_read(&mut news).unwrap_or(0);
        String::from_utf8_lossy(&news[..length]).into_owned()
    }
}

/// Reads a line without its end; what there is, where the stream ends first.
async fn read_line(source: &mut UnixStream) -> io::Result<String> {
    let mut line = Vec::new();
    while line.len() < LONGEST_NEWS {
        // Byte by byte, so that the next line stays unread.
        match source.read_u8().await {
            Ok(b'\n') => break,
            Ok(byte) => line.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// A signal as `tidegate supervise` takes it.
fn name(signal: StopSignal) -> &'static str {
    match signal {
        StopSignal::Term => "TERM",
        StopSignal::Int => "INT",
        StopSignal::Quit => "QUIT",
        StopSignal::Hup => "HUP",
        StopSignal::Usr1 => "USR1",
        StopSignal::Usr2 => "USR2",
        StopSignal::Kill => "KILL",
    }
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).expect("process ids are positive i32"))
}
