//! Why a container does not come up.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::credentials::CredentialsError;
use super::engine_error::EngineError;
use super::image::{ImageError, PullError, ReferenceError};
use crate::lifecycle::provider::exit::write_lines;

/// Why a container could not be started, or did not become ready.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// The engine is away, or refuses for no reason known here.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine is away, as all who ask are told.
    #[error("{0}")]
    Away(Arc<EngineError>),
    /// What `image` says is no image's name.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The image cannot be looked for.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// What `docker login` has kept cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The image is not here, and cannot be pulled.
    #[error(transparent)]
    Pull(#[from] PullError),
    /// The image is still being pulled.
    #[error("the image `{image}` was not pulled within {limit:?}; the pull goes on, and the next start finds it")]
    Pulling {
        /// As written.
        image: Box<str>,
        /// `start.timeout`.
        limit: Duration,
    },
    /// Somebody else has the name.
    #[error(
        "the name `{name}` is taken by a container that is not tidegate's ({whose}): `docker rename {name} ANOTHER`, or `docker rm {name}` if nobody needs it"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// What is known of the container.
        whose: String,
    },
    /// `docker.network` is not there.
    #[error(
        "the Docker engine has no network `{network}`: `docker network create {network}`, or name another with `docker: {{network: ...}}` in tidegate.yaml"
    )]
    NoNetwork {
        /// Its name.
        network: Box<str>,
    },
    /// `container` or `compose` names nothing.
    #[error("{what}{}", Near(near))]
    NotFound {
        /// What is not there, and the cure.
        what: String,
        /// Names that are like it.
        near: Vec<String>,
    },
    /// There is no way to it from here.
    #[error("the container `{name}` cannot be reached from here: {why}")]
    NoAddress {
        /// The container.
        name: String,
        /// Why, and the cure.
        why: String,
    },
    /// The engine does not run it.
    #[error("the container `{name}` cannot be started: {source}{}", Cure(start_cure(source)))]
    CannotStart {
        /// The container.
        name: String,
        /// What the engine said.
        source: EngineError,
    },
    /// It listens, elsewhere.
    #[error("not ready within {after:?}: the container `{name}` listens on {}, not on port {wanted}: {}", Ports(found), port_cure(found, *wanted))]
    OtherPort {
        /// The container.
        name: String,
        /// `start.timeout`.
        after: Duration,
        /// The version's `port`.
        wanted: u16,
        /// Where it listens.
        found: Vec<SocketAddr>,
    },
    /// It may listen elsewhere.
    #[error(
        "not ready within {after:?}: nothing listens on port {wanted} of the container `{name}`, whose image says (`EXPOSE`) that it listens on {exposed}: perhaps `port: {exposed}` is meant{}",
        Lines(lines)
    )]
    ExposedPort {
        /// The container.
        name: String,
        /// `start.timeout`.
        after: Duration,
        /// The version's `port`.
        wanted: u16,
        /// What the image exposes.
        exposed: u16,
        /// What it wrote last, oldest first.
        lines: Vec<String>,
    },
    /// It was removed before it was ready.
    #[error("the container `{name}` was removed while it started")]
    Removed {
        /// The container.
        name: String,
    },
}

impl DockerError {
    /// Whether it took too long, rather than failed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Pulling { .. } | Self::OtherPort { .. } | Self::ExposedPort { .. })
    }
}

fn start_cure(error: &EngineError) -> Option<&'static str> {
    let EngineError::Refused { message, .. } = error else { return None };
    let says = |what: &str| message.contains(what);
    if says("executable file not found") || says("no such file or directory: unknown") {
        Some("`entrypoint` and `command` name a program of the image, or are left out")
    } else if says("permission denied: unknown") {
        Some("the program of `entrypoint` or `command` needs its x bit in the image (`chmod +x`)")
    } else if says("exec format error") {
        Some("the image is for another processor than this host's")
    } else if says("unable to find user") {
        Some("`user` is a user of the image, or a number")
    } else if says("port is already allocated") || says("address already in use") {
        Some("somebody else has the port that it publishes")
    } else if says("Minimum memory limit") {
        Some("`resources: {memory: ...}` is more than the engine's least")
    } else {
        None
    }
}

fn port_cure(found: &[SocketAddr], wanted: u16) -> String {
    let outside: Vec<u16> = found.iter().filter(|address| !address.ip().is_loopback()).map(SocketAddr::port).collect();
    match *outside {
        [] if found.iter().any(|address| address.port() == wanted) => {
            "nobody outside the container reaches its loopback; have it listen on 0.0.0.0".to_owned()
        }
        [] => "nobody outside the container reaches its loopback; have it listen on 0.0.0.0, and write that port as `port`"
            .to_owned(),
        [port] => format!("write `port: {port}`, in a version of the next number if this one has run"),
        _ => "write the one that answers requests as `port`, in a version of the next number if this one has run".to_owned(),
    }
}

struct Cure(Option<&'static str>);

impl fmt::Display for Cure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|cure| write!(f, "; {cure}"))
    }
}

struct Near<'a>(&'a [String]);

impl fmt::Display for Near<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.0.iter().enumerate() {
            write!(f, "{}`{name}`", if at == 0 { "; there is " } else { ", " })?;
        }
        Ok(())
    }
}

struct Ports<'a>(&'a [SocketAddr]);

impl fmt::Display for Ports<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, address) in self.0.iter().enumerate() {
            f.write_str(if at == 0 { "" } else { ", " })?;
            match address.ip().is_unspecified() {
                true => write!(f, "port {}", address.port())?,
                false => write!(f, "{address}")?,
            }
        }
        Ok(())
    }
}

struct Lines<'a>(&'a [String]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_lines(f, self.0)
    }
}
