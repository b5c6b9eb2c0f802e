//! From the structs of [`file`](crate::config::file) to the model, noting all that makes no sense.
//!
//! Checks go on after an error; what follows only from an error that has been noted is not noted again.

pub mod settings;

mod address;
mod backend;
mod container;
mod demand;
mod endpoint;
mod environment;
mod identity;
mod policy;
mod route;
mod service;
mod tls;
mod traffic;
mod transport;
mod version;
mod waiting;

pub(crate) use identity::Known;
pub use identity::{Fingerprint, Identity, InForce};
pub(crate) use service::service;
pub use settings::Defaults;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::config::decode::{MAX_ERRORS, decode};
use crate::config::diagnostic::{Diagnostic, Label};
use crate::config::file::{cure, refusal};
use crate::config::source::{Source, Span};
use crate::config::stamp::Stamped;
use crate::config::tree::{self, Kind, Node};

/// One file being checked: its text, what was found wrong, and the other files that it depends on.
pub(crate) struct Check {
    pub(crate) source: Arc<Source>,
    root: Option<Node>,
    pub(crate) found: Vec<Diagnostic>,
    /// Certificates, keys, environment files and pages: a change in one is a change of this file.
    pub(crate) depends_on: Vec<Stamped>,
}

impl Check {
    /// Parses and decodes a file. The value is there, for further checks, whenever something could be made of the text.
    /// `if_empty` is the cure for a file without anything in it.
    pub(crate) fn decode<T: DeserializeOwned>(source: Arc<Source>, if_empty: &str) -> (Self, Option<T>) {
        let mut check = Self { source, root: None, found: Vec::new(), depends_on: Vec::new() };
        let root = match tree::parse(&check.source) {
            Ok(root) if root.is_null() => {
                let whole = Label { span: None, ..Label::at(&check.source, Span::default()) };
                check.found.push(Diagnostic::error("the file is empty", whole).help(if_empty));
                return (check, None);
            }
            Ok(root) => root,
            Err(error) => {
                check.found.push(*error);
                return (check, None);
            }
        };
        let (value, found) = decode(&check.source, &root, refusal, cure);
        check.found = found;
        check.root = Some(root);
        (check, value)
    }

    pub(crate) fn error(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.note(Diagnostic::error(message, Label::at(&self.source, span)).help(help));
    }

    pub(crate) fn warning(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.note(Diagnostic::warning(message, Label::at(&self.source, span)).help(help));
    }

    /// Notes it, unless there are so many of its weight that nobody reads more.
    pub(crate) fn note(&mut self, diagnostic: Diagnostic) {
        let alike = self.found.iter().filter(|earlier| earlier.severity == diagnostic.severity).count();
        if alike < MAX_ERRORS {
            self.found.push(diagnostic);
        }
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.found.iter().any(Diagnostic::is_error)
    }

    /// Whether an error has been noted inside a value: what it lacks may only follow from that.
    pub(crate) fn has_error_within(&self, span: Span) -> bool {
        self.found
            .iter()
            .filter(|diagnostic| diagnostic.is_error())
            .any(|diagnostic| diagnostic.primary.span.is_some_and(|at| span.start <= at.start && at.end <= span.end))
    }

    /// Whether a key stands at the top of the file, whatever came of its value.
    pub(crate) fn has_key(&self, key: &str) -> bool {
        self.value_of(key).is_some()
    }

    /// The keys of a mapping at the top of the file with their places, whatever came of their values.
    pub(crate) fn keys_under(&self, key: &str) -> Vec<(String, Span)> {
        match self.value_of(key).map(|value| &value.kind) {
            Some(Kind::Mapping(entries)) => {
                let mut seen = HashSet::new();
                let keys = entries.iter().map(|(key, _)| (key.scalar_text().unwrap_or_default(), key.span));
                keys.filter(|(name, _)| seen.insert(*name)).map(|(name, span)| (name.to_owned(), span)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// A path as the file names it: relative to the file's folder. A leading `~` is not expanded.
    pub(crate) fn path(&self, text: &str) -> PathBuf {
        self.folder().join(text)
    }

    /// The same for a file that is about to be read, on which this one then depends.
    pub(crate) fn dependency(&mut self, text: &str) -> PathBuf {
        let path = self.path(text);
        self.depends_on.push(Stamped::now(&path));
        path
    }

    pub(crate) fn folder(&self) -> &Path {
        self.source.path.parent().unwrap_or(Path::new(""))
    }

    fn value_of(&self, key: &str) -> Option<&Node> {
        match &self.root.as_ref()?.kind {
            Kind::Mapping(entries) => {
                entries.iter().find(|(name, _)| name.scalar_text() == Some(key)).map(|(_, value)| value)
            }
            _ => None,
        }
    }
}
