//! What the Docker engine does not do, and why.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use bollard::errors::Error;
use nix::unistd::{Gid, Group, Uid, User, geteuid};

use super::host::HostError;

/// Why the engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It is not known where it is.
    #[error(transparent)]
    Host(#[from] Arc<HostError>),
    /// Nobody answers there.
    #[error(
        "cannot reach the Docker engine at {host}: {source}; is Docker running? (`systemctl start docker`; where it is elsewhere, `docker: {{host: ...}}` in tidegate.yaml or DOCKER_HOST says so)"
    )]
    Unreachable {
        /// Where it should be.
        host: Box<str>,
        /// What the system said.
        source: io::Error,
    },
    /// The socket is not for this user.
    #[error(
        "{who} may not use the Docker engine's socket {host}, which is {owner}'s: add the user to that group (`usermod -aG docker USER`, then start tidegate anew), run tidegate as root, or let it reach a socket proxy (`docker: {{host: tcp://...}}` in tidegate.yaml)"
    )]
    Denied {
        /// The socket.
        host: Box<str>,
        /// Whose it is.
        owner: String,
        /// Who tidegate is.
        who: String,
    },
    /// It went away in the middle, or did not answer in time.
    #[error("the Docker engine at {host} did not answer: {source}")]
    Lost {
        /// Where it is.
        host: Box<str>,
        /// What happened.
        source: Error,
    },
    /// It answered that it cannot.
    #[error("the Docker engine says: {message}")]
    Refused {
        /// The status of its answer.
        status: u16,
        /// What it says.
        message: String,
    },
    /// Its answer was not understood.
    #[error("the Docker engine at {host} was not understood: {source}")]
    Answer {
        /// Where it is.
        host: Box<str>,
        /// What was wrong.
        source: Error,
    },
}

impl EngineError {
    /// What an error of the client means, for the engine at `host`.
    pub(super) fn new(host: &str, error: Error) -> Self {
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                Self::Refused { status: status_code, message: message.trim().to_owned() }
            }
            Error::DockerStreamError { error } => Self::Refused { status: 500, message: error },
            Error::IOError { err: source } => match source.kind() {
                io::ErrorKind::PermissionDenied => Self::denied(host),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::Other | io::ErrorKind::BrokenPipe => {
                    Self::Lost { host: host.into(), source: source.into() }
                }
                _ => Self::Unreachable { host: host.into(), source },
            },
            Error::HyperResponseError { .. } | Error::RequestTimeoutError => {
                Self::Lost { host: host.into(), source: error }
            }
            _ => Self::Answer { host: host.into(), source: error },
        }
    }

    fn denied(host: &str) -> Self {
        let name = |uid: u32| {
            let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
            user.map_or_else(|| uid.to_string(), |user| user.name)
        };
        let path = Path::new(host.strip_prefix("unix://").unwrap_or(host));
        let owner = path.metadata().map(|of| {
            let group = Group::from_gid(Gid::from_raw(of.gid())).ok().flatten();
            let group = group.map_or_else(|| of.gid().to_string(), |group| group.name);
            format!("user `{}` and group `{group}`", name(of.uid()))
        });
        // Its folder may be closed too.
        let owner = owner.unwrap_or_else(|_| "user `root` and group `docker`".to_owned());
        Self::Denied { host: host.into(), owner, who: format!("tidegate's user `{}`", name(geteuid().as_raw())) }
    }

    /// The status of its answer, where it answered.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether what was asked for is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether the engine itself is away, so that nothing is known of what was asked.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Host(_) | Self::Unreachable { .. } | Self::Denied { .. } | Self::Lost { .. })
    }
}
