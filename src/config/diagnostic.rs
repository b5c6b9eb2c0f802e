//! What is wrong with a config file, where, and what would be right.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::config::source::{Source, Span};

/// How much a [`Diagnostic`] weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is not taken as it is.
    Error,
    /// The file is taken, but probably does not say what was meant.
    Warning,
}

/// A place in a file, and what there is to say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The file.
    pub source: Arc<Source>,
    /// The place; none means the file as a whole.
    pub span: Option<Span>,
    /// What there is to say, shown beside the caret; may be empty.
    pub text: String,
}

/// One thing that is wrong, with its place and its cure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// Where.
    pub primary: Label,
    /// Other places that have to do with it.
    pub secondary: Vec<Label>,
    /// What would be right.
    pub help: Option<String>,
}

impl Label {
    /// A place in a file.
    pub fn at(source: &Arc<Source>, span: Span) -> Self {
        Self { source: Arc::clone(source), span: Some(span), text: String::new() }
    }

    /// A file as a whole: one that cannot be read, for instance.
    pub fn file(path: &Path) -> Self {
        let source = Arc::new(Source { path: path.to_owned(), text: String::new() });
        Self { source, span: None, text: String::new() }
    }

    /// Puts a text beside the caret.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    /// Line and column from 1, where the label has a place.
    pub fn line_column(&self) -> Option<(usize, usize)> {
        self.span.map(|span| self.source.line_column(span.start))
    }
}

/// `path:line:column`, or the path alone.
impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source.path.display())?;
        match self.line_column() {
            Some((line, column)) => write!(f, ":{line}:{column}"),
            None => Ok(()),
        }
    }
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(message: impl Into<String>, primary: Label) -> Self {
        Self { severity: Severity::Error, message: message.into(), primary, secondary: Vec::new(), help: None }
    }

    /// A warning at a place.
    pub fn warning(message: impl Into<String>, primary: Label) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message, primary) }
    }

    /// Says what would be right.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says what would be right, where that is known.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// Shows another place that has to do with it.
    #[must_use]
    pub fn also(mut self, label: Label) -> Self {
        self.secondary.push(label);
        self
    }

    /// Whether it keeps the file from being taken.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The whole of it for a person: message, `path:line:column`, the lines with a caret, the cure. Ends without a line break.
    pub fn render(&self, colour: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(self.message.as_str()));
        let mut labels: Vec<(&Label, AnnotationKind)> = vec![(&self.primary, AnnotationKind::Primary)];
        labels.extend(self.secondary.iter().map(|label| (label, AnnotationKind::Context)));
        while let Some((first, _)) = labels.first() {
            let source = Arc::clone(&first.source);
            let (here, elsewhere) = labels.into_iter().partition(|(label, _)| Arc::ptr_eq(&label.source, &source));
            labels = elsewhere;
            group = with_labels(group, &here);
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

/// One line for logs and `status`: `path:line:column: message (cure)`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.primary, self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// `{severity, message, help, path, line, column, related: [{path, line, column, text}]}`; no line of a file is in it, since
/// files hold secrets.
impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = self.primary.line_column();
        let mut out = serializer.serialize_struct("Diagnostic", 7)?;
        out.serialize_field("severity", &self.severity)?;
        out.serialize_field("message", &self.message)?;
        out.serialize_field("help", &self.help)?;
        out.serialize_field("path", &self.primary.source.path.to_string_lossy())?;
        out.serialize_field("line", &place.map(|(line, _)| line))?;
        out.serialize_field("column", &place.map(|(_, column)| column))?;
        out.serialize_field("related", &self.secondary)?;
        out.end()
    }
}

/// `{path, line, column, text}`.
impl Serialize for Label {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = self.line_column();
        let mut out = serializer.serialize_struct("Label", 4)?;
        out.serialize_field("path", &self.source.path.to_string_lossy())?;
        out.serialize_field("line", &place.map(|(line, _)| line))?;
        out.serialize_field("column", &place.map(|(_, column)| column))?;
        out.serialize_field("text", &self.text)?;
        out.end()
    }
}

/// Adds one file's labels to the group: its lines from the first label's to the last one's.
fn with_labels<'a>(group: Group<'a>, labels: &[(&'a Label, AnnotationKind)]) -> Group<'a> {
    let source = &*labels[0].0.source;
    let path = source.path.to_string_lossy();
    let spans: Vec<_> = labels
        .iter()
        .filter_map(|(label, kind)| Some((first_line(&source.text, label.span?), label.text.as_str(), *kind)))
        .collect();
    let (Some(low), Some(high)) =
        (spans.iter().map(|(span, ..)| span.start).min(), spans.iter().map(|(span, ..)| span.end).max())
    else {
        return group.element(Origin::path(path));
    };
    let start = source.text[..low].rfind('\n').map_or(0, |at| at + 1);
    let end = source.text[high..].find('\n').map_or(source.text.len(), |at| high + at);
    let (line, _) = source.line_column(start);
    let annotations = spans.into_iter().map(|(span, text, kind)| {
        let text = (!text.is_empty()).then_some(text);
        kind.span(span.start - start..span.end - start).label(text)
    });
    // The slice may be long, but only its labelled lines are shown.
    group.element(Snippet::source(&source.text[start..end]).path(path).line_start(line).annotations(annotations))
}

/// The part of a span that lies on its first line, on character boundaries: a caret under a whole block helps nobody.
fn first_line(text: &str, span: Span) -> Span {
    let start = text.floor_char_boundary(span.start);
    let end = text.floor_char_boundary(span.end.max(start));
    let end = text[start..end].find(['\n', '\r']).map_or(end, |at| start + at);
    Span { start, end }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Arc<Source> {
        Arc::new(Source { path: path.into(), text: text.into() })
    }

    #[test]
    fn shows_both_places_and_the_cure() {
        let one = source("a.yaml", "x: 1\ny: 2\n");
        let two = source("b.yaml", "z: 3\n");
        let diagnostic = Diagnostic::error("twice", Label::at(&one, Span { start: 5, end: 6 }).text("here"))
            .also(Label::at(&two, Span { start: 0, end: 1 }).text("and here"))
            .help("take one out");
        let shown = diagnostic.render(false);
        assert_eq!(
            shown,
            "error: twice\n --> a.yaml:2:1\n  |\n2 | y: 2\n  | ^ here\n  |\n ::: b.yaml:1:1\n  |\n1 | z: 3\n  | - and here\n  |\n  = help: take one out"
        );
        assert_eq!(diagnostic.to_string(), "a.yaml:2:1: twice (take one out)");
        let json = serde_json::to_value(&diagnostic).expect("plain data");
        assert_eq!(json["line"], 2);
        assert_eq!(json["related"][0]["path"], "b.yaml");
    }

    #[test]
    fn any_span_can_be_shown() {
        let text = "ü: [1,\r\n 2]\r\nß: ü";
        let file = source("a.yaml", text);
        for start in 0..=text.len() + 2 {
            for end in start..=text.len() + 2 {
                let label = Label::at(&file, Span { start, end });
                let shown = Diagnostic::error("m", label.clone()).also(label).render(false);
                assert!(shown.contains("a.yaml:"));
            }
        }
    }
}
