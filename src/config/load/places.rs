//! Where tidegate.yaml says what can still be refused when it is put in force: by the system, not by the compiler.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use crate::config::diagnostic::Label;
use crate::config::source::{Source, Span};

/// The places; the file as a whole stands for those that it does not name.
#[derive(Debug)]
pub struct Places {
    root: Label,
    listeners: Vec<(SocketAddr, Span)>,
    access_log: Option<Span>,
}

impl Places {
    pub(super) fn new(root: Arc<Source>, listeners: Vec<(SocketAddr, Span)>, access_log: Option<Span>) -> Self {
        Self { root: Label { source: root, span: None, text: String::new() }, listeners, access_log }
    }

    pub(super) fn unknown(root: &Path) -> Self {
        Self { root: Label::file(root), listeners: Vec::new(), access_log: None }
    }

    /// Where this address to listen on is named.
    #[must_use]
    pub fn listener(&self, address: SocketAddr) -> Label {
        let named = self.listeners.iter().find(|(named, _)| *named == address);
        Label { span: named.map(|(_, span)| *span), ..self.root.clone() }
    }

    /// Where the access log is named.
    #[must_use]
    pub fn access_log(&self) -> Label {
        Label { span: self.access_log, ..self.root.clone() }
    }
}
