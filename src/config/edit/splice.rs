//! Single steps of an edit, as splices of bytes. `None` where the way it is written is not one of those that are known.

use super::value::Value;
use super::{flow, lines, write};
use crate::config::source::Span;
use crate::config::tree::{Kind, Node, Written};

/// What a value belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner<'t> {
    /// The key whose value it is; none for the whole file.
    pub(super) key: Option<&'t Node>,
    /// Whether that key has a line of its own.
    pub(super) in_block: bool,
}

impl Owner<'_> {
    pub(super) const ROOT: Self = Self { key: None, in_block: true };
}

/// A text and what it says.
pub(super) struct Splice<'t> {
    text: &'t str,
    root: &'t Node,
}

impl<'t> Splice<'t> {
    pub(super) fn new(text: &'t str, root: &'t Node) -> Self {
        Self { text, root }
    }

    /// Another value in place of this one.
    pub(super) fn replace(&self, node: &Node, owner: Owner<'_>, value: &Value) -> Option<String> {
        match (node.written, owner.key) {
            (Written::Inline, _) => {
                // Over several lines there may be comments in it.
                let is_one_line = !self.text[node.span.start..node.span.end].contains('\n');
                is_one_line.then(|| self.with(node.span.start, node.span.end, &write::flow(value)))
            }
            (Written::Nothing, Some(key)) => self.fill(key, owner, value),
            (Written::Nothing | Written::Block | Written::Alias(_), _) => None,
        }
    }

    /// A value below the keys of `path` that are missing in `node`.
    pub(super) fn nest(&self, node: &Node, owner: Owner<'_>, path: &[String], value: Value) -> Option<String> {
        let (first, rest) = path.split_first()?;
        let nested = rest.iter().rev().fold(value, |value, key| Value::map([(key, value)]));
        match &node.kind {
            Kind::Mapping(_) => self.add(node, first, &nested),
            // The whole file is empty, but for comments.
            Kind::Scalar(_) if owner.key.is_none() && node.written == Written::Nothing => {
                let lines = write::block(first, &nested, 2, write::has_collections(&nested));
                Some(self.with_lines(self.text.len(), 0, &lines))
            }
            Kind::Scalar(_) => self.replace(node, owner, &Value::map([(first, nested)])),
            Kind::Sequence(_) => None,
        }
    }

    /// One more entry at the end of a mapping.
    fn add(&self, node: &Node, key: &str, value: &Value) -> Option<String> {
        let Kind::Mapping(entries) = &node.kind else { return None };
        if node.written != Written::Block {
            let children: Vec<_> = entries.iter().map(|entry| self.entry_span(entry)).collect();
            return flow::add(self.text, node.span, &children, &write::entry(key, value));
        }
        let ((first, _), (_, sibling)) = (entries.first()?, entries.last()?);
        let column = self.column(first.span.start);
        // Entries of a mapping are alike, but for those at the top of a file.
        let open = match (&sibling.kind, sibling.written) {
            (Kind::Mapping(_), written) if column > 0 => written == Written::Block,
            _ => write::has_collections(value),
        };
        let lines = write::block(key, value, self.step(), open);
        let last = self.entry_span(entries.last()?).end;
        Some(self.with_lines(self.after_comments(last, column), column, &lines))
    }

    /// One more item at the end of a list.
    pub(super) fn push(&self, node: &Node, owner: Owner<'_>, value: &Value) -> Option<String> {
        let Kind::Sequence(items) = &node.kind else { return None };
        if node.written != Written::Block {
            let children: Vec<_> = items.iter().map(|item| self.span(item)).collect();
            return flow::add(self.text, node.span, &children, &write::flow(value));
        }
        let column = self.dash(items.first()?, owner)?;
        let last = self.span(items.last()?).end;
        Some(self.with_lines(self.after_comments(last, column), column, &[format!("- {}", write::flow(value))]))
    }

    /// A mapping without one of its entries.
    pub(super) fn remove_entry(&self, node: &Node, owner: Owner<'_>, key: &str) -> Option<String> {
        let Kind::Mapping(entries) = &node.kind else { return None };
        let at = entries.iter().position(|(name, _)| name.scalar_text() == Some(key))?;
        let children: Vec<_> = entries.iter().map(|entry| self.entry_span(entry)).collect();
        if node.written != Written::Block {
            return flow::remove(self.text, node.span, &children, at);
        }
        let child = children[at];
        let begin = lines::start(self.text, child.start);
        if !lines::is_blank(&self.text[begin..child.start]) {
            return None;
        }
        if children.len() == 1 { self.empty(child, owner, "{}") } else { self.without_lines(child) }
    }

    /// A list without one of its items.
    pub(super) fn remove_item(&self, node: &Node, owner: Owner<'_>, index: usize) -> Option<String> {
        let Kind::Sequence(items) = &node.kind else { return None };
        let children: Vec<_> = items.iter().map(|item| self.span(item)).collect();
        if node.written != Written::Block {
            return flow::remove(self.text, node.span, &children, index);
        }
        self.dash(&items[index], owner)?;
        if children.len() == 1 { self.empty(children[0], owner, "[]") } else { self.without_lines(children[index]) }
    }

    /// A key without a value gets one.
    fn fill(&self, key: &Node, owner: Owner<'_>, value: &Value) -> Option<String> {
        let colon = self.colon(key)?;
        let line_end = lines::end(self.text, colon);
        if !lines::is_idle(&self.text[colon..line_end]) {
            return None;
        }
        if let Value::Map(entries) = value
            && owner.in_block
            && write::has_collections(value)
        {
            let column = self.column(key.span.start) + self.step();
            let lines: Vec<_> = entries
                .iter()
                .flat_map(|(key, value)| write::block(key, value, self.step(), write::has_collections(value)))
                .collect();
            return Some(self.with_lines(line_end, column, &lines));
        }
        Some(self.with(colon, colon, &format!(" {}", write::flow(value))))
    }

    /// The last entry or item of a block is gone, and brackets remain.
    fn empty(&self, child: Span, owner: Owner<'_>, brackets: &str) -> Option<String> {
        let (begin, end) = (lines::start(self.text, child.start), self.line_end(child)?);
        let Some(key) = owner.key else { return Some(self.with(begin, end, brackets)) };
        let colon = self.colon(key)?;
        let idle = lines::is_idle(&self.text[colon..lines::end(self.text, colon)]);
        if !idle || begin <= colon {
            return None;
        }
        let without = self.without_lines(child)?;
        Some(format!("{} {brackets}{}", &without[..colon], &without[colon..]))
    }

    /// The text without the lines of an entry or item.
    fn without_lines(&self, child: Span) -> Option<String> {
        let (begin, end) = (lines::start(self.text, child.start), self.line_end(child)?);
        let next = lines::next(self.text, end);
        // Where the file ends without a line break, it does so afterwards.
        let begin = if next == self.text.len() && !self.text.ends_with('\n') && begin > 0 {
            let before = begin - 1;
            if before > 0 && self.text.as_bytes()[before - 1] == b'\r' { before - 1 } else { before }
        } else {
            begin
        };
        Some(self.with(begin, next, ""))
    }

    /// The end of the line on which an entry ends, if nothing else is on it.
    fn line_end(&self, child: Span) -> Option<usize> {
        let end = lines::end(self.text, child.end);
        lines::is_idle(&self.text[child.end..end]).then_some(end)
    }

    fn with(&self, start: usize, end: usize, new: &str) -> String {
        format!("{}{new}{}", &self.text[..start], &self.text[end..])
    }

    /// New lines after the one that holds the byte before `after`.
    fn with_lines(&self, after: usize, column: usize, new: &[String]) -> String {
        let (ending, indentation) = (lines::ending(self.text), " ".repeat(column));
        let at = if after == 0 { 0 } else { lines::next(self.text, after.min(self.text.len())) };
        let lines = new.iter().map(|line| format!("{indentation}{line}")).collect::<Vec<_>>().join(ending);
        if at > 0 && !self.text[..at].ends_with('\n') {
            // The last line has no line break, and neither will the new last line.
            format!("{}{ending}{lines}", self.text)
        } else {
            self.with(at, at, &format!("{lines}{ending}"))
        }
    }

    /// Behind the comments that follow an entry and stand deeper than its key: they are part of it.
    fn after_comments(&self, end: usize, column: usize) -> usize {
        let mut here = end;
        loop {
            let next = lines::next(self.text, here);
            let line = &self.text[next..lines::end(self.text, next)];
            if next == self.text.len() || !lines::is_comment(line) || lines::indentation(line) <= column {
                return here;
            }
            here = next;
        }
    }

    /// By how many columns the file indents: as its first block within a block does, else 2.
    fn step(&self) -> usize {
        let Kind::Mapping(entries) = &self.root.kind else { return 2 };
        let inner = entries.iter().find_map(|(key, value)| match &value.kind {
            Kind::Mapping(inner) if value.written == Written::Block => {
                self.column(inner.first()?.0.span.start).checked_sub(self.column(key.span.start))
            }
            _ => None,
        });
        inner.filter(|step| *step > 0).unwrap_or(2)
    }

    /// The place in its line, in bytes.
    fn column(&self, at: usize) -> usize {
        at - lines::start(self.text, at)
    }

    /// The column of the dash before an item.
    fn dash(&self, item: &Node, owner: Owner<'_>) -> Option<usize> {
        let start = self.span(item).start;
        let begin = lines::start(self.text, start);
        let before = self.text[begin..start].trim_end_matches(' ').strip_suffix('-')?;
        let own_line = lines::is_blank(before) && owner.key.is_none_or(|key| key.span.end < begin);
        own_line.then_some(before.len())
    }

    /// Behind the colon of a key.
    fn colon(&self, key: &Node) -> Option<usize> {
        let end = written_span(key).end;
        let rest = self.text[end..].trim_start_matches([' ', '\t']);
        rest.starts_with(':').then(|| self.text.len() - rest.len() + 1)
    }

    /// From the first byte of a value to its last.
    fn span(&self, node: &Node) -> Span {
        let span = written_span(node);
        let inner = match (&node.kind, node.written) {
            (Kind::Mapping(entries), Written::Block) => entries.last().map(|entry| self.entry_span(entry).end),
            (Kind::Sequence(items), Written::Block) => items.last().map(|item| self.span(item).end),
            (Kind::Scalar(_), Written::Block) => {
                let text = &self.text[span.start..span.end];
                Some(span.start + text.trim_end_matches(['\n', '\r', ' ', '\t']).len())
            }
            _ => None,
        };
        Span { start: span.start, end: inner.unwrap_or(span.end) }
    }

    /// From the first byte of a key to the last of its value.
    fn entry_span(&self, (key, value): &(Node, Node)) -> Span {
        let start = written_span(key).start;
        let end = match value.written {
            Written::Nothing => self.colon(key).unwrap_or(written_span(key).end),
            _ => self.span(value).end,
        };
        Span { start, end }
    }
}

/// Where a value is written, which for an alias is not where it comes from.
fn written_span(node: &Node) -> Span {
    if let Written::Alias(span) = node.written { span } else { node.span }
}
