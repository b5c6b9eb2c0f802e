//! Why an instance could not be started.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

use super::exit::{ExitReport, write_lines};
use crate::lifecycle::ports::NoFreePort;
use crate::lifecycle::probe::NotReady;

/// Why an instance could not be started, or did not become ready. Each says the cure, where there is one.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The version has `urls`.
    #[error("the version has `urls`, which are not tidegate's to start")]
    NotOurs,
    /// All ports are taken.
    #[error(transparent)]
    NoFreePort(#[from] NoFreePort),
    /// The working directory is missing or closed to us.
    #[error("cannot use `cwd: {}`: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// tidegate could not run its supervisor.
    #[error("cannot start a supervisor: {0}")]
    Supervisor(#[source] io::Error),
    /// There is no such program.
    #[error("program `{program}` was not found{}", not_found_cure(program))]
    NotFound {
        /// The first word of `command`.
        program: String,
    },
    /// There is such a program, and it cannot be executed.
    #[error(
        "program `{program}` cannot be executed: {source}; is it a program for this machine, with its x bit set (`chmod +x`)?"
    )]
    NotExecutable {
        /// The first word of `command`.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ended instead of becoming ready.
    #[error("exited before it was ready: {report}{}", if report.code == Some(0) { DAEMON_CURE } else { "" })]
    Exited {
        /// How.
        report: ExitReport,
    },
    /// Somebody else listens on the port.
    #[error(
        "port {port} is taken by a program that tidegate did not start; `process.ports` should be a range that nobody else uses"
    )]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// It listens, elsewhere.
    #[error(
        "listens on {}, not on {wanted}: it should listen on the port that the variable PORT tells it",
        Addresses(found)
    )]
    OtherAddress {
        /// Where it should listen.
        wanted: SocketAddr,
        /// Where it does.
        found: Vec<SocketAddr>,
    },
    /// It was not ready in time.
    #[error("not ready within {after:?}: {last}{}", LastLines(lines))]
    Timeout {
        /// `start.timeout`.
        after: Duration,
        /// What the last probe met.
        #[source]
        last: NotReady,
        /// What it wrote last, oldest first.
        lines: Vec<String>,
    },
}

const DAEMON_CURE: &str = "\na program that goes into the background cannot be run: tell it to stay in the foreground";

fn not_found_cure(program: &str) -> &'static str {
    if program.contains('/') {
        ": the path is taken from `cwd`, and a script needs the interpreter of its first line too"
    } else {
        " in the directories of PATH: write its path, or install it"
    }
}

struct Addresses<'a>(&'a [SocketAddr]);

impl fmt::Display for Addresses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, address) in self.0.iter().enumerate() {
            write!(f, "{}{address}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

struct LastLines<'a>(&'a [String]);

impl fmt::Display for LastLines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_lines(f, self.0)
    }
}
