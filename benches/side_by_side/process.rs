//! A process that ends with the measurement, and what the system says of it and its children.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Those that do not end within this time when asked to are killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process; dropping it ends it and its children.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: Child,
    name: String,
    errors: Option<PathBuf>,
}

impl Process {
    /// Starts a command. What it says on standard error goes into `folder`, if one is given, and is shown where it fails; standard
    /// output is left as it is, and standard input is a pipe that ends with this process.
    pub(crate) fn start(command: &mut Command, name: &str, folder: Option<&Path>) -> io::Result<Self> {
        let errors = folder.map(|folder| folder.join("stderr"));
        if let Some(errors) = &errors {
            command.stderr(File::create(errors)?);
        }
        let child = command.stdin(Stdio::piped()).spawn();
        let child = child.map_err(|error| io::Error::other(format!("{name} does not start: {error}")))?;
        Ok(Self { child, name: name.to_owned(), errors })
    }

    /// An error that shows the end of what the process said.
    pub(crate) fn error(&self, what: &str) -> io::Error {
        let said = self.errors.as_ref().map(|path| fs::read_to_string(path).unwrap_or_default()).unwrap_or_default();
        let end: Vec<&str> = said.lines().rev().take(20).collect();
        let end: Vec<&str> = end.into_iter().rev().collect();
        io::Error::other(format!("{} {what}\n{}", self.name, end.join("\n")))
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// User and system time of all its threads and living children, in microseconds (proc(5): fields 14 and 15 of `stat`, in ticks
    /// of 10 ms on every Linux that Rust runs on).
    pub(crate) fn cpu_us(&self) -> io::Result<u64> {
        let mut sum = 0;
        for pid in tree(self.child.id()) {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            sum += fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap_or_default()).sum::<u64>() * 10_000;
        }
        Ok(sum)
    }

    /// As [`Self::cpu_us`], when what is left to do after a load has been done: nothing is used for 40 ms, or half a second is over.
    pub(crate) fn settled_cpu_us(&self) -> io::Result<u64> {
        let mut before = self.cpu_us()?;
        for _ in 0..12 {
            thread::sleep(Duration::from_millis(40));
            let now = self.cpu_us()?;
            if now == before {
                break;
            }
            before = now;
        }
        Ok(before)
    }

    /// The resident memory of it and its children, in KiB.
    pub(crate) fn rss_kib(&self) -> io::Result<u64> {
        let mut sum = 0;
        for pid in tree(self.child.id()) {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            sum +=
                line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap_or_default();
        }
        Ok(sum)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A backend ends when its standard input does.
        drop(self.child.stdin.take());
        let all = tree(self.child.id());
        signal(self.child.id(), Signal::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            // Its children have no one else to end them; they are still its own, since it has not ended.
            for pid in all.into_iter().rev() {
                signal(pid, Signal::SIGKILL);
            }
            let _status = self.child.wait();
        }
    }
}

/// A command that the kernel ends when this process is killed, where util-linux is there to say so. Its process id is the program's.
pub(crate) fn command(program: &Path) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    if !setpriv.exists() {
        return Command::new(program);
    }
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("process ids are positive i32"));
    // It may have ended by itself.
    let _ended = kill(pid, signal);
}

/// A process and all below it.
fn tree(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(pid) = found.get(at).copied() {
        at += 1;
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    found
}
