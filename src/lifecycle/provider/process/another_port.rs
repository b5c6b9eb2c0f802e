//! A process whose port somebody else took, between the look at it and the program's own bind, is started once more on another.

use tracing::warn;

use super::{ProcessInstance, ProcessProvider};
use crate::lifecycle::provider::error::StartError;
use crate::lifecycle::provider::listeners;
use crate::model::version::{ProcessSpec, Start, Stop};

/// All it takes to start a process again.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) provider: ProcessProvider,
    pub(super) spec: ProcessSpec,
    pub(super) start: Start,
    pub(super) stop: Stop,
}

impl ProcessInstance {
    /// Whether it is not ready because somebody else listens on its port. Can be cancelled and called again.
    pub(super) async fn lost_its_port(&mut self, error: &StartError) -> bool {
        match error {
            StartError::PortTaken { .. } => true,
            StartError::Exited { .. } if self.anybody_on_its_port() => {
                // Once nothing of it is left, whoever listens is somebody else.
                self.gone().await;
                self.anybody_on_its_port()
            }
            _ => false,
        }
    }

    fn anybody_on_its_port(&self) -> bool {
        listeners::anybody_on(self.address.port()).unwrap_or_else(|error| {
            warn!(version = %self.version, %error, "cannot tell from /proc who listens");
            false
        })
    }

    /// Stops it and starts it on another port. Can be cancelled and called again.
    pub(super) async fn move_to_another_port(&mut self) -> Result<(), StartError> {
        let Some(again) = self.again.clone() else { return Ok(()) };
        let port = self.address.port();
        self.end(&again.stop).await;
        // The old port is given back afterwards, so this is another one.
        let mut next = again.provider.launch(&self.version, &again.spec, &again.start, &again.stop).await?;
        let another = next.address.port();
        warn!(
            version = %self.version,
            port,
            another,
            "port {port} is taken by a program that tidegate did not start; started once more, on port {another}"
        );
        next.started = self.started;
        *self = next;
        Ok(())
    }
}
