//! Versions that are processes of this host, each below a supervisor (`tidegate supervise`) that outlives neither it nor tidegate.

mod another_port;
mod control;
mod environment;
mod supervisor;

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::select;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use self::another_port::Again;
use self::control::Control;
use self::environment::environment;
use self::supervisor::Supervisor;
use super::error::StartError;
use super::exit::ExitReport;
use super::line_rate::LineRates;
use super::listeners::{self, Listening};
use super::output::{LAST_LINES_TIMEOUT, Output};
use super::user::{User, UserError};
use crate::lifecycle::ports::Ports;
use crate::lifecycle::probe::{self, NotReady};
use crate::model::name::VersionName;
use crate::model::version::{ProcessSpec, Readiness, Start, Stop, StopSignal};

/// How long the supervisor may take to say that the program runs.
const SPAWN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long beyond the grace a supervisor may take to kill and reap.
const REAP_TIMEOUT: Duration = Duration::from_secs(5);
/// The listener is looked up again after this: the program may have replaced it between the probe and the look.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Starts processes.
#[derive(Debug, Clone)]
pub struct ProcessProvider {
    supervisor: PathBuf,
    ports: Ports,
    open_files: Option<u64>,
    rates: LineRates,
}

impl ProcessProvider {
    /// Starts processes on `ports`, below the supervisor that this very program is.
    pub fn new(ports: Ports) -> Self {
        // Stays the running program, also where its file has been replaced by a newer one.
        Self::with_supervisor("/proc/self/exe".into(), ports)
    }

    /// The same, with another tidegate program as the supervisor.
    pub fn with_supervisor(supervisor: PathBuf, ports: Ports) -> Self {
        Self { supervisor, ports, open_files: None, rates: LineRates::default() }
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
    /// When there is no port, the program does not exist or cannot be executed, there is no such user, or looking for that user or the
    /// working directory takes longer than `start.timeout` each.
    pub async fn start(
        &self,
        version: &VersionName,
        spec: &ProcessSpec,
        start: &Start,
        stop: &Stop,
    ) -> Result<ProcessInstance, StartError> {
        let mut instance = self.launch(version, spec, start, stop).await?;
        let again = Again { provider: self.clone(), spec: spec.clone(), start: start.clone(), stop: stop.clone() };
        instance.again = Some(Arc::new(again));
        Ok(instance)
    }

    /// One start, on one port.
    async fn launch(
        &self,
        version: &VersionName,
        spec: &ProcessSpec,
        start: &Start,
        stop: &Stop,
    ) -> Result<ProcessInstance, StartError> {
        let port = self.ports.take()?;
        let user = set_up(spec, start.timeout).await?;
        let started = Instant::now();
        let account = user.as_ref().and_then(|user| user.account.as_ref());
        let environment = environment(version, spec, account, port.port()).map_err(StartError::Supervisor)?;
        let (ours, theirs) = StdUnixStream::pair().map_err(StartError::Supervisor)?;
        ours.set_nonblocking(true).map_err(StartError::Supervisor)?;
        let control = UnixStream::from_std(ours).map_err(StartError::Supervisor)?;
        let mut supervisor = self.command(spec, stop, user, theirs).spawn().map_err(StartError::Supervisor)?;
        let mut output = Output::with_rate(self.rates.of(version));
        output.log(version.clone(), "stdout", supervisor.stdout.take().expect("stdout was asked for"));
        output.log(version.clone(), "stderr", supervisor.stderr.take().expect("stderr was asked for"));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.port()));
        let mut instance = ProcessInstance {
            version: version.clone(),
            address,
            supervisor: Supervisor::watch(supervisor, port),
            program: None,
            control: Control::new(control),
            output,
            started,
            again: None,
            port_lost: false,
            killed: false,
            exit: None,
        };
        instance.await_program(spec, &environment).await?;
        Ok(instance)
    }

    fn command(&self, spec: &ProcessSpec, stop: &Stop, user: Option<User>, control: StdUnixStream) -> Command {
        let mut command = Command::new(&self.supervisor);
        command.arg0("tidegate").arg("supervise");
        command.arg("--grace-ms").arg(stop.grace.as_millis().to_string());
        command.arg("--signal").arg(name(stop.signal));
        if let Some(open_files) = self.open_files {
            command.arg("--open-files").arg(open_files.to_string());
        }
        if let Some(cwd) = &spec.cwd {
            // Not the supervisor's own: starting that one would wait for the folder, with all of tidegate.
            command.arg("--cwd").arg(cwd);
        }
        // The supervisor may be root where the program is not, so it gets nothing of what the version says (LD_PRELOAD).
        command.arg("--environment");
        if let Some(User { uid, gid, groups, .. }) = user {
            command.arg("--user").arg(format!("{uid}:{gid}"));
            let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
            if !groups.is_empty() {
                command.arg("--groups").arg(groups.join(","));
            }
        }
        let (program, arguments) = spec.command.split_first().expect("a command is never empty");
        // `tidegate` is the one that runs, wherever it lies: the shipped config needs nothing on the PATH.
        let program = if program == "tidegate" { self.supervisor.as_os_str() } else { program.as_ref() };
        command.arg("--").arg(program).args(arguments);
        command.stdin(Stdio::from(OwnedFd::from(control))).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C in a terminal is for tidegate, which then stops its processes in order.
        command.process_group(0);
        command
    }
}

/// One process. Dropped, it is stopped without waiting: its stop signal now, KILL half a second later. Its port is given back once
/// nothing of it is left.
#[derive(Debug)]
pub struct ProcessInstance {
    version: VersionName,
    address: SocketAddr,
    supervisor: Supervisor,
    /// The program, and its process group.
    program: Option<Pid>,
    control: Control,
    output: Output,
    started: Instant,
    /// How to start it again where somebody else has its port; `None` once that was done, or it is ready.
    again: Option<Arc<Again>>,
    /// Somebody else has its port, so it is to be started again.
    port_lost: bool,
    /// Its grace was used up.
    killed: bool,
    exit: Option<ExitReport>,
}

impl ProcessInstance {
    /// Where it listens, once it is ready. Until then it may be started again on another port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The program's process id.
    pub fn pid(&self) -> Option<u32> {
        self.program.and_then(|pid| u32::try_from(pid.as_raw()).ok())
    }

    /// Waits until it is ready. Can be cancelled and called again.
    ///
    /// Where somebody else turns out to have its port, because the two came at the same time, it is stopped and started on another
    /// one, once; the time limit stays that of the first start.
    ///
    /// # Errors
    /// When it exits, when somebody else has its second port too, when `start.timeout` from its start has passed (then it says where
    /// it listens instead, if it does). The process is left as it is.
    pub async fn ready(&mut self, start: &Start) -> Result<(), StartError> {
        loop {
            if self.port_lost {
                self.move_to_another_port().await?;
            }
            let ready = self.ready_on_its_port(start).await;
            self.port_lost = match &ready {
                Err(error) if self.again.is_some() => self.lost_its_port(error).await,
                _ => false,
            };
            if !self.port_lost {
                self.again = None;
                return ready;
            }
        }
    }

    async fn ready_on_its_port(&mut self, start: &Start) -> Result<(), StartError> {
        let wanted = self.address;
        let deadline = self.started + start.timeout;
        // The port first, also where a path is to answer: a stranger on it is told from a program that is not ready yet.
        let mut probed = self.probe(&Readiness::Port, deadline).await?;
        if probed.is_ok() {
            self.confirm_listener().await?;
            if start.ready != Readiness::Port {
                probed = self.probe(&start.ready, deadline).await?;
            }
        }
        let Err(last) = probed else { return Ok(()) };
        // What it has written may not have been read yet, where the time was over when it was asked.
        self.output.ended_within(LAST_LINES_TIMEOUT).await;
        match self.listening() {
            Listening::On(found) if !found.is_empty() && !found.iter().any(|one| listeners::answers(*one, wanted)) => {
                Err(StartError::OtherAddress { wanted, found })
            }
            _ => Err(StartError::Timeout { after: start.timeout, last, lines: self.output.last_lines() }),
        }
    }

    /// Probes its port until it is ready; an error of the outer kind where it exits first.
    async fn probe(&mut self, readiness: &Readiness, deadline: Instant) -> Result<Result<(), NotReady>, StartError> {
        let address = self.address;
        select! {
            biased;
            report = self.exited() => Err(StartError::Exited { report }),
            probed = probe::until_ready(address, readiness, deadline) => Ok(probed.map(|probes| {
                debug!(version = %self.version, %address, ?readiness, probes, "ready");
            })),
        }
    }

    /// Waits until its program has ended. What that has left behind is ended too, within about half a second, and
    /// [`gone`](Self::gone) waits for that. Can be cancelled and called again.
    pub async fn exited(&mut self) -> ExitReport {
        if let Some(report) = &self.exit {
            return report.clone();
        }
        loop {
            // Its word first: it says more than how the supervisor ended.
            let news = select! {
                biased;
                news = self.control.next() => news,
                _ = self.supervisor.ended() => self.control.unread(),
            };
            match news.as_deref().map(|news| (news, news.strip_prefix("ended "))) {
                Some(("killed", _)) => self.killed = true,
                Some((_, Some(code))) => {
                    // Whoever is left may hold the pipes; what the program itself wrote is in them already.
                    self.output.ended_within(LAST_LINES_TIMEOUT).await;
                    return self.report(code.parse().ok());
                }
                Some(_) => {}
                None => break,
            }
        }
        self.gone().await
    }

    /// Waits until nothing of it is left. Can be cancelled and called again.
    pub async fn gone(&mut self) -> ExitReport {
        let status = self.supervisor.ended().await;
        if status.is_none()
            && self.exit.is_none()
            && let Some(group) = self.program
        {
            // The program died with its supervisor (PR_SET_PDEATHSIG); what it started has not. An empty group is fine.
            let _empty = killpg(group, Signal::SIGKILL);
        }
        self.output.ended().await;
        if let Some(report) = &self.exit {
            return report.clone();
        }
        while let Some(news) = self.control.unread() {
            self.killed |= news == "killed";
        }
        self.report(status)
    }

    fn report(&mut self, code: Option<i32>) -> ExitReport {
        let report = ExitReport {
            code,
            killed: self.killed,
            stop_failed: false,
            cause: None,
            last_lines: self.output.last_lines(),
        };
        self.exit.insert(report).clone()
    }

    /// Stops it: the signal, then KILL after the grace; the log says when that was needed. Returns once nothing of it is left.
    pub async fn stop(mut self, stop: &Stop) -> ExitReport {
        self.end(stop).await
    }

    /// Stops it. Can be cancelled and called again.
    async fn end(&mut self, stop: &Stop) -> ExitReport {
        let order = format!("stop {} {}\n", name(stop.signal), stop.grace.as_millis());
        self.control.say(order.as_bytes()).await;
        let report = match timeout(stop.grace.saturating_add(REAP_TIMEOUT), self.gone()).await {
            Ok(report) => report,
            Err(_) => {
                warn!(version = %self.version, pid = self.pid(), "its supervisor does not end; killing it");
                self.supervisor.kill();
                self.gone().await
            }
        };
        if report.killed {
            let signal = name(stop.signal);
            warn!(version = %self.version, pid = self.pid(), "did not stop within {:?} of SIG{signal} and was killed", stop.grace);
        }
        report
    }

    /// Hands the program's variables over and waits for the supervisor's word on whether it runs.
    async fn await_program(&mut self, spec: &ProcessSpec, environment: &[u8]) -> Result<(), StartError> {
        let control = &mut self.control;
        let start = async {
            control.say(environment).await;
            control.next().await
        };
        let news = match timeout(SPAWN_TIMEOUT, start).await {
            Ok(news) => news.unwrap_or_default(),
            Err(_) => {
                // It may hang in the folder of `cwd`, and then would not notice that nobody wants it any more.
                self.supervisor.kill();
                return Err(StartError::Supervisor(io::ErrorKind::TimedOut.into()));
            }
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
                    _ if errno == libc::EPERM && spec.user.is_some() => {
                        UserError::NotPermitted(spec.user.clone().unwrap_or_default()).into()
                    }
                    _ => StartError::NotExecutable { program, user: spec.user.clone(), source },
                })
            }
            _ => {
                let report = self.gone().await;
                Err(StartError::Supervisor(io::Error::other(report.to_string())))
            }
        }
    }

    /// Once the port accepts: is it ours that does?
    async fn confirm_listener(&mut self) -> Result<(), StartError> {
        if listeners::is_answered_below(self.supervisor.pid(), self.address) {
            return Ok(());
        }
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
        listeners::of_descendants(self.supervisor.pid()).unwrap_or_else(|error| {
            warn!(version = %self.version, %error, "cannot tell from /proc who listens");
            Listening::Unknown
        })
    }
}

/// Looks the user up and at the working directory, both of which may be on the network.
async fn set_up(spec: &ProcessSpec, limit: Duration) -> Result<Option<User>, StartError> {
    let user = match spec.user.clone() {
        Some(user) => aside(limit, move || User::look_up(&user))
            .await?
            .ok_or_else(|| StartError::NoUserInTime { user: spec.user.clone().unwrap_or_default(), limit })??,
        None => None,
    };
    if let Some(path) = spec.cwd.clone() {
        let look = move || fs::read_dir(&path).map(drop).map_err(|source| StartError::Directory { path, source });
        let path = spec.cwd.clone().unwrap_or_default();
        aside(limit, look).await?.ok_or(StartError::NoDirectoryInTime { path, limit })??;
    }
    Ok(user)
}

/// Does what blocks on a thread of its own; `None` where that takes longer than `limit`.
async fn aside<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Option<T>, StartError> {
    match timeout(limit, spawn_blocking(work)).await {
        Ok(done) => done.map(Some).map_err(|end| StartError::Supervisor(end.into())),
        Err(_) => Ok(None),
    }
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn what_never_answers_is_given_up_and_names_itself() {
        let (answer, question) = mpsc::channel::<()>();
        let limit = Duration::from_millis(20);
        let given_up = aside(limit, move || question.recv().is_ok()).await.expect("a thread");
        assert_eq!(given_up, None);
        drop(answer);
        assert_eq!(aside(Duration::from_secs(20), || 7).await.expect("a thread"), Some(7));
        let error = StartError::NoDirectoryInTime { path: "/net/shop".into(), limit }.to_string();
        assert!(error.contains("`/net/shop` of `cwd`") && error.contains("within 20ms"), "{error}");
    }
}
