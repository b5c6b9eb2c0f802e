//! HTTP/2 over TLS by nghttp2's h2load: a client that costs little and keeps all streams busy.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::backend::SMALL;
use crate::load::Outcome;
use crate::process::{self, Process};
use crate::template::host;

/// Requests at once on a connection.
const STREAMS: usize = 32;

/// A run that is not over so long after its time is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program, where it is installed.
pub(crate) fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join("h2load")).find(|program| program.is_file())
}

/// Loads `address` with `connections` for `time`. Latencies stay unknown: h2load only tells them one by one into a file, which costs it
/// more than its requests do.
pub(crate) fn run(address: SocketAddr, connections: usize, time: Duration) -> io::Result<Outcome> {
    let program = find().ok_or_else(|| io::Error::other("h2load is missing"))?;
    let folder = TempDir::with_prefix("side_by_side-")?;
    let output = folder.path().join("output");
    let mut command = process::command(&program);
    command.args(["-c", &connections.to_string(), "-m", &STREAMS.to_string()]);
    command.args(["-t", &crate::threads().min(connections).to_string(), "-D", &format!("{}ms", time.as_millis())]);
    command.arg("--tls13-ciphers=TLS_AES_128_GCM_SHA256").arg(format!("--connect-to={address}"));
    command.arg(format!("https://{}/small", host(0))).stdout(fs::File::create(&output)?);
    let mut process = Process::start(&mut command, "h2load", Some(folder.path()))?;
    let deadline = Instant::now() + time + PATIENCE;
    while !process.has_ended() {
        if Instant::now() > deadline {
            return Err(process.error("is stuck"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    outcome(&output, time).ok_or_else(|| process.error("says nothing that can be read"))
}

fn outcome(output: &Path, time: Duration) -> Option<Outcome> {
    let said = fs::read_to_string(output).ok()?;
    // `requests: 9 total, 9 started, 9 done, 9 succeeded, 0 failed, 0 errored, 0 timeout`
    let requests = said.lines().find_map(|line| line.strip_prefix("requests: "))?;
    let number = |word| requests.split(", ").find_map(|part| part.strip_suffix(word)?.trim().parse::<usize>().ok());
    let (answered, failed) = (number("succeeded")?, number("failed")? + number("errored")? + number("timeout")?);
    // `traffic: 1.12MB (1175408) total, 775.50KB (794112) headers (space savings 51.02%), 80.78KB (82720) data`
    let traffic = said.lines().find_map(|line| line.strip_prefix("traffic: ")?.strip_suffix(") data"))?;
    let bytes: usize = traffic.rsplit('(').next()?.parse().ok()?;
    let mut faults = vec!["a request failed, or its status was not 2xx".to_owned(); failed];
    if !said.contains("Application protocol: h2\n") {
        faults.push("no HTTP/2".to_owned());
    }
    if answered == 0 || bytes < answered * SMALL {
        faults.push(format!("{bytes} bytes for {answered} requests"));
    }
    Some(Outcome { answered, elapsed: time, faults, ..Outcome::default() })
}
