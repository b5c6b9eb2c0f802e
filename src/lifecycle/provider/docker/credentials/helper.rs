//! Programs that keep credentials for Docker (docker-credential-helpers): `docker-credential-NAME get`, the server on stdin, JSON on
//! stdout.

use std::ffi::OsStr;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::Who;

/// How long a helper may take; some ask a person to unlock a key ring.
const LIMIT: Duration = Duration::from_secs(60);

/// What a helper says on stdout when it does not know a server, with an exit code of 1.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// The user that stands for an identity token.
const TOKEN_USER: &str = "<token>";

/// Why a helper gave no answer. What it keeps is never part of it.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// A name with a path in it.
    #[error("its name may not have a `/`: `credsStore` and `credHelpers` name what is behind `docker-credential-`")]
    Name,
    /// There is none.
    #[error(
        "it was not found in the directories of PATH: install it, or take it out of that file and run `docker login` again"
    )]
    NotFound,
    /// It could not be started, or spoken to.
    #[error("it could not be run: {0}")]
    Io(#[source] io::Error),
    /// It failed.
    #[error("it ended with {status}{}: does `docker login` work?", Said(said))]
    Failed {
        /// How.
        status: ExitStatus,
        /// Its first line.
        said: String,
    },
    /// It took too long.
    #[error("it did not answer within {LIMIT:?}: does it wait for somebody to unlock a key ring?")]
    Timeout,
    /// No JSON.
    #[error(
        "it did not answer as helpers do (JSON with `Username` and `Secret`): is it a credential helper, and up to date?"
    )]
    Answer,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    secret: String,
}

/// The program of a helper.
pub(super) fn program(helper: &str) -> String {
    format!("docker-credential-{helper}")
}

/// Asks a helper, found in the folders of `programs`, for a server; `None` if it does not know it.
pub(super) async fn ask(helper: &str, server: &str, programs: Option<&OsStr>) -> Result<Option<Who>, HelperError> {
    if helper.contains('/') {
        return Err(HelperError::Name);
    }
    let mut command = Command::new(program(helper));
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    if let Some(programs) = programs {
        command.env("PATH", programs);
    }
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => HelperError::NotFound,
        _ => HelperError::Io(error),
    })?;
    let talk = async {
        let mut stdin = child.stdin.take().expect("it is piped");
        // One that ends without reading says more by its exit code than by the broken pipe.
        match stdin.write_all(server.as_bytes()).await {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(HelperError::Io(error)),
            _ => drop(stdin),
        }
        child.wait_with_output().await.map_err(HelperError::Io)
    };
    let output = tokio::time::timeout(LIMIT, talk).await.map_err(|_| HelperError::Timeout)??;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        if said.trim() == NOT_FOUND {
            return Ok(None);
        }
        // A helper that fails says why on stdout. One that printed credentials all the same is not quoted.
        let said = said.lines().next().filter(|line| !line.contains('{')).unwrap_or_default().trim().to_owned();
        return Err(HelperError::Failed { status: output.status, said });
    }
    let answer: Answer = serde_json::from_slice(&output.stdout).map_err(|_| HelperError::Answer)?;
    Ok(match (answer.username, answer.secret) {
        (_, secret) if secret.is_empty() => None,
        (name, secret) if name == TOKEN_USER => Some(Who::IdentityToken(secret)),
        (name, password) => Some(Who::User { name, password }),
    })
}

struct Said<'a>(&'a str);

impl std::fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " (`{}`)", self.0) }
    }
}
