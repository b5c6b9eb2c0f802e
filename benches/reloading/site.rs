//! A tidegate with many services, one of which is edited.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Whatever happens takes less than this.
const PATIENCE: Duration = Duration::from_secs(60);

/// The config of many services, and a server for it.
pub(crate) struct Site {
    folder: tempfile::TempDir,
    /// Where it serves.
    pub(crate) address: SocketAddr,
    backend: SocketAddr,
    edited: String,
    edits: usize,
    child: Option<Child>,
    open: Option<TcpStream>,
}

impl Site {
    /// Writes the files: services `s0`, `s1` and so on, each with one version.
    pub(crate) fn write(services: usize, backend: SocketAddr) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let edited = format!("s{}", services / 2);
        let site = Self { folder, address, backend, edited, edits: 0, child: None, open: None };
        fs::create_dir(site.folder.path().join("services"))?;
        fs::write(site.config(), format!("listen: {{http: \"{address}\"}}\nlog: {{level: warn}}\n"))?;
        for number in 0..services {
            let name = format!("s{number}");
            fs::write(site.folder.path().join(format!("services/{name}.yaml")), site.service(&name))?;
        }
        Ok(site)
    }

    /// How long `tidegate check` takes.
    pub(crate) fn check(&self) -> io::Result<Duration> {
        let began = Instant::now();
        let status = self.tidegate("check").stdout(Stdio::null()).status()?;
        if status.success() {
            Ok(began.elapsed())
        } else {
            Err(io::Error::other(format!("`tidegate check`: {status}")))
        }
    }

    /// Starts it, and says how long it took until a request was answered.
    pub(crate) fn start(&mut self) -> io::Result<Duration> {
        let began = Instant::now();
        self.child = Some(self.tidegate("serve").spawn()?);
        while TcpStream::connect(self.address).is_err() {
            if began.elapsed() > PATIENCE {
                return Err(io::ErrorKind::TimedOut.into());
            }
            sleep(Duration::from_millis(1));
        }
        let open = TcpStream::connect(self.address)?;
        open.set_nodelay(true)?;
        open.set_read_timeout(Some(PATIENCE))?;
        self.open = Some(open);
        let answer = self.get()?;
        if answer.starts_with("HTTP/1.1 200 ") { Ok(began.elapsed()) } else { Err(io::Error::other(answer)) }
    }

    /// Edits one service, as editors do, and waits until a request on an open connection sees it; says how long that took.
    pub(crate) fn edit(&mut self) -> io::Result<Duration> {
        self.edits += 1;
        let (file, fresh) = (format!("services/{}.yaml", self.edited), self.folder.path().join("services/.fresh"));
        let text =
            format!("{}headers: {{response: {{set: {{x-edit: \"{}\"}}}}}}\n", self.service(&self.edited), self.edits);
        fs::write(&fresh, text)?;
        fs::rename(&fresh, self.folder.path().join(file))?;
        let began = Instant::now();
        let sign = format!("x-edit: {}\r\n", self.edits);
        while !self.get()?.contains(&sign) {
            if began.elapsed() > PATIENCE {
                return Err(io::Error::other("the edit did not come into force"));
            }
            sleep(Duration::from_micros(500));
        }
        Ok(began.elapsed())
    }

    /// The resident memory of the server, in KiB.
    pub(crate) fn rss_kib(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        Ok(line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or_default())
    }

    /// User and system time that the server has used (proc(5): fields 14 and 15 of `stat`, in ticks of 10 ms).
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()?))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
        Ok(Duration::from_millis((ticks(11) + ticks(12)) * 10))
    }

    fn pid(&self) -> io::Result<u32> {
        self.child.as_ref().map(Child::id).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("tidegate.yaml")
    }

    fn service(&self, name: &str) -> String {
        format!("versions:\n  {name}-001: {{urls: [\"http://{}\"]}}\n", self.backend)
    }

    /// The binary that was built with this, or the one that the environment names.
    fn tidegate(&self, verb: &str) -> Command {
        let program = std::env::var_os("TIDEGATE").unwrap_or_else(|| OsString::from(env!("CARGO_BIN_EXE_tidegate")));
        let mut command = Command::new(program);
        command.arg(verb).arg(self.config()).stdin(Stdio::null());
        command
    }

    fn get(&mut self) -> io::Result<String> {
        let request = format!("GET / HTTP/1.1\r\nHost: {}.localhost\r\n\r\n", self.edited);
        let open = self.open.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        open.write_all(request.as_bytes())?;
        // An answer without a body comes in one piece.
        let mut answer = [0; 4096];
        let length = open.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.open = None;
        if let Some(mut child) = self.child.take() {
            let pid = Pid::from_raw(i32::try_from(child.id()).expect("process ids are positive i32"));
            // It may have ended by itself.
            let _ended = kill(pid, Signal::SIGTERM);
            let _status = child.wait();
        }
    }
}
