//! The files that a verb edits, and the server that follows them, if one runs.

use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::COMMAND_PATIENCE;
use super::patience::telling;
use super::progress::note;
use crate::admin::client::{Client, ClientError};
use crate::config;
use crate::config::home::Home;
use crate::control::commands::Woken;
use crate::control::status::{Rejected, ServiceStatus, Status};

/// Which tidegate.
#[derive(Debug, clap::Args)]
pub struct ConfigArg {
    /// The server's file; without it, ./config/tidegate.yaml or /etc/tidegate/tidegate.yaml
    #[arg(long, short, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
}

impl ConfigArg {
    /// tidegate.yaml, read.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn home(&self) -> anyhow::Result<Home> {
        let root = config::root_file(self.config.as_deref());
        Home::read(&root).map_err(|found| {
            let errors: Vec<_> = found.iter().filter(|found| found.is_error()).map(ToString::to_string).collect();
            anyhow!("{}", errors.join("\n"))
        })
    }
}

/// The server that follows the files.
#[derive(Debug)]
pub(super) struct Server(Client);

impl Server {
    /// The one of these files; `None` if none runs.
    pub(super) fn of(home: &Home) -> anyhow::Result<Option<Self>> {
        let client = Client::new(&home.settings.socket);
        match client.get("/status") {
            Ok(_) => Ok(Some(Self(client))),
            Err(ClientError::NotRunning(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn status(&self) -> Result<Status, ClientError> {
        self.0.get_json("/status")
    }

    /// What it says of a service.
    pub(super) fn service(&self, name: &str) -> Result<Option<ServiceStatus>, ClientError> {
        Ok(self.status()?.services.into_iter().find(|service| service.name == name))
    }

    /// Has it read the files, and says what of a service's file it holds back.
    pub(super) fn reload(&self, file: &Path) -> Result<Vec<Rejected>, ClientError> {
        let _answer: serde_json::Value = self.0.post_json("/reload", &serde_json::json!({}))?;
        let service = file.file_stem().unwrap_or_default().to_string_lossy();
        let of_service = |rejected: &Rejected| {
            let path = Path::new(&rejected.file);
            path.file_name() == file.file_name() && path.extension().is_some()
                || rejected.file.strip_prefix(&*service).is_some_and(|rest| rest.starts_with('-'))
                // Nothing comes into force while tidegate.yaml is broken.
                || path.file_name().is_some_and(|name| name == "tidegate.yaml")
        };
        Ok(self.status()?.rejected.into_iter().filter(of_service).collect())
    }

    /// Wakes a version, and says what is waited for if that takes long.
    pub(super) fn wake(&self, version: &str) -> Result<Woken, ClientError> {
        let patient = self.0.clone().with_patience(COMMAND_PATIENCE);
        telling(&self.0, version, || patient.command("/wake", version))
    }

    /// Stops a version and has it come up again.
    pub(super) fn restart(&self, version: &str) -> Result<Woken, ClientError> {
        let patient = self.0.clone().with_patience(COMMAND_PATIENCE);
        telling(&self.0, version, || patient.command("/restart", version))
    }
}

/// Has a running server take an edit over, or says that none runs.
///
/// # Errors
/// The server holds the edit back, with the reason.
pub(super) fn in_force(server: Option<&Server>, file: &Path) -> anyhow::Result<()> {
    let Some(server) = server else {
        note("no tidegate is running here: this is written, and comes into force when one starts");
        return Ok(());
    };
    let rejected = server.reload(file)?;
    if rejected.is_empty() {
        return Ok(());
    }
    Err(anyhow!("it is written, but the running tidegate holds it back:\n{}", held_back(&rejected)))
}

/// One line for each thing that is wrong.
pub(super) fn held_back(rejected: &[Rejected]) -> String {
    let line = |rejected: &Rejected| {
        let numbers = [rejected.line, rejected.column].into_iter().filter(|number| *number > 0);
        let place: String = numbers.map(|number| format!(":{number}")).collect();
        format!("{}{place}: {}", rejected.file, rejected.message)
    };
    rejected.iter().map(line).collect::<Vec<_>>().join("\n")
}
