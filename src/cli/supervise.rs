//! `tidegate supervise`: the parent of one version's process. Hidden; the process provider runs it.
//!
//! It exists so that nothing outlives tidegate. It is the subreaper of whatever the program forks, and its standard input is a
//! socket (a pipe will do) from tidegate. It begins with the program's own variables, where `--environment` says so: they are no
//! business of this process, which may be root where the program is not. Anything written there afterwards asks for an orderly stop: the stop signal to everyone, KILL after
//! the grace; `stop SIGNAL MS` says which signal and grace, where they were changed since the start. Its end means that tidegate
//! is gone, be it by kill -9: then the grace is half a second. It ends with the program's status once no descendant is left. To
//! tidegate it says, a line each: `started PID`, `failed ERRNO`, `killed` (the grace was used up), `ended CODE` (the program; its descendants may not have).
//!
//! It stays the user that tidegate is, so that it may signal whatever the program becomes; only the program runs as `--user`.
//!
//! One thread and no runtime: `poll` over the socket and a signalfd.
#![expect(unsafe_code, reason = "what a child sets between fork and exec goes through `pre_exec`")]

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{SFlag, fstat};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid, fchown, getpid, getppid, read, setgid, setgroups, setuid, write};

use crate::lifecycle::provider::process_tree::descendants;

/// How long the stop signal may take to act when tidegate itself is gone, and for what a program leaves behind.
const ORPHANED_GRACE: Duration = Duration::from_millis(500);
/// How often KILL is repeated for what was forked while the last round went out.
const KILL_AGAIN: Duration = Duration::from_millis(20);

/// The arguments of `tidegate supervise`.
#[derive(Debug, clap::Args)]
pub struct SuperviseArgs {
    /// Milliseconds between the stop signal and KILL on an orderly stop
    #[arg(long)]
    grace_ms: u64,
    /// The signal that asks the program to stop, such as TERM or INT
    #[arg(long, value_parser = parse_signal)]
    signal: Signal,
    /// The program's soft limit on open files
    #[arg(long)]
    open_files: Option<u64>,
    /// The program's working directory; it need not answer for the supervisor to start
    #[arg(long)]
    cwd: Option<PathBuf>,
    /// Standard input begins with variables for the program: their length (32 bits, little endian), then NAME=value with a NUL each
    #[arg(long)]
    environment: bool,
    /// Runs the program as this user and main group, by number: UID:GID
    #[arg(long, value_parser = parse_user)]
    user: Option<(Uid, Gid)>,
    /// All groups of that user, by number
    #[arg(long, value_delimiter = ',', value_parser = parse_group)]
    groups: Vec<Gid>,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs the program until it and all its descendants are gone.
///
/// The exit code is the program's, or 128 plus the signal that ended it; 127 when the program does not exist, 126 when it cannot
/// be executed, 125 when supervising itself failed. The reason is then on standard error.
pub fn run(args: &SuperviseArgs) -> ExitCode {
    match supervise(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Standard error may be gone together with tidegate; there is nobody left to tell.
            let _told = writeln!(io::stderr(), "tidegate: {error}");
            ExitCode::from(error.code())
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum SuperviseError {
    #[error("cannot run `{}`: {source}", program.display())]
    Exec { program: OsString, source: io::Error },
    #[error("cannot supervise: {0}")]
    System(#[from] Errno),
}

impl SuperviseError {
    fn code(&self) -> u8 {
        match self {
            Self::Exec { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Exec { .. } => 126,
            Self::System(_) => 125,
        }
    }
}

fn supervise(args: &SuperviseArgs) -> Result<u8, SuperviseError> {
    if let Some(open_files) = args.open_files {
        // tidegate raised its own, and with it this one's. One that cannot be lowered again is no reason not to start.
        let _lowered = getrlimit(Resource::RLIMIT_NOFILE)
            .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, open_files.min(hard), hard));
    }
    // Started through /proc/self/exe, it would be listed as `exe`.
    prctl::set_name(c"tidegate-sv")?;
    prctl::set_child_subreaper(true)?;
    let watched = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    watched.thread_block()?;
    let signals = SignalFd::with_flags(&watched, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let environment = if args.environment { read_environment()? } else { Vec::new() };
    let program = match spawn(args, &environment) {
        Ok(program) => program,
        Err(source) => {
            tell(&format!("failed {}", source.raw_os_error().unwrap_or(0)));
            return Err(SuperviseError::Exec { program: args.command[0].clone(), source });
        }
    };
    tell(&format!("started {program}"));
    let grace = Duration::from_millis(args.grace_ms);
    Supervisor { program, signal: args.signal, grace, status: None, stop_by: None, told_killed: false, orphaned: false }
        .run(&signals)
}

struct Supervisor {
    /// The program; also its process group.
    program: Pid,
    signal: Signal,
    grace: Duration,
    /// The program's exit code, once it was reaped.
    status: Option<u8>,
    /// Set once the stop signal has been sent: when KILL follows.
    stop_by: Option<Instant>,
    told_killed: bool,
    /// tidegate is gone.
    orphaned: bool,
}

impl Supervisor {
    fn run(mut self, signals: &SignalFd) -> Result<u8, SuperviseError> {
        // A subreaper without children has no descendants either: whatever loses its parent becomes its child.
        while self.reap()? {
            if self.status.is_some() {
                self.stop_within(ORPHANED_GRACE);
            }
            let wait = self.kill_if_due();
            self.wait_for_news(signals, wait)?;
        }
        Ok(self.status.unwrap_or(0))
    }

    /// Reaps what has ended; false when no child is left.
    fn reap(&mut self) -> Result<bool, Errno> {
        loop {
            let (pid, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as u8),
                Ok(WaitStatus::StillAlive) => return Ok(true),
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(Errno::ECHILD) => return Ok(false),
                Err(error) => return Err(error),
            };
            if pid == self.program {
                self.status = Some(code);
                tell(&format!("ended {code}"));
            }
        }
    }

    /// Sends the stop signal, unless it was sent already, and sees to it that KILL follows within `grace`.
    fn stop_within(&mut self, grace: Duration) {
        let by = Instant::now() + grace;
        match &mut self.stop_by {
            Some(earlier) => *earlier = by.min(*earlier),
            None => {
                self.stop_by = Some(by);
                self.signal_all(self.signal);
            }
        }
    }

    /// Sends KILL when its time has come, and says how long to wait for news at most.
    fn kill_if_due(&mut self) -> Option<Duration> {
        let left = self.stop_by?.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return Some(left);
        }
        self.signal_all(Signal::SIGKILL);
        if !self.told_killed && self.status.is_none() {
            tell("killed");
        }
        self.told_killed = true;
        Some(KILL_AGAIN)
    }

    /// Signals each descendant once: some programs take a second TERM as "at once".
    fn signal_all(&self, signal: Signal) {
        // The group's number is ours only as long as its leader has not been reaped.
        let group = self.status.is_none().then_some(self.program);
        if let Some(group) = group {
            // Failing means that it is gone already.
            let _gone = killpg(group, signal);
        }
        for descendant in descendants(getpid()).unwrap_or_default() {
            if Some(descendant.group) != group {
                let _gone = kill(descendant.pid, signal);
            }
        }
    }

    /// Waits for a child's end, a signal, or tidegate's word or end.
    fn wait_for_news(&mut self, signals: &SignalFd, wait: Option<Duration>) -> Result<(), Errno> {
        let stdin = io::stdin();
        let mut sources = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        if !self.orphaned {
            sources.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        // Rounded up: with 0 ms left of a deadline that has not passed, poll would spin.
        let timeout = wait.map_or(PollTimeout::NONE, |wait| {
            PollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut sources, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
        let told = sources.get(1).and_then(PollFd::any).unwrap_or(false);
        while let Some(signal) = signals.read_signal()? {
            if signal.ssi_signo != Signal::SIGCHLD as u32 {
                self.stop_within(self.grace);
            }
        }
        if told {
            let mut order = [0; 64];
            match read(stdin.as_fd(), &mut order) {
                Ok(length @ 1..) => {
                    if let Some((signal, grace)) = parse_order(&order[..length]) {
                        (self.signal, self.grace) = (signal, grace);
                    }
                    self.stop_within(self.grace);
                }
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                // The end; a socket closed over unread lines says ECONNRESET.
                Ok(0) | Err(_) => {
                    self.orphaned = true;
                    self.stop_within(ORPHANED_GRACE);
                }
            }
        }
        Ok(())
    }
}

/// Starts the program as the leader of its own group, with nothing on standard input.
fn spawn(args: &SuperviseArgs, environment: &[(OsString, OsString)]) -> io::Result<Pid> {
    let supervisor = getpid();
    let mut child = Command::new(&args.command[0]);
    child.envs(environment.iter().map(|(name, value)| (name, value)));
    child.args(&args.command[1..]).stdin(Stdio::null()).process_group(0);
    if let Some(cwd) = &args.cwd {
        child.current_dir(cwd);
    }
    let user = args.user;
    let groups = args.groups.clone();
    if let Some((uid, _)) = user {
        hand_over_pipes(uid);
    }
    // SAFETY: the closure runs between fork and exec and makes system calls only, which are async-signal-safe (those that change
    // the user also in that there is no other thread to tell of it); it neither allocates nor locks.
    unsafe {
        child.pre_exec(move || {
            SigSet::empty().thread_set_mask()?;
            if let Some((uid, gid)) = user {
                setgroups(&groups)?;
                setgid(gid)?;
                setuid(uid)?;
            }
            // Should the supervisor itself be killed, at least the program goes with it. After the change of user, with which the
            // kernel forgets it.
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            if getppid() != supervisor {
                return Err(Errno::ESRCH.into());
            }
            Ok(())
        });
    }
    let child = child.spawn()?;
    Ok(Pid::from_raw(i32::try_from(child.id()).expect("process ids are positive i32")))
}

/// Reads the program's own variables.
fn read_environment() -> Result<Vec<(OsString, OsString)>, Errno> {
    let mut length = [0; size_of::<u32>()];
    read_exact(&mut length)?;
    let length = usize::try_from(u32::from_le_bytes(length)).expect("a usize has 32 bits at least");
    let mut block = vec![0; length];
    read_exact(&mut block)?;
    let variables = block.split(|byte| *byte == 0).filter_map(|variable| {
        let equals = variable.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (&variable[..equals], &variable[equals + 1..]);
        Some((OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec())))
    });
    Ok(variables.collect())
}

/// Fills `buffer` from standard input and takes not a byte more: what follows are orders.
fn read_exact(buffer: &mut [u8]) -> Result<(), Errno> {
    let stdin = io::stdin();
    let mut filled = 0;
    while filled < buffer.len() {
        match read(stdin.as_fd(), &mut buffer[filled..]) {
            Ok(0) => return Err(Errno::EPIPE),
            Ok(length) => filled += length,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Gives the pipes that the program writes to into its user's hands, so that it can open /dev/stdout and /dev/stderr by name. Files
/// and terminals stay whose they are.
fn hand_over_pipes(uid: Uid) {
    let (stdout, stderr) = (io::stdout(), io::stderr());
    for pipe in [stdout.as_fd(), stderr.as_fd()] {
        if fstat(pipe).is_ok_and(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFIFO) {
            // What is open can be written to all the same.
            let _handed_over = fchown(pipe, Some(uid), None);
        }
    }
}

/// Tells tidegate, which is at the other end of standard input if that is a socket.
fn tell(news: &str) {
    // A plain pipe cannot be written to, and tidegate may be gone: both are fine.
    let _told = write(io::stdin().as_fd(), format!("{news}\n").as_bytes());
}

/// Reads `stop TERM 10000`.
fn parse_order(order: &[u8]) -> Option<(Signal, Duration)> {
    let (signal, grace) = std::str::from_utf8(order).ok()?.trim_end().strip_prefix("stop ")?.split_once(' ')?;
    Some((parse_signal(signal).ok()?, Duration::from_millis(grace.parse().ok()?)))
}

/// Reads `1000:1000`.
fn parse_user(pair: &str) -> Result<(Uid, Gid), String> {
    let numbers = pair.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
    numbers
        .map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid)))
        .ok_or_else(|| format!("`{pair}` is not a user; say UID:GID"))
}

fn parse_group(number: &str) -> Result<Gid, String> {
    number.parse().map(Gid::from_raw).map_err(|_| format!("`{number}` is not the number of a group"))
}

/// Reads `TERM` or `SIGTERM`.
fn parse_signal(name: &str) -> Result<Signal, String> {
    let full = if name.starts_with("SIG") { name.to_owned() } else { format!("SIG{name}") };
    full.parse().map_err(|_unknown| format!("`{name}` is not a signal; say TERM, INT, QUIT, HUP, USR1 or USR2"))
}
