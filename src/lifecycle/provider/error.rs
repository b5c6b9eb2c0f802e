//! Why an instance could not be started.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, io};

use super::docker::error::DockerError;
use super::exit::{ExitReport, write_lines};
use super::user::UserError;
use crate::lifecycle::ports::NoFreePort;
use crate::lifecycle::probe::NotReady;

/// Why an instance could not be started, or did not become ready. Each says the cure, where there is one.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The version has `urls`.
    #[error("the version has `urls`, which are not tidegate's to start")]
    NotOurs,
    /// It is no container.
    #[error("only containers can be paused")]
    CannotPause,
    /// A container.
    #[error(transparent)]
    Docker(#[from] Box<DockerError>),
    /// All ports are taken.
    #[error(transparent)]
    NoFreePort(#[from] NoFreePort),
    /// The working directory is missing or closed to us.
    #[error("{}", no_directory(path, source))]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The working directory is on a file system that does not answer.
    #[error(
        "the folder `{}` of `cwd` could not be looked at within {limit:?}: is its file system reachable?",
        path.display()
    )]
    NoDirectoryInTime {
        /// The directory.
        path: PathBuf,
        /// `start.timeout`.
        limit: Duration,
    },
    /// The user database does not answer.
    #[error("the user `{user}` could not be looked up within {limit:?}: is the user database reachable?")]
    NoUserInTime {
        /// The version's `user`.
        user: Box<str>,
        /// `start.timeout`.
        limit: Duration,
    },
    /// It cannot run as its `user`.
    #[error(transparent)]
    User(#[from] UserError),
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
        "program `{program}` cannot be executed{}: {source}; is it a program for this machine, with its x bit set (`chmod +x`){}?",
        As(user), if user.is_some() { ", and may that user enter its folder" } else { "" }
    )]
    NotExecutable {
        /// The first word of `command`.
        program: String,
        /// The version's `user`.
        user: Option<Box<str>>,
        /// What the system said.
        source: io::Error,
    },
    /// It ended instead of becoming ready.
    #[error("exited before it was ready: {report}{}", if report.code == Some(0) { DAEMON_CURE } else { "" })]
    Exited {
        /// How.
        report: ExitReport,
    },
    /// A command of a hook failed.
    #[error("`hook.{key}` failed: {report}{}", AndStop(stop.as_deref()))]
    Hook {
        /// `start` or `status`.
        key: &'static str,
        /// How.
        report: ExitReport,
        /// How `hook.stop` ended afterwards, where that failed too.
        stop: Option<Box<ExitReport>>,
    },
    /// A command of a hook ran over its limit.
    #[error("`hook.{key}` did not end within {limit:?} and was killed{}{}", LastLines(lines), AndStop(stop.as_deref()))]
    HookTimeout {
        /// `start` or `status`.
        key: &'static str,
        /// What it had left of `start.timeout`.
        limit: Duration,
        /// What it wrote last, oldest first.
        lines: Vec<String>,
        /// How `hook.stop` ended afterwards, where that failed too.
        stop: Option<Box<ExitReport>>,
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

impl StartError {
    /// Whether it took too long, rather than failed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::OtherAddress { .. } | Self::HookTimeout { .. } => true,
            Self::Docker(error) => error.is_timeout(),
            _ => false,
        }
    }
}

impl From<DockerError> for StartError {
    fn from(error: DockerError) -> Self {
        Self::Docker(Box::new(error))
    }
}

const DAEMON_CURE: &str = "\na program that goes into the background cannot be run: tell it to stay in the foreground";

fn not_found_cure(program: &str) -> &'static str {
    if program.contains('/') {
        ": a path is relative to the file that names it, and a script needs the interpreter of its first line too"
    } else {
        " in the directories of PATH: write its path, or install it"
    }
}

/// As `tidegate check` says it.
fn no_directory(path: &Path, source: &io::Error) -> String {
    let path = path.display();
    match source.kind() {
        io::ErrorKind::NotFound => {
            format!("there is no folder `{path}`: `cwd` should name one, relative to the file that says so")
        }
        io::ErrorKind::NotADirectory => format!("`{path}` is not a folder: `cwd` should name one"),
        _ => format!("cannot use the folder `{path}` of `cwd`: {source}"),
    }
}

struct As<'a>(&'a Option<Box<str>>);

impl fmt::Display for As<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|user| write!(f, " as `{user}`"))
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

struct AndStop<'a>(Option<&'a ExitReport>);

impl fmt::Display for AndStop<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|report| write!(f, "\n`hook.stop` failed too, so what was started may still run: {report}"))
    }
}

struct LastLines<'a>(&'a [String]);

impl fmt::Display for LastLines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_lines(f, self.0)
    }
}
