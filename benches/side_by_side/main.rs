//! tidegate and its peers, side by side: the same backend, the same load, interleaved rounds, medians.
//!
//! `cargo bench --bench side_by_side -- [ROW..] [--rounds N] [--seconds S] [--peers A,B]`; `benches/README.md` has the rest. To add a
//! row is to add an entry to [`rows::ROWS`], to add a peer one to [`peers::Peer`] and a template beside the others.
#![expect(clippy::print_stdout, reason = "it prints what it measures")]

mod backend;
mod client;
mod figures;
mod h2load;
mod idle;
mod load;
mod options;
mod peers;
mod preflight;
mod process;
mod report;
mod round;
mod rows;
mod secure;
mod template;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use self::options::Options;
use self::peers::{Contender, Peer};
use self::rows::Work;
use self::secure::Identity;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all went well.
fn run() -> io::Result<bool> {
    let options = Options::parse();
    if let [word, port] = &options.rows[..]
        && word == backend::WORD
    {
        return backend::serve(port.parse().map_err(io::Error::other)?).map(|()| true);
    }
    let mut rows = options.chosen().map_err(io::Error::other)?;
    if rows.iter().any(|row| row.work == Work::Streams) && h2load::find().is_none() {
        println!("h2load is missing and its rows are left out: apt-get install nghttp2-client");
        rows.retain(|row| row.work != Work::Streams);
    }
    let files = open_files()?;
    let contenders = contenders(&options)?;
    println!("{} rounds of {} s per row; at most {files} open files per process", options.rounds, options.seconds);

    let (process, backend) = backend::start(None)?;
    let site =
        round::Site { backend, process, identity: Identity::new()?, files, threads: threads(), options: &options };
    let mut measured = Vec::new();
    for row in rows {
        let row = round::measure(row, &contenders, &site)?;
        report::print(&row);
        measured.push(row);
    }
    report::summary(&measured, &contenders);
    Ok(report::faults(&measured) == 0)
}

/// How many threads or workers everybody gets.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Lets this process and those it starts open as many files as the system allows, and returns how many that is.
fn open_files() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// The peers that are there, and tidegate; says which they are and which are missing.
fn contenders(options: &Options) -> io::Result<Vec<Contender>> {
    let wheels = options.wheels.clone().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers"));
    let mut found = Vec::new();
    for peer in Peer::ALL {
        if !options.wants(peer) {
            continue;
        }
        let program = match peer {
            Peer::Tidegate => Some(tidegate(options)?),
            _ => peer.find(&wheels),
        };
        match program.map(|program| Contender::new(peer, program)).transpose()? {
            Some(contender) => {
                println!("{} {} ({})", peer.name(), contender.version, contender.program.display());
                found.push(contender);
            }
            None => println!("{} is missing and left out: {}", peer.name(), peer.how_to_get()),
        }
    }
    Ok(found)
}

/// The release build as it ships. Cargo builds a `tidegate` for benches too, but with the features that tests ask of the dependencies
/// (tokio's clock that can be paused), so that is not the one.
fn tidegate(options: &Options) -> io::Result<PathBuf> {
    if let Some(path) = &options.tidegate {
        return path.canonicalize();
    }
    // This program is TARGET/release/deps/side_by_side-HASH.
    let program = std::env::current_exe()?;
    let Some(target) = program.ancestors().nth(3) else { return Err(io::Error::other("this program lies nowhere")) };
    println!("cargo build --release");
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--locked", "--quiet", "--bin", "tidegate", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    if !status.success() {
        return Err(io::Error::other(format!("`cargo build --release`: {status}")));
    }
    Ok(target.join("release/tidegate"))
}
