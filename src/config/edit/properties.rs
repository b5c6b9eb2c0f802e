//! Edits of thousands of generated files: each gives exactly what is expected and leaves all other lines as they were, or is refused.

use std::path::Path;
use std::sync::Arc;

use super::{Change, EditError, Value, apply, expected};
use crate::config::source::Source;
use crate::config::tree::{self, Kind, Node, Written};

const FILES: u64 = 6_000;

/// SplitMix64 (S. Vigna, public domain).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }
}

/// A file as people may write it, ill-tempered ones among them.
struct Writer {
    dice: Dice,
    text: String,
    ending: &'static str,
    keys: usize,
    anchors: usize,
    /// Those that an alias may name: it may not stand inside of what it refers to.
    finished: Vec<usize>,
    /// Whether it has anchors at all.
    anchored: bool,
}

const SCALARS: [&str; 14] = [
    "1",
    "x y",
    "\"q: #\"",
    "'it''s'",
    "33.33",
    "true",
    "~",
    "a:b",
    "x#y",
    "-1",
    "\"\"",
    "http://h:1/p",
    "ü€",
    "\"\\u00e4\"",
];

impl Writer {
    fn write(seed: u64) -> String {
        let mut dice = Dice(seed);
        let ending = if dice.one_in(3) { "\r\n" } else { "\n" };
        let anchored = dice.one_in(3);
        let mut writer =
            Self { dice, text: String::new(), ending, keys: 0, anchors: 0, finished: Vec::new(), anchored };
        if writer.dice.one_in(8) {
            writer.line("---");
        }
        writer.noise(0);
        if writer.dice.one_in(12) {
            let root = writer.flow_map(0, 0);
            writer.line(&root);
        } else {
            writer.map(0, 0);
        }
        if writer.dice.one_in(10) {
            writer.line("...");
        }
        if writer.dice.one_in(4) {
            let length = writer.text.trim_end_matches(['\r', '\n']).len();
            writer.text.truncate(length);
        }
        writer.text
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push_str(self.ending);
    }

    /// Blank lines and comments.
    fn noise(&mut self, column: usize) {
        while self.dice.one_in(5) {
            let away = column + self.dice.roll(3);
            let line = match self.dice.roll(3) {
                0 => String::new(),
                1 => format!("{}# at {}", " ".repeat(column), self.text.len()),
                _ => format!("{}# away {}", " ".repeat(away), self.text.len()),
            };
            self.line(&line);
        }
    }

    fn key(&mut self) -> String {
        self.keys += 1;
        let key = format!("k{}", self.keys);
        match self.dice.roll(8) {
            0 => format!("\"{key}\""),
            1 => format!("'{key}' "),
            _ => key,
        }
    }

    fn comment(&mut self) -> String {
        if self.dice.one_in(4) { format!("  # c{}", self.text.len()) } else { String::new() }
    }

    fn anchor(&mut self) -> String {
        if self.anchored && self.dice.one_in(4) {
            self.anchors += 1;
            format!("&a{} ", self.anchors)
        } else {
            String::new()
        }
    }

    fn scalar(&mut self) -> String {
        if !self.finished.is_empty() && self.dice.one_in(4) {
            let at = self.dice.roll(self.finished.len());
            return format!("*a{} ", self.finished[at]);
        }
        let anchor = self.anchor();
        self.finish(&anchor);
        format!("{anchor}{}", self.dice.pick(&SCALARS))
    }

    fn finish(&mut self, anchor: &str) {
        self.finished.extend(anchor.strip_prefix("&a").and_then(|number| number.trim().parse::<usize>().ok()));
    }

    fn map(&mut self, column: usize, depth: usize) {
        for _ in 0..1 + self.dice.roll(4) {
            let key = self.key();
            let start = format!("{}{key}:", " ".repeat(column));
            self.value(&start, column, depth);
            self.noise(column);
        }
    }

    fn list(&mut self, column: usize, depth: usize) {
        for _ in 0..1 + self.dice.roll(3) {
            let start = format!("{}-{}", " ".repeat(column), if self.dice.one_in(5) { "  " } else { "" });
            match self.dice.roll(5) {
                0 => {
                    let flow = self.flow_map(depth, column);
                    let comment = self.comment();
                    self.line(&format!("{start} {flow}{comment}"));
                }
                1 => {
                    let (first, second) = (self.key(), self.key());
                    self.line(&format!("{start} {first}: 1"));
                    self.line(&format!("{}{second}: 2", " ".repeat(start.len() + 1)));
                }
                _ => {
                    let (scalar, comment) = (self.scalar(), self.comment());
                    self.line(&format!("{start} {scalar}{comment}"));
                }
            }
            self.noise(column);
        }
    }

    /// What follows a key.
    fn value(&mut self, start: &str, column: usize, depth: usize) {
        let comment = self.comment();
        match self.dice.roll(if depth < 3 { 9 } else { 5 }) {
            0 => self.line(&format!("{start}{comment}")),
            1 => {
                let indentation = " ".repeat(column + 2);
                let style = self.dice.pick(&["|", "|-", ">", "|+"]);
                self.line(&format!("{start} {style}"));
                self.line(&format!("{indentation}a: b"));
                self.line(&format!("{indentation}# no comment"));
            }
            2 | 3 => {
                let scalar = self.scalar();
                self.line(&format!("{start} {scalar}{comment}"));
            }
            4 | 5 => {
                let anchor = self.anchor();
                let flow =
                    if self.dice.one_in(3) { self.flow_list(depth, column) } else { self.flow_map(depth, column) };
                self.line(&format!("{start} {anchor}{flow}{comment}"));
                self.finish(&anchor);
            }
            6 => {
                let anchor = self.anchor();
                self.line(&format!("{start} {anchor}{comment}"));
                let deeper = column + self.dice.roll(3);
                self.list(deeper, depth + 1);
                self.finish(&anchor);
            }
            _ => {
                let anchor = self.anchor();
                self.line(format!("{start} {anchor}{comment}").trim_end_matches(' '));
                self.noise(column + 1);
                let deeper = column + 1 + self.dice.roll(4);
                self.map(deeper, depth + 1);
                self.finish(&anchor);
            }
        }
    }

    fn flow_map(&mut self, depth: usize, column: usize) -> String {
        let count = self.dice.roll(4);
        let items: Vec<String> = (0..count)
            .map(|_| {
                let key = self.key();
                let value = match self.dice.roll(6) {
                    0 => String::new(),
                    1 if depth < 3 => format!(" {}", self.flow_map(depth + 1, column)),
                    2 if depth < 3 => format!(" {}", self.flow_list(depth + 1, column)),
                    _ => format!(" {}", self.scalar()),
                };
                format!("{key}:{value}")
            })
            .collect();
        self.bracketed(items, '{', '}', depth, column)
    }

    fn flow_list(&mut self, depth: usize, column: usize) -> String {
        let count = self.dice.roll(4);
        let items = (0..count).map(|_| self.scalar()).collect();
        self.bracketed(items, '[', ']', depth, column)
    }

    fn bracketed(&mut self, items: Vec<String>, open: char, close: char, depth: usize, column: usize) -> String {
        let trailing = if !items.is_empty() && self.dice.one_in(5) { "," } else { "" };
        if depth < 2 && !items.is_empty() && self.dice.one_in(3) {
            let indentation = " ".repeat(column + 1 + self.dice.roll(4));
            let mut out = open.to_string();
            let count = items.len();
            for (index, item) in items.into_iter().enumerate() {
                let comma = if index + 1 < count { "," } else { trailing };
                let comment = self.comment();
                out.push_str(&format!("{}{indentation}{item}{comma}{comment}", self.ending));
            }
            out.push_str(&format!("{}{}{close}", self.ending, " ".repeat(column + 1)));
            return out;
        }
        let space = if self.dice.one_in(4) { " " } else { "" };
        format!("{open}{space}{}{trailing}{space}{close}", items.join(", "))
    }
}

fn parsed(text: &str) -> Result<Node, String> {
    tree::parse(&Arc::new(Source { path: "t".into(), text: text.into() })).map_err(|error| error.to_string())
}

/// A random place: its path, and the lines (from 0) that an edit of it may touch.
fn place(dice: &mut Dice, text: &str, root: &Node) -> (Vec<String>, std::ops::RangeInclusive<usize>) {
    let line = |at: usize| text[..at.min(text.len())].matches('\n').count();
    let (mut path, mut node, mut touched) = (Vec::new(), root, 0..=usize::MAX);
    while let Kind::Mapping(entries) = &node.kind {
        let at = dice.roll(entries.len().max(1));
        let Some((key, value)) = entries.get(at) else { break };
        // From the sibling before, which loses a comma, to the one after; or to the owner's line, which gets braces.
        let first = if at > 0 { entries[at - 1].0.span.start } else { node.span.start };
        let first = if entries.len() == 1 { line(first).min(*touched.start()) } else { line(first) };
        let last = entries.get(at + 1).map_or(node.span.end.max(key.span.end), |(next, _)| next.span.start);
        let last =
            if matches!(node.written, Written::Block) && at + 1 == entries.len() { usize::MAX } else { line(last) };
        touched = first..=last;
        path.push(key.scalar_text().expect("a key").to_owned());
        node = value;
        if dice.one_in(3) {
            break;
        }
    }
    (path, touched)
}

/// Whether all of `few` is in `many`, in this order.
fn is_within<'a>(few: impl Iterator<Item = &'a str>, many: &[&str]) -> bool {
    let mut many = many.iter();
    few.map(|line| line.trim_end_matches(['\r', '\n']))
        .all(|line| many.any(|other| other.trim_end_matches(['\r', '\n']) == line))
}

#[test]
fn an_edit_gives_what_is_expected_and_leaves_the_rest_or_is_refused() {
    let (mut done, mut refused, mut plain_refused) = (0, 0, 0);
    for seed in 0..FILES {
        let text = Writer::write(seed);
        let root = parsed(&text).unwrap_or_else(|error| panic!("seed {seed} is not YAML: {error}\n{text}"));
        let mut dice = Dice(seed ^ 0x5eed);
        let (mut path, touched) = place(&mut dice, &text, &root);
        let new = match dice.roll(4) {
            0 => Value::number(7),
            1 => Value::text("new: # text"),
            2 => Value::map([("n1", Value::number(1)), ("n2", Value::texts(["a", "b c"]))]),
            _ => Value::texts(["one"]),
        };
        let change = match dice.roll(6) {
            0 => Change::Set { path, value: new },
            1 => {
                path.pop();
                path.push("new".to_owned());
                Change::Set { path, value: new }
            }
            2 => Change::Push { path, value: new },
            3 => Change::RemoveItem { path, index: 0 },
            _ => Change::Remove { path },
        };
        let path = match &change {
            Change::Set { path, .. }
            | Change::Remove { path }
            | Change::Push { path, .. }
            | Change::RemoveItem { path, .. } => path,
        };
        match apply(Path::new("t"), &text, std::slice::from_ref(&change)) {
            Ok(edited) => {
                done += 1;
                let shown = || format!("seed {seed}, {change:?}\n--- before\n{text}\n--- after\n{edited}");
                let read = Value::of(&parsed(&edited).expect("YAML"));
                let before = Value::of(&root);
                if edited == text {
                    continue;
                }
                if !matches!(change, Change::Set { value: Value::Map(_), .. }) {
                    assert_eq!(expected(before, path, &change), Some(read), "{}", shown());
                }
                let new: Vec<&str> = edited.split_inclusive('\n').collect();
                let kept = text.split_inclusive('\n').enumerate().filter(|(at, _)| !touched.contains(at));
                let is_new = path.last().is_some_and(|key| key == "new");
                assert!(is_new || is_within(kept.map(|(_, line)| line), &new), "a line is lost: {}", shown());
                // Comments on lines of their own are nobody's but an entry's that is gone.
                if !matches!(
                    change,
                    Change::Remove { .. } | Change::RemoveItem { .. } | Change::Set { value: Value::Map(_), .. }
                ) {
                    let comments = text.split_inclusive('\n').filter(|line| line.trim_start().starts_with("# a"));
                    assert!(is_within(comments, &new), "a comment is lost: {}", shown());
                    let old = text.split_inclusive('\n').collect::<Vec<_>>();
                    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
                    let tail =
                        old[head..].iter().rev().zip(new[head..].iter().rev()).take_while(|(a, b)| a == b).count();
                    let changed = old.len() - head - tail;
                    assert!(changed <= 1, "{changed} lines are touched: {}", shown());
                }
                let breaks = |text: &str| (text.contains("\r\n"), text.replace("\r\n", "").contains('\n'));
                // A blank line before what is gone is the end then.
                let same_end =
                    text.ends_with('\n') == edited.ends_with('\n') || matches!(change, Change::Remove { .. });
                assert!(same_end, "the end has changed: {}", shown());
                if text.contains('\n') && edited.contains('\n') {
                    assert_eq!(breaks(&text), breaks(&edited), "the line ends have changed: {}", shown());
                }
            }
            Err(EditError::Unsafe { why, by_hand, .. }) => {
                refused += 1;
                assert!(!by_hand.is_empty());
                if !text.contains('&') && why == super::NOT_AS_EXPECTED {
                    plain_refused += 1;
                }
            }
            Err(EditError::NotYaml(error)) => panic!("seed {seed}: {error}"),
        }
    }
    assert!(done > FILES * 6 / 10, "{done} done, {refused} refused");
    assert!(plain_refused < FILES / 12, "{plain_refused} refused of files without anchors");
}
