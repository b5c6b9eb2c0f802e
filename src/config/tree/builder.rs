//! From a parser's events to a tree.

use std::collections::HashMap;
use std::sync::Arc;

use granit_parser::{Event, ScalarStyle, StructureStyle};

use super::{Kind, MAX_DEPTH, Node, Scalar, Value, Written, resolve};
use crate::config::diagnostic::{Diagnostic, Label};
use crate::config::source::{MAX_BYTES, Source, Span};

/// How many values a file may have, aliases included.
const MAX_NODES: usize = 200_000;
/// How many bytes of text the values may have, aliases included.
const MAX_TEXT: usize = 4 * MAX_BYTES;

/// A finished value that an alias may copy.
struct Anchored {
    node: Node,
    nodes: usize,
    text: usize,
    depth: usize,
}

/// A collection whose end has not come yet.
struct Open {
    anchor: usize,
    start: Span,
    style: StructureStyle,
    nodes_before: usize,
    text_before: usize,
    /// The deepest nesting seen inside, in levels.
    depth: usize,
    kind: OpenKind,
}

enum OpenKind {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<(Node, Node)>, key: Option<Node> },
}

pub(super) struct Builder<'a> {
    source: &'a Arc<Source>,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    text: usize,
    pub(super) root: Option<Node>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(source: &'a Arc<Source>) -> Self {
        Self { source, open: Vec::new(), anchors: HashMap::new(), nodes: 0, text: 0, root: None }
    }

    pub(super) fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Box<Diagnostic>> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => Err(self.refuse(
                "a second document begins here",
                span,
                "keep one document per file: take out the `---`",
            )),
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span)?;
                let value = if style == ScalarStyle::Plain { resolve(&text) } else { Value::Quoted };
                self.refuse_merge(&text, value, span)?;
                self.spend(1, text.len(), span)?;
                let length = text.len();
                let scalar = Scalar { text: text.into_owned().into_boxed_str(), value };
                let written = match style {
                    ScalarStyle::Literal | ScalarStyle::Folded => Written::Block,
                    ScalarStyle::Plain if span.start == span.end => Written::Nothing,
                    _ => Written::Inline,
                };
                let node = Node { id: self.last_id(), span, kind: Kind::Scalar(scalar), written };
                if anchor != 0 {
                    self.anchors.insert(anchor, Anchored { node: node.clone(), nodes: 1, text: length, depth: 0 });
                }
                self.put(node, 0, span)
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span)?;
                self.begin(anchor, span, style, OpenKind::Sequence(Vec::new()))
            }
            Event::MappingStart(style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span)?;
                self.begin(anchor, span, style, OpenKind::Mapping { entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.finish(span),
            Event::Alias(anchor) => self.alias(anchor, span),
            _ => Ok(()),
        }
    }

    fn begin(
        &mut self,
        anchor: usize,
        start: Span,
        style: StructureStyle,
        kind: OpenKind,
    ) -> Result<(), Box<Diagnostic>> {
        let (nodes_before, text_before) = (self.nodes, self.text);
        self.spend(1, 0, start)?;
        self.open.push(Open { anchor, start, style, nodes_before, text_before, depth: 0, kind });
        self.check_depth(0, start)
    }

    fn finish(&mut self, end: Span) -> Result<(), Box<Diagnostic>> {
        let Some(open) = self.open.pop() else {
            return Err(self.refuse("a collection ends that has not begun", end, "check the brackets"));
        };
        let (kind, last) = match open.kind {
            OpenKind::Sequence(items) => {
                let last = items.last().map(|node| node.span.end);
                (Kind::Sequence(items), last)
            }
            OpenKind::Mapping { entries, .. } => {
                let last = entries.last().map(|(key, value)| key.span.end.max(value.span.end));
                (Kind::Mapping(entries), last)
            }
        };
        // A block's end event lies after all the blank space that follows; its last value is what people call its end.
        let end = if open.style == StructureStyle::Flow { end.end } else { last.unwrap_or(open.start.end) };
        let span = Span { start: open.start.start, end: end.max(open.start.start) };
        let written = if open.style == StructureStyle::Flow { Written::Inline } else { Written::Block };
        let node = Node { id: u32::try_from(open.nodes_before + 1).unwrap_or(u32::MAX), span, kind, written };
        if open.anchor != 0 {
            let anchored = Anchored {
                node: node.clone(),
                nodes: self.nodes - open.nodes_before,
                text: self.text - open.text_before,
                depth: open.depth + 1,
            };
            self.anchors.insert(open.anchor, anchored);
        }
        self.put(node, open.depth + 1, span)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Box<Diagnostic>> {
        let Some((nodes, text, depth)) = self.anchors.get(&anchor).map(|to| (to.nodes, to.text, to.depth)) else {
            return Err(self.refuse("this alias stands inside what it refers to", span, "write the value out"));
        };
        self.check_depth(depth, span)?;
        let mut id = self.nodes;
        self.spend(nodes, text, span)?;
        let mut node = Node { written: Written::Alias(span), ..self.anchors[&anchor].node.clone() };
        renumber(&mut node, &mut id);
        self.put(node, depth, span)
    }

    /// Puts a finished value where it belongs: it becomes an item, a key, a value or the root.
    fn put(&mut self, node: Node, depth: usize, span: Span) -> Result<(), Box<Diagnostic>> {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.depth = open.depth.max(depth);
        match &mut open.kind {
            OpenKind::Sequence(items) => items.push(node),
            OpenKind::Mapping { entries, key } => match key.take() {
                Some(name) => {
                    // An empty value's own place lies before the colon; its key is what people see.
                    let span = if node.span.start == node.span.end { name.span } else { node.span };
                    entries.push((name, Node { span, ..node }));
                }
                None if matches!(node.kind, Kind::Scalar(_)) => *key = Some(node),
                None => {
                    return Err(self.refuse(
                        "a list or mapping cannot be a key",
                        span,
                        "write a text before the colon",
                    ));
                }
            },
        }
        Ok(())
    }

    fn last_id(&self) -> u32 {
        u32::try_from(self.nodes).unwrap_or(u32::MAX)
    }

    fn spend(&mut self, nodes: usize, text: usize, span: Span) -> Result<(), Box<Diagnostic>> {
        self.nodes += nodes;
        self.text += text;
        if self.nodes > MAX_NODES || self.text > MAX_TEXT {
            return Err(self.refuse("the file has more values than a config may have", span, "use fewer aliases"));
        }
        Ok(())
    }

    fn check_depth(&self, more: usize, span: Span) -> Result<(), Box<Diagnostic>> {
        if self.open.len() + more > MAX_DEPTH {
            return Err(self.refuse("this nests too deeply", span, "no key of tidegate nests like that"));
        }
        Ok(())
    }

    fn refuse_tag(&self, tagged: bool, span: Span) -> Result<(), Box<Diagnostic>> {
        if tagged {
            return Err(self.refuse("tags (`!...`) are not supported", span, "quote the value if it begins with `!`"));
        }
        Ok(())
    }

    fn refuse_merge(&self, text: &str, value: Value, span: Span) -> Result<(), Box<Diagnostic>> {
        let at_key = matches!(self.open.last(), Some(Open { kind: OpenKind::Mapping { key: None, .. }, .. }));
        if at_key && text == "<<" && value == Value::Plain {
            return Err(self.refuse("merge keys (`<<`) are not supported", span, "write the keys out here"));
        }
        Ok(())
    }

    fn refuse(&self, message: &str, span: Span, help: &str) -> Box<Diagnostic> {
        Box::new(Diagnostic::error(message, Label::at(self.source, span)).help(help))
    }
}

/// Gives a copy ids of its own. Its depth is bounded by [`MAX_DEPTH`].
fn renumber(node: &mut Node, id: &mut usize) {
    *id += 1;
    node.id = u32::try_from(*id).unwrap_or(u32::MAX);
    match &mut node.kind {
        Kind::Scalar(_) => {}
        Kind::Sequence(items) => items.iter_mut().for_each(|item| renumber(item, id)),
        Kind::Mapping(entries) => {
            for (key, value) in entries {
                renumber(key, id);
                renumber(value, id);
            }
        }
    }
}
