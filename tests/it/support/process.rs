//! Versions that are processes: this very test program, told by its arguments to be a backend.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use super::backend::ok;
use super::raw::Raw;

/// For `command: ...`.
pub(crate) fn command() -> String {
    let program = std::env::current_exe().expect("this program");
    format!("[{program:?}, --exact, \"support::process::serve\", --ignored, --nocapture]")
}

/// Writes a program. A process of its own does: a file that this one writes could for a moment be open in what another test starts
/// just then, and what is open for writing cannot be executed ("Text file busy").
pub(crate) fn write_program(path: &Path, text: &str) {
    let mut command = Command::new("sh");
    command.args(["-c", "cat > \"$0\" && chmod 755 \"$0\""]).arg(path).stdin(Stdio::piped());
    let mut writer = command.spawn().expect("a shell");
    writer.stdin.take().expect("piped").write_all(text.as_bytes()).expect("write");
    assert!(writer.wait().expect("wait").success(), "{}", path.display());
}

/// What a process said: its version, its process id, and the value of the variable `MARK`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) mark: String,
}

impl Said {
    pub(crate) fn parse(text: &str) -> Self {
        let mut words = text.split(' ').map(str::to_owned);
        let mut next = || words.next().unwrap_or_default();
        Self { version: next(), pid: next().parse().expect("a process id"), mark: next() }
    }
}

/// Whether a process is there.
pub(crate) fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // `PID (name) STATE`: a zombie is gone, and only waits to be asked about.
    !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}

#[test]
#[ignore = "a backend for other tests"]
fn serve() {
    let Ok(port) = std::env::var("PORT") else { return };
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let said = format!("{} {} {}", variable("TIDEGATE_VERSION"), std::process::id(), variable("MARK"));
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).expect("bind");
    let ledger = std::env::var("LEDGER").ok();
    for stream in listener.incoming().flatten() {
        let (said, ledger) = (said.clone(), ledger.clone());
        std::thread::spawn(move || {
            let mut raw = Raw::new(stream);
            let open = |path| std::fs::OpenOptions::new().create(true).append(true).open(path).expect("a ledger");
            let mut ledger = ledger.map(open);
            while let Ok(Some(mut request)) = raw.try_head() {
                if raw.body(&mut request, false).is_err() {
                    return;
                }
                if let Some(pause) = request.header("x-pause-ms").and_then(|pause| pause.parse().ok()) {
                    std::thread::sleep(std::time::Duration::from_millis(pause));
                }
                let id = request.header("x-id").map(str::to_owned);
                if let (Some(ledger), Some(id)) = (&mut ledger, &id) {
                    // One write per line: several processes append to one file.
                    ledger.write_all(format!("{id}\n").as_bytes()).expect("write");
                }
                if raw.stream.write_all(&ok(&id.unwrap_or_else(|| said.clone()))).is_err() {
                    return;
                }
            }
        });
    }
}
