//! New values as YAML text.

use super::value::Value;
use crate::config::tree;

/// Longer lines are broken up where a value has entries or items of its own.
const WIDTH: usize = 90;

/// In brackets and braces, on one line.
pub(super) fn flow(value: &Value) -> String {
    match value {
        Value::Scalar { text, is_text: true } => quoted(text),
        Value::Scalar { text, is_text: false } => text.to_string(),
        Value::List(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Map(entries) => {
            let entries: Vec<_> = entries.iter().map(|(key, value)| entry(key, value)).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// `key: value`, on one line.
pub(super) fn entry(key: &str, value: &Value) -> String {
    format!("{}: {}", self::key(key), flow(value))
}

/// `key: value` as lines without indentation of their own; entries of a map on a line each where `open` says so or one line is too
/// short.
pub(super) fn block(key: &str, value: &Value, step: usize, open: bool) -> Vec<String> {
    let line = entry(key, value);
    let inner = match value {
        Value::Map(entries) if !entries.is_empty() && (open || line.chars().count() > WIDTH) => {
            entries.iter().flat_map(|(key, value)| block(key, value, step, has_collections(value))).collect::<Vec<_>>()
        }
        Value::List(items) if !items.is_empty() && line.chars().count() > WIDTH => {
            items.iter().map(|item| format!("- {}", flow(item))).collect()
        }
        _ => return vec![line],
    };
    let indentation = " ".repeat(step);
    let first = format!("{}:", self::key(key));
    std::iter::once(first).chain(inner.into_iter().map(|line| format!("{indentation}{line}"))).collect()
}

/// Whether there are lists or mappings within a mapping, so that one line would be hard to read.
pub(super) fn has_collections(value: &Value) -> bool {
    let Value::Map(entries) = value else { return false };
    entries.iter().any(|(_, value)| value.is_collection() && !value.is_empty())
}

/// A key, as people write keys.
pub(super) fn key(text: &str) -> String {
    if text == "on" { text.to_owned() } else { quoted(text) }
}

/// A text, with quotes where YAML (also the 1.1 that others read) would take it for something else.
pub(super) fn quoted(text: &str) -> String {
    const OTHERS: [&str; 8] = ["yes", "no", "on", "y", "n", "Yes", "No", "On"];
    let plain = tree::resolve(text) == tree::Value::Plain
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || "./_".contains(c))
        && text.contains(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "./_+-@=~% :".contains(c))
        && !text.contains(": ")
        && !text.ends_with([' ', ':'])
        && !OTHERS.contains(&text);
    if plain { text.to_owned() } else { double_quoted(text) }
}

fn double_quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // Control characters, and what some readers take for line ends or for nothing.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                out.push_str(&format!("\\u{:04X}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::source::Source;

    #[test]
    fn texts_are_quoted_where_they_would_be_read_as_something_else() {
        for (text, written) in [
            ("shop:1.1", "shop:1.1"),
            ("first release", "first release"),
            ("./shop", "./shop"),
            ("", "\"\""),
            ("3", "\"3\""),
            ("true", "\"true\""),
            ("yes", "\"yes\""),
            ("a: b", "\"a: b\""),
            ("a #b", "\"a #b\""),
            ("-", "\"-\""),
            ("*.x", "\"*.x\""),
            ("a\"\n\u{1b}", "\"a\\\"\\n\\u001B\""),
            ("ü", "\"ü\""),
            ("...", "\"...\""),
        ] {
            assert_eq!(quoted(text), written);
        }
    }

    #[test]
    fn whatever_is_written_is_read_again_as_it_was() {
        let texts = [
            "a",
            "",
            " a ",
            "a:b",
            "a: b",
            "x#y",
            "x #y",
            "{",
            "[a]",
            "---",
            "...",
            "1e3",
            "~",
            "null",
            "\\",
            "ß€\u{2028}",
            "a\r\nb",
        ];
        let values: Vec<Value> = texts.iter().map(|text| Value::text(text)).chain([Value::number(33.33)]).collect();
        let all = Value::Map(vec![
            ("list".into(), Value::List(values.clone())),
            ("map".into(), Value::Map(texts.iter().zip(values).map(|(key, value)| ((*key).into(), value)).collect())),
        ]);
        let lines = block("all", &all, 2, true).join("\n");
        for text in [lines, entry("all", &all)] {
            let source = Arc::new(Source { path: "t".into(), text });
            let read = Value::of(&tree::parse(&source).expect("YAML"));
            assert_eq!(read.get("all"), Some(&all), "{}", source.text);
        }
    }
}
