//! Many requests held at once for one version that sleeps.
//!
//! Client, tidegate and backend are three processes; the backend takes two seconds before it listens, and 500 requests at a time.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::server::{Server, cpu_ms, open_files, quantile, rss_kib};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How long the backend takes before it listens: until all requests are there.
const START: Duration = Duration::from_millis(2_000);

/// How long it takes for an answer.
const WORK: Duration = Duration::from_millis(20);

/// `max_concurrency` of the version.
const AT_A_TIME: usize = 500;

/// Holds so many, and says whether all were answered 200 by a backend that was started once.
pub(crate) fn run(requests: usize) -> io::Result<bool> {
    let runtime = runtime()?;
    let program = std::env::current_exe()?;
    let starts = tempfile::NamedTempFile::new()?;
    let service = format!(
        "versions:\n  app-001:\n    command: [{:?}, held-backend]\n    env: {{BENCH_STARTS: {:?}}}\n    max_concurrency: {AT_A_TIME}\n",
        program.display().to_string(),
        starts.path().display().to_string(),
    );
    let server = Server::start(&service)?;
    let idle = (rss_kib(server.pid())?, open_files(server.pid())?, cpu_ms(server.pid())?);
    println!("before: {} KiB resident, {} open files", idle.0, idle.1);
    let (answered, mut times, peak) = runtime.block_on(load(&server, requests))?;
    let started = fs::read_to_string(starts.path())?.lines().count();
    times.sort_unstable();
    println!(
        "{requests} requests at once: {answered} answered 200, {started} start(s), {AT_A_TIME} at a time at the backend"
    );
    println!(
        "time to the answer: p50 {} ms, p99 {} ms, max {} ms (the start is {} ms of it)",
        quantile(&times, 0.5),
        quantile(&times, 0.99),
        quantile(&times, 1.0),
        START.as_millis()
    );
    println!(
        "peak: {} KiB resident ({:.1} KiB per held request), {} open files; {} ms CPU",
        peak.0,
        (peak.0 - idle.0) as f64 / requests as f64,
        peak.1,
        cpu_ms(server.pid())? - idle.2
    );
    Ok(answered == requests && started == 1)
}

/// All requests at once: how many were answered 200, the times in milliseconds, and memory and files at the peak.
async fn load(server: &Server, requests: usize) -> io::Result<(usize, Vec<u64>, (u64, usize))> {
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..requests {
        // Connected one by one, so that no queue of the kernel runs over.
        let stream = TcpStream::connect(server.address).await?;
        clients.spawn(ask(stream));
    }
    let (mut answered, mut times, mut peak) = (0, Vec::new(), (0, 0));
    let mut looks = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            _ = looks.tick() => {
                let now = (rss_kib(server.pid())?, open_files(server.pid())?);
                peak = (now.0.max(peak.0), now.1.max(peak.1));
            }
            done = clients.join_next() => match done {
                None => return Ok((answered, times, peak)),
                Some(outcome) => {
                    let (is_good, took) = outcome.map_err(io::Error::other)??;
                    answered += usize::from(is_good);
                    times.push(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
                }
            }
        }
    }
}

async fn ask(mut stream: TcpStream) -> io::Result<(bool, Duration)> {
    let began = Instant::now();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n").await?;
    let mut answer = vec![0; 1024];
    let length = stream.read(&mut answer).await?;
    Ok((answer[..length].starts_with(b"HTTP/1.1 200 "), began.elapsed()))
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// The backend: notes that it was started, and answers each request after a while; keeps connections alive.
pub(crate) fn backend() -> io::Result<()> {
    runtime()?.block_on(serve())
}

async fn serve() -> io::Result<()> {
    let [port, starts] = ["PORT", "BENCH_STARTS"].map(|name| std::env::var(name).map_err(io::Error::other));
    writeln!(OpenOptions::new().append(true).open(starts?)?, "started")?;
    tokio::time::sleep(START).await;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port?.parse().map_err(io::Error::other)?));
    let listener = TcpListener::bind(address).await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut request = vec![0; 4096];
            // A request of the load comes in one read.
            while let Ok(1..) = stream.read(&mut request).await {
                tokio::time::sleep(WORK).await;
                if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n").await.is_err() {
                    return;
                }
            }
        });
    }
}
