//! The load: so many connections that do the same over and over, for some time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::backend::{LARGE, SMALL, body};
use crate::client::{Client, Fault};
use crate::rows::{Row, Work};
use crate::secure::{Dialer, Identity};
use crate::template::host;

/// A run that is not over so long after its time is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// The requests of a row and what they ask for.
#[derive(Debug)]
pub(crate) struct Requests {
    messages: Vec<Vec<u8>>,
    expected: usize,
    next: AtomicUsize,
    dialer: Dialer,
    is_anew: bool,
}

impl Requests {
    /// One per service, whole with its body.
    pub(crate) fn of(row: &Row, identity: &Identity) -> Self {
        let (line, upload, expected) = match row.work {
            Work::Small | Work::Anew | Work::Streams | Work::Idle => ("GET /small", None, SMALL),
            Work::Down => ("GET /large", None, LARGE),
            Work::Up => ("PUT /drain", Some(body(10 * LARGE)), SMALL),
        };
        let message = |number| {
            let length = upload.as_ref().map_or_else(String::new, |body| format!("Content-Length: {}\r\n", body.len()));
            let head = format!("{line} HTTP/1.1\r\nHost: {}\r\n{length}\r\n", host(number));
            [head.as_bytes(), upload.as_deref().unwrap_or_default()].concat()
        };
        Self {
            messages: (0..row.services).map(message).collect(),
            expected,
            next: AtomicUsize::new(0),
            dialer: identity.dialer(row.opening),
            is_anew: row.work == Work::Anew,
        }
    }

    /// The next service's, round robin over all connections.
    pub(crate) fn next(&self) -> &[u8] {
        match &self.messages[..] {
            [only] => only,
            all => &all[self.next.fetch_add(1, Ordering::Relaxed) % all.len()],
        }
    }

    /// What opens the connections of one client.
    pub(crate) fn dialer(&self) -> Dialer {
        self.dialer.for_another()
    }

    /// The size of each answer's body.
    pub(crate) fn expected(&self) -> usize {
        self.expected
    }
}

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Requests that were answered.
    pub(crate) answered: usize,
    /// How long each of them took, in nanoseconds, sorted; none where that is not known.
    pub(crate) latencies: Vec<u32>,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
    /// The connections that gave up, and why.
    pub(crate) faults: Vec<String>,
}

/// Loads `address` with `connections` for `time`.
pub(crate) fn run(
    address: SocketAddr,
    requests: &Arc<Requests>,
    connections: usize,
    time: Duration,
) -> io::Result<Outcome> {
    let threads = crate::threads().min(connections);
    let began = Instant::now();
    let runs: Vec<_> = (0..threads)
        .map(|thread| {
            let (requests, count) = (Arc::clone(requests), (connections + thread) / threads);
            thread::spawn(move || part(address, &requests, count, time))
        })
        .collect();
    let mut outcome = Outcome::default();
    for run in runs {
        let part = run.join().map_err(|_| io::Error::other("the load panicked"))??;
        outcome.latencies.extend(part.latencies);
        outcome.faults.extend(part.faults);
    }
    outcome.elapsed = began.elapsed();
    outcome.answered = outcome.latencies.len();
    outcome.latencies.sort_unstable();
    Ok(outcome)
}

/// One thread's part.
fn part(address: SocketAddr, requests: &Arc<Requests>, connections: usize, time: Duration) -> io::Result<Outcome> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut tasks = JoinSet::new();
        let end = Instant::now() + time;
        for _ in 0..connections {
            tasks.spawn(repeat(address, Arc::clone(requests), end));
        }
        let mut outcome = Outcome::default();
        let all = async {
            while let Some(task) = tasks.join_next().await {
                let (latencies, fault) = task.map_err(io::Error::other)?;
                outcome.latencies.extend(latencies);
                outcome.faults.extend(fault.map(|fault| fault.to_string()));
            }
            io::Result::Ok(())
        };
        match tokio::time::timeout(time + PATIENCE, all).await {
            Ok(done) => done?,
            Err(_) => outcome.faults.push(Fault::Stuck.to_string()),
        }
        Ok(outcome)
    })
}

async fn repeat(address: SocketAddr, requests: Arc<Requests>, end: Instant) -> (Vec<u32>, Option<Fault>) {
    let mut latencies = Vec::new();
    let done = async {
        let mut dialer = requests.dialer();
        let mut kept = None;
        let mut before = Instant::now();
        while before < end {
            let mut client = match kept.take() {
                Some(client) => client,
                None => Client::connect(address, &mut dialer).await?,
            };
            client.exchange(requests.next(), requests.expected()).await?;
            if requests.is_anew {
                client.close().await?;
            } else {
                kept = Some(client);
            }
            let now = Instant::now();
            latencies.push(u32::try_from((now - before).as_nanos()).unwrap_or(u32::MAX));
            before = now;
        }
        Ok(())
    };
    let fault = done.await.err();
    (latencies, fault)
}
