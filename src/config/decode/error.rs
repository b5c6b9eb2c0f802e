//! Errors while decoding: a text, a cure, and a place once a value with one has seen it.

use std::fmt;

use serde::de;

use crate::config::source::Span;
use crate::config::tree::Node;

#[derive(Debug)]
pub(super) struct DecodeError {
    pub(super) message: String,
    pub(super) help: Option<String>,
    /// The value that it concerns: its id and place.
    pub(super) at: Option<(u32, Span)>,
    /// The field that a struct misses.
    pub(super) missing: Option<&'static str>,
    /// It only follows from an error that has been noted.
    pub(super) silent: bool,
}

impl DecodeError {
    pub(super) fn new(message: impl Into<String>, help: Option<String>) -> Self {
        Self { message: message.into(), help, at: None, missing: None, silent: false }
    }

    /// Gives it a place, unless it has one: the innermost value knows best.
    pub(super) fn at(mut self, node: &Node) -> Self {
        self.at.get_or_insert((node.id, node.span));
        self
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        let text = text.to_string();
        match text.split_once('\n') {
            Some((message, help)) => Self::new(message, Some(help.to_owned())),
            None => Self::new(text, None),
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { missing: Some(field), ..Self::new(format!("`{field}` is missing"), None) }
    }
}
