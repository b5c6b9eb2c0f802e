//! The Docker engine: found, spoken to in the version that it knows, and lost and found again.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};

use super::engine_error::EngineError;
use super::host::{Host, HostError};
use super::transport::Transport;

/// How long the engine may take to begin an answer, where nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A Docker engine. Connects when it is first asked for something; clones share what is known of it.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    name: Box<str>,
    transport: Result<Arc<Transport>, Arc<HostError>>,
    // Held for a clone.
    client: Mutex<Option<Docker>>,
}

impl Engine {
    /// The engine that `configured` names, else DOCKER_HOST, else the one at `/var/run/docker.sock`. Nothing is asked of it yet; an
    /// address that is not understood is an error of whoever asks it something.
    #[must_use]
    pub fn new(configured: Option<&str>) -> Self {
        let (name, transport) = match Host::find(configured) {
            Ok(Host { name, target }) => (name, Ok(Transport::new(target))),
            Err(error) => ("nowhere".into(), Err(Arc::new(error))),
        };
        Self { shared: Arc::new(Shared { name, transport, client: Mutex::default() }) }
    }

    /// Where it is, for people.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.shared.name
    }

    /// Whether others may reach it whose files are at the same path as ours: it is elsewhere, or we are in a container.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        !self.host().starts_with("unix://") || Path::new("/.dockerenv").exists()
    }

    /// The client, in the newest version of the API that both sides know.
    ///
    /// # Errors
    /// When the engine cannot be reached.
    pub async fn client(&self) -> Result<Docker, EngineError> {
        let known = self.shared.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known {
            Some(client) => Ok(client),
            None => self.negotiate().await,
        }
    }

    /// The client after a look at which version the engine knows now; another one may run since.
    ///
    /// # Errors
    /// When the engine cannot be reached.
    pub async fn negotiate(&self) -> Result<Docker, EngineError> {
        let transport = self.shared.transport.clone()?;
        let send = move |request| Arc::clone(&transport).send(request);
        let client =
            Docker::connect_with_custom_transport(send, Some("http://docker"), TIMEOUT.as_secs(), API_DEFAULT_VERSION);
        let client = match client {
            Ok(client) => client.negotiate_version().await,
            Err(error) => Err(error),
        };
        let client = client.map_err(|error| self.error(error))?;
        *self.shared.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.clone());
        Ok(client)
    }

    /// What an error of the client means.
    #[must_use]
    pub fn error(&self, error: bollard::errors::Error) -> EngineError {
        EngineError::new(&self.shared.name, error)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("host", &self.shared.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn who_does_not_answer_is_named_with_a_cure() {
        let engine = Engine::new(Some("unix:///nowhere/docker.sock"));
        let error = engine.client().await.expect_err("nobody listens");
        assert!(error.is_away() && error.to_string().contains("is Docker running?"), "{error}");
        assert!(error.to_string().contains("unix:///nowhere/docker.sock"), "{error}");
        let error = Engine::new(Some("ssh://there")).client().await.expect_err("no such way");
        assert!(error.to_string().contains("`ssh://there`"), "{error}");
    }

    #[tokio::test]
    async fn a_socket_of_somebody_else_says_who_may_use_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("docker.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).expect("our own");
        let source = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let error = EngineError::new(&format!("unix://{}", path.display()), source.into()).to_string();
        assert!(error.contains("usermod -aG docker") && error.contains("socket proxy"), "{error}");
        assert!(error.contains("group `") && error.contains("tidegate's user `"), "{error}");
    }
}
