//! Cold starts: how long after the backend listens the request that was held for it arrives there, and what probing costs.
//!
//! The backend notes the time between its `listen` and the first byte of a request, which no probe sends. Between rounds the
//! version is put to sleep.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::server::{Server, cpu_ms, get, quantile};

/// How long the backends take before they listen, in milliseconds: quick ones, and one as slow as many real ones.
const DELAYS: [u64; 4] = [20, 100, 300, 1_000];

/// The bar, in microseconds.
const MOST: u64 = 5_000;

/// Measures so many cold starts, and says whether the 99th percentile meets the bar.
pub(crate) fn run(rounds: usize) -> io::Result<bool> {
    let each = rounds.div_ceil(DELAYS.len());
    println!("{} cold starts: from listen to the first byte of the held request at the backend", each * DELAYS.len());
    println!("{:>12} {:>10} {:>10} {:>10} {:>22}", "start", "p50 us", "p99 us", "max us", "tidegate CPU ms/start");
    let mut all = Vec::new();
    for delay in DELAYS {
        let (mut times, cpu) = measure(delay, each)?;
        times.sort_unstable();
        let (p50, p99, max) = (quantile(&times, 0.5), quantile(&times, 0.99), quantile(&times, 1.0));
        println!("{:>9} ms {p50:>10} {p99:>10} {max:>10} {:>22.2}", delay, cpu as f64 / each as f64);
        all.extend(times);
    }
    all.sort_unstable();
    let (p50, p99, max) = (quantile(&all, 0.5), quantile(&all, 0.99), quantile(&all, 1.0));
    println!("{:>12} {p50:>10} {p99:>10} {max:>10}", "all");
    println!("p99 {} the bar of {MOST} us", if p99 <= MOST { "meets" } else { "MISSES" });
    Ok(p99 <= MOST)
}

/// Cold starts of a backend that takes `delay` ms: the times in microseconds, and the CPU milliseconds that tidegate used.
fn measure(delay: u64, rounds: usize) -> io::Result<(Vec<u64>, u64)> {
    let program = std::env::current_exe()?;
    let results = tempfile::NamedTempFile::new()?;
    let service = format!(
        "versions:\n  app-001:\n    command: [{:?}, cold-start-backend, {delay}]\n    env: {{BENCH_RESULTS: {:?}}}\n",
        program.display().to_string(),
        results.path().display().to_string(),
    );
    let server = Server::start(&service)?;
    let before = cpu_ms(server.pid())?;
    for _ in 0..rounds {
        let answer = get(server.address)?;
        if !answer.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(format!("not served: {answer}")));
        }
        server.sleep("app-001")?;
    }
    let cpu = cpu_ms(server.pid())? - before;
    let times: Vec<u64> = fs::read_to_string(results.path())?.lines().filter_map(|line| line.parse().ok()).collect();
    if times.len() != rounds {
        return Err(io::Error::other(format!("{} starts for {rounds} rounds", times.len())));
    }
    Ok((times, cpu))
}

/// Waits, listens, notes when the first byte of a request comes, and answers.
pub(crate) fn backend(delay: Duration) -> io::Result<()> {
    let [port, results] = ["PORT", "BENCH_RESULTS"].map(|name| std::env::var(name).map_err(io::Error::other));
    let (port, results): (u16, String) = (port?.parse().map_err(io::Error::other)?, results?);
    std::thread::sleep(delay);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let listened = Instant::now();
    let mut noted = false;
    for stream in listener.incoming() {
        let mut stream = stream?;
        let mut byte = [0];
        // A probe sends nothing.
        if !matches!(stream.read(&mut byte), Ok(1)) {
            continue;
        }
        if !std::mem::replace(&mut noted, true) {
            let took = listened.elapsed().as_micros();
            writeln!(OpenOptions::new().append(true).open(&results)?, "{took}")?;
        }
        answer(&mut stream)?;
    }
    Ok(())
}

fn answer(stream: &mut TcpStream) -> io::Result<()> {
    let (mut head, mut part) = (Vec::new(), [0; 4096]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut part)? {
            0 => return Ok(()),
            length => head.extend_from_slice(&part[..length]),
        }
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")
}
