//! Credentials for registries, from Docker's own file and helpers: what `docker login` has kept.

mod file;
mod helper;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::{Map, Value, json};

use crate::model::image::DOCKER_HUB;

use self::file::ConfigFile;
pub use self::helper::HelperError;

/// The name that Docker Hub has in Docker's files and helpers; it is older than `docker.io`.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// What somebody is known by at a registry. Its secret is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The registry, as the engine wants it.
    server: String,
    who: Who,
}

#[derive(Clone, PartialEq, Eq)]
enum Who {
    User { name: String, password: String },
    IdentityToken(String),
    RegistryToken(String),
}

/// Docker's file, and the helpers that it names.
#[derive(Debug, Default, Clone)]
pub struct Keychain {
    file: ConfigFile,
    path: PathBuf,
    /// PATH, where helpers are found.
    programs: Option<OsString>,
}

/// Why credentials could not be looked up. What the file holds is never part of it.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file is there and cannot be read.
    #[error("cannot read `{}`, where Docker keeps credentials of registries: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no JSON, or not of Docker's form.
    #[error(
        "`{}` is not as Docker writes it (line {line}, column {column}): mend it, or move it away and run `docker login` again",
        path.display()
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 0.
        column: usize,
    },
    /// An `auth` that is not `base64(user:password)`.
    #[error("the `auth` of `{server}` in `{}` is not as Docker writes it: run `docker login {server}` again", path.display())]
    Auth {
        /// The file.
        path: PathBuf,
        /// The registry.
        server: String,
    },
    /// A helper failed.
    #[error("the credentials of `{server}` are with the helper `{program}` that `{}` names: {source}", path.display())]
    Helper {
        /// The file.
        path: PathBuf,
        /// The registry.
        server: String,
        /// `docker-credential-NAME`.
        program: String,
        /// How.
        source: HelperError,
    },
}

impl Keychain {
    /// Reads `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`; without a file there are no credentials. `variable` tells
    /// what the environment has.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn load(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, CredentialsError> {
        let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let Some(folder) = set("DOCKER_CONFIG").or_else(|| Some(set("HOME")?.join(".docker"))) else {
            return Ok(Self::default());
        };
        let path = folder.join("config.json");
        Ok(Self { file: read(&path)?, path, programs: variable("PATH") })
    }

    /// What is known for a registry (`docker.io`, `localhost:5000`); `None` where nothing is. A helper is asked first, as `docker` does.
    ///
    /// # Errors
    /// When the helper, or what is in the file, is broken.
    pub async fn credentials(&self, registry: &str) -> Result<Option<Credentials>, CredentialsError> {
        let names = names(registry);
        for name in &names {
            let Some(helper) = self.file.helper(name) else { continue };
            let asked = helper::ask(helper, name, self.programs.as_deref()).await.map_err(|source| {
                CredentialsError::Helper {
                    path: self.path.clone(),
                    server: name.clone(),
                    program: helper::program(helper),
                    source,
                }
            })?;
            if let Some(who) = asked {
                return Ok(Some(Credentials { server: names[0].clone(), who }));
            }
        }
        let Some((server, entry)) = self.file.entry(&names) else { return Ok(None) };
        let who =
            entry.who().map_err(|()| CredentialsError::Auth { path: self.path.clone(), server: server.to_owned() });
        Ok(who?.map(|who| Credentials { server: names[0].clone(), who }))
    }
}

impl Credentials {
    /// The value of `X-Registry-Auth`: JSON in the URL-safe alphabet, as the engine wants it.
    pub(crate) fn header(&self) -> String {
        URL_SAFE.encode(self.json().to_string())
    }

    /// The value of `X-Registry-Config`: those of several registries.
    pub(crate) fn header_of_all(all: &[Self]) -> String {
        let map: Map<String, Value> = all.iter().map(|one| (one.server.clone(), one.json())).collect();
        URL_SAFE.encode(Value::Object(map).to_string())
    }

    fn json(&self) -> Value {
        let server = &self.server;
        match &self.who {
            Who::User { name, password } => json!({"username": name, "password": password, "serveraddress": server}),
            Who::IdentityToken(token) => json!({"identitytoken": token, "serveraddress": server}),
            Who::RegistryToken(token) => json!({"registrytoken": token, "serveraddress": server}),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("server", &self.server).finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<ConfigFile, CredentialsError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => return Ok(ConfigFile::default()),
        Ok(text) => text,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(ConfigFile::default());
        }
        Err(source) => return Err(CredentialsError::Unreadable { path: path.to_owned(), source }),
    };
    // serde's words may quote a value, so only the place is told.
    serde_json::from_str(&text).map_err(|error| CredentialsError::Broken {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
    })
}

/// What a registry may be called in Docker's file; first the name that `docker login` writes.
fn names(registry: &str) -> Vec<String> {
    if registry == DOCKER_HUB {
        [DOCKER_HUB_KEY, "index.docker.io", DOCKER_HUB].map(str::to_owned).into()
    } else {
        vec![registry.to_owned()]
    }
}

#[cfg(test)]
mod tests;
