//! One row: everybody is started, measured in turn so many times, and ended.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::figures::quantile;
use crate::load::{self, Outcome, Requests};
use crate::options::Options;
use crate::peers::{Contender, Peer, Running};
use crate::process::Process;
use crate::rows::{Metric, Row, Work};
use crate::secure::Identity;
use crate::{backend, h2load, idle, preflight};

/// Before the first round, everybody is under load for so long ...
const WARM_UP: Duration = Duration::from_millis(700);

/// ... and again until each service has been asked for so often, so that each thread has its connection where each has its own ...
const VISITS: usize = 8;

/// ... but no more often than this.
const MOST_WARM_UPS: u32 = 60;

/// What all rows share.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    /// The backend's address.
    pub(crate) backend: SocketAddr,
    /// The backend.
    pub(crate) process: Process,
    /// What is served over TLS.
    pub(crate) identity: Identity,
    /// How many files a process may open.
    pub(crate) files: u64,
    /// How many threads or workers everybody has.
    pub(crate) threads: usize,
    /// What the command line says.
    pub(crate) options: &'a Options,
}

/// What one contender did in one round.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    /// In the unit of the row's metric.
    pub(crate) value: f64,
    /// CPU microseconds per request.
    pub(crate) cpu_us: f64,
    /// Requests per second.
    pub(crate) rps: f64,
    /// The median latency in microseconds.
    pub(crate) p50_us: f64,
    /// The 99th percentile in microseconds.
    pub(crate) p99_us: f64,
    /// Requests that were answered.
    pub(crate) requests: usize,
    /// What went wrong.
    pub(crate) faults: Vec<String>,
}

/// A row's figures.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) row: &'static Row,
    /// By contender and round. No peer: the backend itself.
    pub(crate) samples: Vec<(Option<Peer>, Vec<Sample>)>,
    /// What is missing in access logs.
    pub(crate) faults: Vec<String>,
}

/// Measures a row.
pub(crate) fn measure(row: &'static Row, contenders: &[Contender], site: &Site<'_>) -> io::Result<Measured> {
    let contenders: Vec<&Contender> = contenders.iter().filter(|contender| contender.peer.joins(row)).collect();
    println!("\n## {}: {}\n", row.name, row.about);
    let mut measured = Measured { row, samples: Vec::new(), faults: Vec::new() };
    if row.has_direct() {
        measured.samples.push((None, Vec::new()));
    }
    measured.samples.extend(contenders.iter().map(|contender| (Some(contender.peer), Vec::new())));
    let requests = Arc::new(Requests::of(row, &site.identity));
    if row.metric == Metric::Memory {
        memory(&mut measured, &contenders, &requests, site)
    } else {
        time(&mut measured, &contenders, &requests, site)
    }?;
    Ok(measured)
}

/// Everybody runs at once, and the one that is measured is the only one that has anything to do.
fn time(
    measured: &mut Measured,
    contenders: &[&Contender],
    requests: &Arc<Requests>,
    site: &Site<'_>,
) -> io::Result<()> {
    let row = measured.row;
    // A proxy may keep a connection per thread and service, which are more files than one backend may open.
    let more = row.services * site.threads / 5_000;
    let _more: Vec<_> = (0..more).map(|_| backend::start(Some(site.backend))).collect::<io::Result<_>>()?;
    let mut running = Vec::new();
    for contender in contenders {
        running.push((contender.peer, started(contender, row, site)?));
    }
    let of = |peer: Option<Peer>| {
        let found = peer.and_then(|peer| running.iter().find(|(each, _)| *each == peer));
        found.map_or((&site.process, site.backend), |(_, running)| (&running.process, running.address))
    };
    for (peer, _) in &measured.samples {
        let mut asked = 0;
        for _ in 0..MOST_WARM_UPS {
            let outcome = load(of(*peer).1, requests, row, WARM_UP)?;
            asked += outcome.answered;
            if row.services == 1 || asked >= row.services * VISITS || !outcome.faults.is_empty() {
                break;
            }
        }
    }
    for turn in order(measured.samples.len(), site.options.rounds) {
        let peer = measured.samples[turn].0;
        let (process, address) = of(peer);
        let time = Duration::from_secs_f64(site.options.seconds);
        let sample = sample(process, address, requests, row, time)?;
        tell(peer, &sample);
        measured.samples[turn].1.push(sample);
    }
    if row.metric == Metric::AddedLatency {
        add_latency(&mut measured.samples);
    }
    for (peer, running) in running {
        let Running { process, log, folder, .. } = running;
        // What it still had to write is written when it ends.
        drop(process);
        let asked: usize = measured
            .samples
            .iter()
            .filter(|(each, _)| *each == Some(peer))
            .flat_map(|(_, all)| all)
            .map(|one| one.requests)
            .sum();
        let written = if row.log { lines(&log)? } else { asked };
        drop(folder);
        if written < asked {
            measured.faults.push(format!("{}: {written} lines in the access log for {asked} requests", peer.name()));
        }
    }
    Ok(())
}

/// Each is started anew for each round: memory that was used once stays.
fn memory(
    measured: &mut Measured,
    contenders: &[&Contender],
    requests: &Arc<Requests>,
    site: &Site<'_>,
) -> io::Result<()> {
    let row = measured.row;
    // The load has one of each, and so has the proxy.
    let count = row.connections.min(usize::try_from(site.files).unwrap_or(usize::MAX) / 3);
    for turn in order(contenders.len(), site.options.rounds) {
        let running = started(contenders[turn], row, site)?;
        let (value, faults) = idle::measure(&running.process, running.address, requests, count)?;
        let sample = Sample { value, requests: count, faults, ..Sample::default() };
        println!("{:9} {value:8.2} KiB/connection{}", contenders[turn].peer.name(), errors(&sample));
        measured.samples[turn].1.push(sample);
    }
    Ok(())
}

fn started(contender: &Contender, row: &Row, site: &Site<'_>) -> io::Result<Running> {
    let mut running = contender.start(row, site)?;
    preflight::check(&mut running.process, running.address, row.services, &site.identity.dialer(row.opening))?;
    Ok(running)
}

/// Who is next: each once per round, and each round begins with another.
fn order(count: usize, rounds: u32) -> impl Iterator<Item = usize> {
    (0..rounds as usize).flat_map(move |round| (0..count).map(move |turn| (round + turn) % count))
}

fn sample(
    process: &Process,
    address: SocketAddr,
    requests: &Arc<Requests>,
    row: &Row,
    time: Duration,
) -> io::Result<Sample> {
    let before = process.settled_cpu_us()?;
    let outcome = load(address, requests, row, time)?;
    let used = process.settled_cpu_us()? - before;
    let (count, latencies) = (outcome.answered, &outcome.latencies);
    let micros = |share| if latencies.is_empty() { f64::NAN } else { f64::from(quantile(latencies, share)) / 1e3 };
    let (cpu_us, p50_us, p99_us) = (used as f64 / count as f64, micros(0.5), micros(0.99));
    let value = if row.metric == Metric::AddedLatency { p50_us } else { cpu_us };
    let rps = count as f64 / outcome.elapsed.as_secs_f64();
    Ok(Sample { value, cpu_us, rps, p50_us, p99_us, requests: count, faults: outcome.faults })
}

fn load(address: SocketAddr, requests: &Arc<Requests>, row: &Row, time: Duration) -> io::Result<Outcome> {
    match row.work {
        Work::Streams => h2load::run(address, row.connections, time),
        _ => load::run(address, requests, row.connections, time),
    }
}

/// What the backend alone takes is not the proxy's.
fn add_latency(samples: &mut [(Option<Peer>, Vec<Sample>)]) {
    let direct: Vec<f64> =
        samples.iter().filter(|(peer, _)| peer.is_none()).flat_map(|(_, all)| all).map(|one| one.p50_us).collect();
    for (_, all) in samples {
        for (sample, direct) in all.iter_mut().zip(&direct) {
            sample.value = sample.p50_us - direct;
        }
    }
}

fn tell(peer: Option<Peer>, sample: &Sample) {
    let name = peer.map_or("direct", Peer::name);
    let Sample { cpu_us, rps, p50_us, p99_us, .. } = sample;
    let latency =
        if p50_us.is_nan() { String::new() } else { format!("   p50 {p50_us:8.0} µs   p99 {p99_us:8.0} µs") };
    println!("{name:9} {cpu_us:9.2} µs CPU {rps:9.0} rps{latency}{}", errors(sample));
}

fn errors(sample: &Sample) -> String {
    let first = sample.faults.first();
    first.map_or_else(String::new, |first| format!("   {} errors, the first: {first}", sample.faults.len()))
}

fn lines(path: &Path) -> io::Result<usize> {
    let (mut file, mut buffer, mut count) = (File::open(path)?, vec![0; 1 << 20], 0);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(count);
        }
        count += memchr::memchr_iter(b'\n', &buffer[..read]).count();
    }
}
