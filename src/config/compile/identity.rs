//! What identifies a version never changes once it has run.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Check;
use crate::config::file::VersionFile;
use crate::config::source::Span;
use crate::config::spanned::Spanned;
use crate::model::name::{MAX_VERSION_NUMBER, ServiceName, VersionName};
use crate::model::service::Service;
use crate::model::version::Backend;

/// What a version that has run is.
#[derive(Debug, Clone)]
pub enum Identity {
    /// The thing itself, in the server.
    Backend(Arc<Backend>),
    /// Its fingerprint, as the server tells it.
    Fingerprint(Fingerprint),
    /// It was tried and never came up, so that it may still become anything.
    NeverRan,
}

/// Says what a version is, by its name, if it has run.
pub type InForce<'a> = dyn Fn(&str) -> Option<Identity> + 'a;

/// What makes a version, as hashes: enough to tell what has changed, and no value of an environment is in it. Comparable between
/// programs of one release of tidegate only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fingerprint {
    urls: Option<u64>,
    command: Option<u64>,
    cwd: Option<u64>,
    env: Option<u64>,
    user: Option<u64>,
    hook: Option<u64>,
    image: Option<u64>,
    entrypoint: Option<u64>,
    port: Option<u64>,
    volumes: Option<u64>,
    resources: Option<u64>,
    container: Option<u64>,
}

impl Fingerprint {
    /// Of a version's backend.
    #[must_use]
    pub fn of(backend: &Backend) -> Self {
        match backend {
            Backend::Urls(urls) => Self { urls: Some(hash(urls)), ..Self::default() },
            Backend::Process(spec) => Self {
                command: Some(hash(&spec.command)),
                cwd: Some(hash(&spec.cwd)),
                env: Some(hash(&spec.env)),
                user: Some(hash(&spec.user)),
                ..Self::default()
            },
            Backend::Hook(spec) => Self {
                urls: Some(hash(&spec.urls)),
                hook: Some(hash(&(&spec.start, &spec.stop, &spec.status))),
                ..Self::default()
            },
            Backend::Container(spec) => Self {
                image: Some(hash(&spec.image)),
                entrypoint: Some(hash(&spec.entrypoint)),
                command: Some(hash(&spec.command)),
                port: Some(hash(&spec.port)),
                env: Some(hash(&spec.env)),
                volumes: Some(hash(&spec.volumes)),
                user: Some(hash(&spec.user)),
                resources: Some(hash(&(spec.cpu, spec.memory))),
                ..Self::default()
            },
            Backend::Found(spec) => {
                Self { container: Some(hash(&spec.which)), port: Some(hash(&spec.port)), ..Self::default() }
            }
        }
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Identity {
    fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Backend(backend) => Fingerprint::of(backend),
            Self::Fingerprint(fingerprint) => *fingerprint,
            Self::NeverRan => Fingerprint::default(),
        }
    }

    /// Whether a version with this backend is the same.
    pub(super) fn is(&self, backend: &Backend) -> bool {
        match self {
            Self::Backend(own) => **own == *backend,
            Self::Fingerprint(own) => *own == Fingerprint::of(backend),
            Self::NeverRan => true,
        }
    }
}

/// What is known of one service's versions: what runs, and what the last good form of its file said.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) in_force: &'a InForce<'a>,
    pub(crate) previous: Option<&'a Service>,
}

impl Known<'_> {
    /// What a version is.
    pub(super) fn get(&self, version: &str) -> Option<Identity> {
        let previous =
            || self.previous.and_then(|service| service.versions.iter().find(|v| v.name.as_str() == version));
        (self.in_force)(version).or_else(|| previous().map(|version| Identity::Backend(Arc::clone(&version.backend))))
    }
}

/// The name that the next version of a service gets.
pub(super) fn next_name(service: &ServiceName, last_version: u32, listed: impl Iterator<Item = u32>) -> VersionName {
    let next = listed.chain([last_version]).max().unwrap_or(0).saturating_add(1);
    VersionName::numbered(service, next.min(MAX_VERSION_NUMBER))
}

impl Check {
    /// Notes what of a version differs from what runs under its name.
    pub(super) fn unchanged(
        &mut self,
        (name, at): (&VersionName, Span),
        file: &VersionFile,
        (was, is): (&Identity, &Backend),
        next: &VersionName,
    ) {
        let key = |key: Option<Span>| key.unwrap_or(at);
        let (was, is) = (was.fingerprint(), Fingerprint::of(is));
        let volumes = file.volumes.as_ref().and_then(|list| list.first()).map(|volume| volume.span);
        let (field, span) = if was.image != is.image && is.image.is_some() {
            ("image", key(place(&file.image)))
        } else if was.container != is.container && is.container.is_some() {
            match &file.compose {
                Some(compose) => ("compose", compose.span),
                None => ("container", key(place(&file.container))),
            }
        } else if was.command != is.command && (is.command.is_some() || is.image.is_some()) {
            ("command", key(place(&file.command)))
        } else if was.port != is.port {
            ("port", key(place(&file.port)))
        } else if was.entrypoint != is.entrypoint {
            ("entrypoint", key(place(&file.entrypoint)))
        } else if was.volumes != is.volumes {
            ("volumes", key(volumes))
        } else if was.resources != is.resources {
            ("resources", key(place(&file.resources)))
        } else if was.urls != is.urls {
            ("urls", key(place(&file.urls)))
        } else if was.hook != is.hook {
            ("hook", key(place(&file.hook)))
        } else if was.user != is.user {
            ("user", key(place(&file.user)))
        } else if was.cwd != is.cwd {
            ("cwd", key(place(&file.cwd)))
        } else {
            ("env", key(place(&file.env).or(place(&file.env_file))))
        };
        let message =
            format!("`{field}` of {name} has changed, and {name} has run; what makes a version never changes");
        let cure = format!("put {name} back as it was, and write the change as a new version `{next}`");
        self.error(span, message, cure);
    }
}

fn place<T>(field: &Option<Spanned<T>>) -> Option<Span> {
    field.as_ref().map(|field| field.span)
}
