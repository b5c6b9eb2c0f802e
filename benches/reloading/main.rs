//! What it costs to reload one service among many, measured on the real program over real sockets.
//!
//! `cargo bench --bench reloading [-- SERVICES [RELOADS]]`. One file is edited five times a second while clients ask for another
//! service; then it is edited again and again, and memory is compared. Exit code 1 where a bar of `benches/README.md` is missed.
#![expect(clippy::print_stdout, reason = "it prints what it measures")]

mod site;
mod traffic;

use std::io;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use self::site::Site;
use self::traffic::Traffic;

/// What a save waits for quiet, so that several writes are one reload; not counted.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// The bar: from there until a request sees the edit.
const MOST: Duration = Duration::from_millis(50);
/// From one edit to the next.
const PAUSE: Duration = Duration::from_millis(200);
/// So long with and without edits, by turns, so often.
const PHASE: Duration = Duration::from_secs(5);
const PHASES: usize = 4;
/// Memory may grow by so much, in KiB: what an allocator keeps in hand.
const GROWTH: u64 = 4 * 1024;

fn main() -> io::Result<ExitCode> {
    // Cargo adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let number = |at: usize, default: usize| {
        words.get(at).map_or(Ok(default), |word: &String| word.parse().map_err(io::Error::other))
    };
    let (services, reloads) = (number(0, 10_000)?, number(1, 1_000)?);
    let runtime = traffic::runtime()?;
    let backend = runtime.block_on(traffic::backend())?;
    let mut site = Site::write(services, backend)?;
    println!("{services} services: `tidegate check` takes {} ms", site.check()?.as_millis());
    println!("from `serve` to the first answer: {} ms", site.start()?.as_millis());
    // Files that have only just been written are not trusted to stay the same: until then the first loads read all of them.
    sleep(Duration::from_secs(4));
    println!(
        "resident memory: {} KiB ({:.1} KiB per service)",
        site.rss_kib()?,
        site.rss_kib()? as f64 / services as f64
    );

    let (in_force, quiet, edited) = under_traffic(&mut site, &runtime)?;
    let at = |share| millis(quantile(&in_force, share).saturating_sub(DEBOUNCE));
    println!(
        "{} edits under traffic, in force after the debounce: p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms",
        in_force.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    for (name, times) in [("without edits", &quiet), ("with an edit each 200 ms", &edited)] {
        println!(
            "{} requests for another service {name}: p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms",
            times.len(),
            millis(quantile(times, 0.5)),
            millis(quantile(times, 0.99)),
            millis(quantile(times, 0.999))
        );
    }

    let (before, cpu) = (site.rss_kib()?, site.cpu()?);
    for _ in 0..reloads {
        site.edit()?;
    }
    let (after, spent) = (site.rss_kib()?, site.cpu()? - cpu);
    println!("{reloads} reloads one after the other: {before} KiB resident before, {after} KiB after");
    println!("CPU of all threads per reload: {:.1} ms", millis(spent) / reloads as f64);

    let quick = quantile(&in_force, 0.99).saturating_sub(DEBOUNCE) <= MOST;
    let lean = after <= before + GROWTH;
    println!("the bars of {} ms and of {GROWTH} KiB: {} and {}", MOST.as_millis(), verdict(quick), verdict(lean));
    Ok(if quick && lean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How long edits took to come into force, and requests for another service without and with edits; each sorted.
fn under_traffic(site: &mut Site, runtime: &Handle) -> io::Result<(Vec<Duration>, Vec<Duration>, Vec<Duration>)> {
    let (mut in_force, mut quiet, mut edited) = (Vec::new(), Vec::new(), Vec::new());
    let traffic = Traffic::start(runtime, site.address);
    // Connections are opened, and pools filled.
    sleep(Duration::from_secs(1));
    traffic.take();
    for _ in 0..PHASES {
        sleep(PHASE);
        quiet.extend(traffic.take());
        let end = Instant::now() + PHASE;
        while Instant::now() < end {
            let next = Instant::now() + PAUSE;
            in_force.push(site.edit()?);
            sleep(next.saturating_duration_since(Instant::now()));
        }
        edited.extend(traffic.take());
    }
    traffic.stop()?;
    for times in [&mut in_force, &mut quiet, &mut edited] {
        times.sort_unstable();
    }
    Ok((in_force, quiet, edited))
}

fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "MISSED" }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The value below which `share` of the sorted values are.
fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted[at.clamp(1, sorted.len()) - 1]
}
