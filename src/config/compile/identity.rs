//! What identifies a version never changes once it has run.

use std::collections::HashMap;
use std::sync::Arc;

use super::Check;
use crate::config::file::VersionFile;
use crate::config::source::Span;
use crate::config::spanned::Spanned;
use crate::model::name::{MAX_VERSION_NUMBER, ServiceName, VersionName};
use crate::model::service::Service;
use crate::model::version::Backend;

/// Versions that have run, with what they are, by name.
#[derive(Debug, Clone, Default)]
pub struct Identities(pub HashMap<Box<str>, Arc<Backend>>);

/// What is known of one service's versions: what runs, and what the last good form of its file said.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) in_force: &'a Identities,
    pub(crate) previous: Option<&'a Service>,
}

impl Known<'_> {
    /// What a version is.
    pub(super) fn get(&self, version: &str) -> Option<&Arc<Backend>> {
        let previous =
            || self.previous.and_then(|service| service.versions.iter().find(|v| v.name.as_str() == version));
        self.in_force.0.get(version).or_else(|| previous().map(|version| &version.backend))
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
        (was, is): (&Backend, &Backend),
        next: &VersionName,
    ) {
        let key = |key: Option<Span>| key.unwrap_or(at);
        let (field, span) = match (was, is) {
            (Backend::Urls(_), Backend::Urls(_)) => ("urls", key(place(&file.urls))),
            (Backend::Process(was), Backend::Process(is)) => {
                if was.command != is.command {
                    ("command", key(place(&file.command)))
                } else if was.cwd != is.cwd {
                    ("cwd", key(place(&file.cwd)))
                } else {
                    ("env", key(place(&file.env).or(place(&file.env_file))))
                }
            }
            (Backend::Urls(_), Backend::Process(_)) => ("command", key(place(&file.command))),
            (Backend::Process(_), Backend::Urls(_)) => ("urls", key(place(&file.urls))),
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
