//! A command: a list of words, which no shell reads.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error};

use super::Word;
use crate::config::spanned::Spanned;

/// A longer text in place of a list is not written out as one.
const MAX_SHOWN: usize = 200;

/// A program and its arguments. Text in place of the list is an error that shows the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandFile(pub Vec<Spanned<Word>>);

#[derive(serde::Deserialize)]
enum Written {
    #[serde(rename = "@list")]
    Words(Vec<Spanned<Word>>),
    #[serde(rename = "@scalar")]
    Line(Word),
}

impl<'de> Deserialize<'de> for CommandFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Words(words) => Ok(Self(words)),
            // The second line is the cure: see `decode`.
            Written::Line(line) => {
                let cure = list_of(line.as_str());
                Err(D::Error::custom(format_args!("a command is a list of words, not a text\n{cure}")))
            }
        }
    }
}

impl JsonSchema for CommandFile {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Command".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Vec::<Word>::json_schema(generator)
    }
}

/// How to write a command that was written as for a shell.
fn list_of(line: &str) -> String {
    let words = words(line).filter(|_| line.len() <= MAX_SHOWN && !line.contains(char::is_control));
    let Some(words) = words.filter(|words| !words.is_empty()) else {
        return "write the program and its arguments: `[./app, --serve]`".to_owned();
    };
    let sets_a_variable = words[0].contains('=');
    if !sets_a_variable && !line.contains(['$', '`', '|', '&', ';', '<', '>', '(', '*']) {
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        return format!("write `[{}]`", words.join(", "));
    }
    // With `exec` the program gets the signal itself; where there are several, or a variable before it, that is for the shell.
    let several = sets_a_variable || line.contains(['|', '&', ';', '`', '(']);
    let exec = if several || words[0] == "exec" { "" } else { "exec " };
    format!("write `[sh, -c, {}]` for what only a shell understands", quoted(&format!("{exec}{line}")))
}

/// The words as a shell would see them; `None` if a quote is not closed.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut open: Option<char> = None;
    for c in line.chars() {
        match (open, c) {
            (Some(quote), c) if c == quote => open = None,
            (None, '"' | '\'') => {
                open = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    open.is_none().then_some(words)
}

/// The word as an item of a YAML list, with quotes where it needs them.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "./_=+-~".contains(c);
    if !word.is_empty() && word != "-" && word != "~" && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_shown_as_the_list_that_it_should_be() {
        for (line, list) in [
            ("./run.sh", "write `[./run.sh]`"),
            ("./run.sh --port  80", "write `[./run.sh, --port, 80]`"),
            ("app 'two words' \"\" a:b", "write `[app, \"two words\", \"\", \"a:b\"]`"),
            ("app -p $PORT", "write `[sh, -c, \"exec app -p $PORT\"]` for what only a shell understands"),
            (
                "cd /srv && ./app \"x\"",
                "write `[sh, -c, \"cd /srv && ./app \\\"x\\\"\"]` for what only a shell understands",
            ),
            ("A=b ./app", "write `[sh, -c, \"A=b ./app\"]` for what only a shell understands"),
            ("exec app >log", "write `[sh, -c, \"exec app >log\"]` for what only a shell understands"),
            ("app 'open", "write the program and its arguments: `[./app, --serve]`"),
            (" ", "write the program and its arguments: `[./app, --serve]`"),
            ("a\nb", "write the program and its arguments: `[./app, --serve]`"),
        ] {
            assert_eq!(list_of(line), list, "{line}");
        }
    }
}
