//! A YAML text as a tree in which every value knows its place.
//!
//! Built from the events of granit-parser, which give byte ranges for all that is written. Scalars follow YAML 1.2's core schema,
//! with `true` and `false` as the only booleans; a quoted scalar is always text. Mappings keep their entries in order, equal
//! keys included. Merge keys, tags and several documents are refused. Aliases are resolved by copying, within a budget.

mod builder;

use std::sync::Arc;

use granit_parser::Parser;

use self::builder::Builder;
use crate::config::diagnostic::{Diagnostic, Label};
use crate::config::source::{MAX_BYTES, Source, Span};

/// How deep collections may nest, aliases included.
const MAX_DEPTH: usize = 64;

/// A value and its place.
#[derive(Debug, Clone)]
pub struct Node {
    /// Tells this value from all others of its tree; copies made for an alias have ids of their own.
    pub id: u32,
    /// Where it stands; an alias's copy stands where the original does.
    pub span: Span,
    /// What it is.
    pub kind: Kind,
    /// How it is written, for those who edit the text.
    pub written: Written,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// As a plain or quoted scalar, or in brackets.
    Inline,
    /// As lines below each other: a block of entries or of text.
    Block,
    /// Not at all: nothing stands after the colon.
    Nothing,
    /// As an alias (`*name`), at this place.
    Alias(Span),
}

/// What a value is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A single value.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys with values, as written; equal keys are kept.
    Mapping(Vec<(Node, Node)>),
}

/// A single value.
#[derive(Debug, Clone)]
pub struct Scalar {
    /// The text, after unquoting.
    pub text: Box<str>,
    /// What the text means.
    pub value: Value,
}

/// What a scalar means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// Nothing, `null` or `~`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i128),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// A text that was quoted.
    Quoted,
    /// A text that was not quoted.
    Plain,
}

impl Node {
    /// The text of a scalar.
    pub fn scalar_text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(scalar) => Some(&scalar.text),
            Kind::Sequence(_) | Kind::Mapping(_) => None,
        }
    }

    /// Whether there is no value (nothing after the colon, `null`, `~`).
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(Scalar { value: Value::Null, .. }))
    }
}

/// Parses one YAML document. An empty document gives a null node.
///
/// # Errors
/// The first thing that is not YAML, or not YAML as config files may use it.
pub fn parse(source: &Arc<Source>) -> Result<Node, Box<Diagnostic>> {
    if source.text.len() > MAX_BYTES {
        return Err(Box::new(Diagnostic::error(
            "the file is longer than 1 MiB",
            Label { span: None, ..Label::at(source, Span::default()) },
        )));
    }
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut builder = Builder::new(source);
    for event in Parser::new_from_str_with_options(&source.text, options) {
        match event {
            Ok((event, span)) => builder.event(event, to_span(span))?,
            Err(error) => {
                let at = error.marker().byte_offset().unwrap_or(source.text.len());
                return Err(Box::new(syntax_error(source, &error, at)));
            }
        }
    }
    let empty = Span { start: 0, end: 0 };
    Ok(builder.root.unwrap_or(Node {
        id: 0,
        span: empty,
        kind: Kind::Scalar(Scalar { text: "".into(), value: Value::Null }),
        written: Written::Nothing,
    }))
}

/// What a plain (unquoted) scalar means by YAML 1.2's core schema, with `true` and `false` as the only booleans.
pub fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" => return Value::Boolean(true),
        "false" => return Value::Boolean(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Value::Float(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    for (prefix, radix) in [("0o", 8), ("0x", 16)] {
        if let Some(digits) = text.strip_prefix(prefix)
            && digits.chars().all(|c| c.is_digit(radix))
            && let Ok(number) = i128::from_str_radix(digits, radix)
        {
            return Value::Integer(number);
        }
    }
    let starts_like_a_number = unsigned.strip_prefix('.').unwrap_or(unsigned).starts_with(|c: char| c.is_ascii_digit());
    if !starts_like_a_number {
        return Value::Plain;
    }
    if unsigned.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(number) = text.parse()
    {
        return Value::Integer(number);
    }
    // Rust reads a superset of the core schema's floats, but only in words (`inf`, `nan`), which are gone by now.
    text.parse().map_or(Value::Plain, Value::Float)
}

fn to_span(span: granit_parser::Span) -> Span {
    let range = span.byte_range().unwrap_or_default();
    Span { start: range.start, end: range.end }
}

fn syntax_error(source: &Arc<Source>, error: &granit_parser::ScanError, at: usize) -> Diagnostic {
    let line = source.text[..source.text.floor_char_boundary(at)].rsplit('\n').next().unwrap_or_default();
    let indentation = line.len() - line.trim_start_matches([' ', '\t']).len();
    let help = if line[..indentation].contains('\t') || source.text.as_bytes().get(at) == Some(&b'\t') {
        "indent with spaces; YAML allows no tabs there".to_owned()
    } else if let Some(word) = starred_word(&source.text, at) {
        format!("quote what begins with `*`: `\"{word}\"`")
    } else {
        "check quotes, brackets, the space after `:` and the indentation here and just above".to_owned()
    };
    let end = source.text[source.text.floor_char_boundary(at)..].chars().next().map_or(at, |c| at + c.len_utf8());
    Diagnostic::error(format!("this is not YAML: {}", error.info()), Label::at(source, Span { start: at, end }))
        .help(help)
}

/// The word at this place if it begins with `*`, which makes it an alias: a wildcard that was not quoted.
fn starred_word(text: &str, at: usize) -> Option<&str> {
    let ends = |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '{' | '}');
    let at = text.floor_char_boundary(at);
    // The error may lie at the `*` or just behind it.
    let before = &text[..at];
    let start = before.rfind(ends).map_or(0, |end| end + before[end..].chars().next().map_or(0, char::len_utf8));
    let word = text[start..].split(ends).next()?;
    (word.starts_with('*') && !word.contains(['"', '\\'])).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Node, Box<Diagnostic>> {
        parse(&Arc::new(Source { path: "t.yaml".into(), text: text.into() }))
    }

    fn entries(node: &Node) -> &[(Node, Node)] {
        match &node.kind {
            Kind::Mapping(entries) => entries,
            other => panic!("not a mapping: {other:?}"),
        }
    }

    fn slice<'a>(text: &'a str, node: &Node) -> &'a str {
        &text[node.span.start..node.span.end]
    }

    #[test]
    fn every_value_knows_its_bytes() {
        let text = "# ü\na: \"b c\"\nm:\n  k: [1, 'x']\n  l: {p: q}\n  n: &z 5\n\n\nlist:\n- one\n- two\n\nempty:\nlast: |\n  text\n";
        let root = parsed(text).expect("valid");
        let top = entries(&root);
        assert_eq!(slice(text, &top[0].0), "a");
        assert_eq!(slice(text, &top[0].1), "\"b c\"");
        assert_eq!(top[0].1.scalar_text(), Some("b c"));
        assert_eq!(slice(text, &top[1].1), "k: [1, 'x']\n  l: {p: q}\n  n: &z 5");
        assert_eq!(slice(text, &entries(&top[1].1)[0].1), "[1, 'x']");
        assert_eq!(slice(text, &entries(&top[1].1)[1].1), "{p: q}");
        assert_eq!(slice(text, &entries(&top[1].1)[2].1), "5");
        assert_eq!(slice(text, &top[2].1), "one\n- two");
        assert!(top[3].1.is_null());
        assert_eq!(slice(text, &top[3].1), "empty");
        assert_eq!(slice(text, &top[4].0), "last");
    }

    #[test]
    fn scalars_mean_what_the_core_schema_says() {
        use Value::{Boolean, Float, Integer, Null, Plain};
        let table = [
            ("", Null),
            ("~", Null),
            ("null", Null),
            ("true", Boolean(true)),
            ("false", Boolean(false)),
            ("True", Plain),
            ("yes", Plain),
            ("off", Plain),
            ("12", Integer(12)),
            ("-3", Integer(-3)),
            ("+3", Integer(3)),
            ("0x1F", Integer(31)),
            ("0o17", Integer(15)),
            ("007", Integer(7)),
            ("1.5", Float(1.5)),
            (".5", Float(0.5)),
            ("1e3", Float(1000.0)),
            ("1_000", Plain),
            ("1.2.3", Plain),
            ("10.0.0.0/8", Plain),
            ("inf", Plain),
            ("nan", Plain),
            ("e3", Plain),
            (".inf", Float(f64::INFINITY)),
            ("-.inf", Float(f64::NEG_INFINITY)),
            ("0x", Plain),
            ("0x-1", Plain),
            ("30s", Plain),
            ("-", Plain),
            ("1infinity", Plain),
            ("12:30", Plain),
        ];
        for (text, value) in table {
            assert_eq!(resolve(text), value, "{text}");
        }
        let root = parsed("[\"3\", '3', 3]").expect("valid");
        let Kind::Sequence(items) = root.kind else { panic!("not a list") };
        let values: Vec<_> = items
            .iter()
            .map(|item| match &item.kind {
                Kind::Scalar(s) => s.value,
                _ => Null,
            })
            .collect();
        assert_eq!(values, [Value::Quoted, Value::Quoted, Integer(3)]);
    }

    #[test]
    fn refuses_what_config_files_may_not_use() {
        let bomb = format!(
            "a: &a [{0}]\nb: &b [{1}]\nc: &c [{2}]\nd: [{3}]\n",
            "x,".repeat(99),
            "*a,".repeat(99),
            "*b,".repeat(99),
            "*c,".repeat(99)
        );
        let deep = "[".repeat(300);
        let by_alias =
            format!("a: &a {}1{}\nb: {}*a{}\n", "[".repeat(40), "]".repeat(40), "[".repeat(40), "]".repeat(40));
        for (text, part) in [
            ("a: 1\n<<: {b: 2}\n", "merge keys"),
            ("a: 1\n---\nb: 2\n", "second document"),
            ("a: !!str 3\n", "tags"),
            ("%YAML 1.2\n---\na: 1\n", "not YAML"),
            ("[1, 2]: x\n", "cannot be a key"),
            ("a: &a [*a]\n", "inside what it refers to"),
            ("a: *b\n", "not YAML"),
            ("a: [1\nb: 2\n", "not YAML"),
            ("a:\n\tb: 1\n", "not YAML"),
            (&bomb, "more values"),
            (&deep, "not YAML"),
            (&by_alias, "too deeply"),
            (&"x".repeat(MAX_BYTES + 1), "longer than 1 MiB"),
        ] {
            let error = parsed(text).expect_err(part);
            assert!(error.message.contains(part), "{part}: {error}");
        }
        assert!(parsed("a: 1\n...\n").is_ok());
        assert!(parsed("---\na: 1\n").is_ok());
        assert!(parsed("'<<': 1\n").is_ok());
        assert!(parsed("").expect("valid").is_null());
        assert!(parsed("# only a comment\n").expect("valid").is_null());
    }

    #[test]
    fn a_wildcard_without_quotes_is_shown_with_them() {
        for (text, word) in [
            ("a: *.x", "`\"*.x\"`"),
            ("a: [*.x.example.com]", "`\"*.x.example.com\"`"),
            ("a: [/x, */health]\n", "`\"*/health\"`"),
            ("a: [*]\n", "`\"*\"`"),
            ("a:\n  - *Bot*\n", "`\"*Bot*\"`"),
        ] {
            let error = parsed(text).expect_err(text);
            assert!(error.help.as_ref().is_some_and(|help| help.contains(word)), "{text}: {error}");
        }
    }

    #[test]
    fn aliases_are_copies_with_ids_of_their_own() {
        let root = parsed("a: &a {x: [1, 2]}\nb: *a\nc: 3\n").expect("valid");
        let mut ids = Vec::new();
        fn walk(node: &Node, ids: &mut Vec<u32>) {
            ids.push(node.id);
            match &node.kind {
                Kind::Scalar(_) => {}
                Kind::Sequence(items) => items.iter().for_each(|item| walk(item, ids)),
                Kind::Mapping(entries) => entries.iter().for_each(|(k, v)| {
                    walk(k, ids);
                    walk(v, ids);
                }),
            }
        }
        walk(&root, &mut ids);
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}
