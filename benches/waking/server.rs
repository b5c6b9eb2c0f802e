//! What the measurements share: the real program with a config of its own, and what the system says of a process.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A tidegate that serves one service, `app`.
pub(crate) struct Server {
    child: Child,
    folder: tempfile::TempDir,
    /// Where it serves.
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts it with the file of its service, and waits until it accepts.
    pub(crate) fn start(service: &str) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        fs::create_dir(folder.path().join("services"))?;
        fs::write(folder.path().join("services/app.yaml"), service)?;
        fs::write(
            folder.path().join("tidegate.yaml"),
            format!("listen: {{http: \"{address}\"}}\nlog: {{level: warn}}\n"),
        )?;
        let child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .arg("serve")
            .arg(folder.path().join("tidegate.yaml"))
            .stdin(Stdio::null())
            .spawn()?;
        let server = Self { child, folder, address };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::yield_now();
        }
        Ok(server)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Puts a version to sleep, and returns when it is.
    pub(crate) fn sleep(&self, version: &str) -> io::Result<()> {
        let config = self.folder.path().join("tidegate.yaml");
        let status = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["sleep", version, "--config"])
            .arg(config)
            .stdout(Stdio::null())
            .status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("`tidegate sleep {version}`: {status}"))) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("process ids are positive i32"));
        // It may have ended by itself.
        let _ended = kill(pid, Signal::SIGTERM);
        let _status = self.child.wait();
    }
}

/// Sends a GET for the service and reads the answer to the end of the connection.
pub(crate) fn get(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// User and system time that a process has used itself, in milliseconds (proc(5): fields 14 and 15 of `stat`, in ticks of 10 ms).
pub(crate) fn cpu_ms(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
    Ok((ticks(11) + ticks(12)) * 10)
}

/// The resident memory of a process, in KiB.
pub(crate) fn rss_kib(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or_default())
}

/// How many files a process has open.
pub(crate) fn open_files(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// The value below which `share` of the sorted values are.
pub(crate) fn quantile<T: Copy>(sorted: &[T], share: f64) -> T {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted[at.clamp(1, sorted.len()) - 1]
}
