//! A [`tree`](crate::config::tree) into ordinary serde structs, noting every error on the way.
//!
//! Unknown keys, keys that are not supported yet and keys written twice are noted and passed over. After any other error the value
//! that it concerns is cut out of the tree and the rest is decoded again, so that one run tells all that is wrong with a file.
//!
//! Two conventions for the structs: an enum whose variants are named for what YAML has (`@text`, `@number`, `@boolean`, `@list`,
//! `@mapping`; `@scalar` for any single value, as written; `@scalar-as-is` likewise, with its type) is chosen by what is there;
//! and a custom error's text may have a second line, which is its cure.

mod access;
mod error;
mod node;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use self::node::NodeDeserializer;
use crate::config::diagnostic::{Diagnostic, Label};
use crate::config::source::{Source, Span};
use crate::config::tree::{Kind, Node};

/// After so many errors no more are noted of a file; nobody reads more.
pub(crate) const MAX_ERRORS: usize = 100;

/// Why a key that is known to tidegate is refused, with what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It will exist: "`image` is not supported yet".
    NotYet(&'static str),
    /// Another struct has it: "`replicas` does not belong here".
    Elsewhere(&'static str),
}

/// Says why a key of a struct (by the struct's serde name) is refused, where there is more to say than that it is unknown.
pub type Refuse = fn(structure: &str, key: &str) -> Option<Refusal>;

/// What to write in place of a single value, by its key and the text that cannot be it, where its key says more than its type.
pub type Cure = fn(key: &str, text: &str) -> Option<String>;

/// Decodes a tree. The value is there whenever something could be made of the rest, for checks of meaning, but it is to be used
/// only if there are no errors.
pub fn decode<T: DeserializeOwned>(
    source: &Arc<Source>,
    root: &Node,
    refuse: Refuse,
    cure: Cure,
) -> (Option<T>, Vec<Diagnostic>) {
    let context = Context { source, refuse, cure, cut: RefCell::default(), found: RefCell::default() };
    context.cut_duplicates(root);
    let value = loop {
        match T::deserialize(NodeDeserializer::new(root, &context)) {
            Ok(value) => break Some(value),
            Err(error) => {
                let (id, span) = error.at.unwrap_or((root.id, root.span));
                if !error.silent {
                    context.note(Diagnostic::error(error.message, Label::at(source, span)).maybe_help(error.help));
                }
                // Cutting out the root, or the same value again, would lead nowhere.
                let goes_on = id != root.id && !context.is_full() && context.cut(id);
                if !goes_on {
                    break None;
                }
            }
        }
    };
    let mut found = context.found.into_inner();
    found.sort_by_key(|diagnostic| diagnostic.primary.span.map(|span| span.start));
    // The copies that aliases make repeat what is wrong with the original.
    found.dedup();
    (value, found)
}

/// The candidate that was probably meant, if one is near.
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (written.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(written, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn distance(a: &str, b: &str) -> usize {
    if a.eq_ignore_ascii_case(b) { 0 } else { strsim::damerau_levenshtein(a, b) }
}

/// What one decoding shares between its values.
struct Context<'a> {
    source: &'a Arc<Source>,
    refuse: Refuse,
    cure: Cure,
    /// Ids of the values that are passed over.
    cut: RefCell<HashSet<u32>>,
    found: RefCell<Vec<Diagnostic>>,
}

impl Context<'_> {
    fn note(&self, diagnostic: Diagnostic) {
        if !self.is_full() {
            self.found.borrow_mut().push(diagnostic);
        }
    }

    fn is_full(&self) -> bool {
        self.found.borrow().len() >= MAX_ERRORS
    }

    /// Passes a value over from now on; false if it was so already.
    fn cut(&self, id: u32) -> bool {
        self.cut.borrow_mut().insert(id)
    }

    fn is_cut(&self, node: &Node) -> bool {
        self.cut.borrow().contains(&node.id)
    }

    /// The text of a place, shortened for use in a message.
    fn excerpt(&self, span: Span) -> String {
        let text = self.source.text.get(span.start..span.end).unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        match line.char_indices().nth(40) {
            Some((at, _)) => format!("{}…", &line[..at]),
            None => line.to_owned(),
        }
    }

    fn cut_duplicates(&self, node: &Node) {
        match &node.kind {
            Kind::Scalar(_) => {}
            Kind::Sequence(items) => items.iter().for_each(|item| self.cut_duplicates(item)),
            Kind::Mapping(entries) => {
                let mut first: HashMap<&str, Span> = HashMap::new();
                for (key, value) in entries {
                    let name = key.scalar_text().unwrap_or_default();
                    if let Some(earlier) = first.get(name) {
                        self.note(
                            Diagnostic::error(
                                format!("the key `{name}` is written twice"),
                                Label::at(self.source, key.span).text("again here"),
                            )
                            .also(Label::at(self.source, *earlier).text("first here"))
                            .help("keep one of them"),
                        );
                        self.cut(value.id);
                    } else {
                        first.insert(name, key.span);
                        self.cut_duplicates(value);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::config::spanned::{Entries, OneOrMany, Spanned};
    use crate::config::tree;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Colour {
        Red,
        Green,
    }

    #[derive(Debug, Deserialize)]
    enum Place {
        #[serde(rename = "@text")]
        Short(Spanned<String>),
        #[serde(rename = "@mapping")]
        Long(Inner),
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        port: u16,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Outer {
        name: Option<String>,
        count: Option<u8>,
        share: Option<f64>,
        on: Option<bool>,
        colour: Option<Colour>,
        place: Option<Place>,
        many: Option<OneOrMany<Spanned<String>>>,
        all: Entries<Inner>,
        list: Vec<Inner>,
    }

    fn run(text: &str) -> (Option<Outer>, Vec<String>) {
        let source = Arc::new(Source { path: "t".into(), text: text.into() });
        let root = tree::parse(&source).expect("YAML");
        let refuse = |structure: &str, key: &str| {
            (structure == "Inner" && key == "sleep").then_some(Refusal::NotYet("it comes later"))
        };
        let (value, found) = decode(&source, &root, refuse, |_, _| None);
        (value, found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn decodes_what_is_right() {
        let (value, found) = run(
            "name: x\ncount: 3\nshare: 90\non: true\ncolour: green\nplace: {port: 80}\nmany: a\nall: {z: {port: 1}, 5: {port: 2}}\nlist: [{port: 3}]\n",
        );
        assert_eq!(found, Vec::<String>::new());
        let value = value.expect("valid");
        assert_eq!(
            (value.name.as_deref(), value.count, value.share, value.on),
            (Some("x"), Some(3), Some(90.0), Some(true))
        );
        assert!(matches!(value.colour, Some(Colour::Green)));
        assert!(matches!(value.place, Some(Place::Long(Inner { port: 80 }))));
        assert_eq!(value.many.expect("there").as_slice()[0].value, "a");
        assert_eq!(value.all[1].0.value, "5");
        assert_eq!(value.all[1].1.port, 2);
        assert_eq!(value.list[0].port, 3);
        let (value, found) = run("place: here\nmany: [a, b]\ncolour: red\n");
        assert!(found.is_empty());
        let value = value.expect("valid");
        assert!(matches!(value.colour, Some(Colour::Red)));
        let Some(Place::Short(place)) = value.place else { panic!("not short") };
        assert_eq!(place.span, Span { start: 7, end: 11 });
        assert_eq!(value.many.expect("there").as_slice().len(), 2);
    }

    #[test]
    fn finds_everything_that_is_wrong() {
        let text = "name: 5\ncount: 256\nshare: \"3\"\non: yes\ncolour: gren\nplace: [1]\nmany: [a, {b: c}]\nall: {a: {prot: 1}, b: {port: x, sleep: 1}}\nlist: {}\nnmae: x\ncount: 3\n";
        let (_, found) = run(text);
        assert_eq!(
            found,
            [
                "t:1:7: `5` is a number; text belongs here (write `\"5\"`)",
                "t:2:8: `256` is out of range (write a whole number from 0 to 255)",
                "t:3:8: `\"3\"` is text; a number belongs here (write `3`)",
                "t:4:5: `yes` is text; `true` or `false` belongs here (write `true`)",
                "t:5:9: `gren` is not known here, did you mean `green`? (write `red` or `green`)",
                "t:6:8: this is a list; text or a mapping belongs here",
                "t:7:11: this is a mapping; text belongs here",
                "t:8:10: `port` is missing",
                "t:8:11: unknown key `prot`, did you mean `port`?",
                "t:8:31: `x` is text; a whole number belongs here",
                "t:8:34: `sleep` is not supported yet (it comes later)",
                "t:9:7: this is a mapping; a list belongs here (begin each item with `- `, or write `[...]`)",
                "t:10:1: unknown key `nmae`, did you mean `name`?",
                "t:11:1: the key `count` is written twice (keep one of them)",
            ]
        );
        let (value, found) = run("on:\nname: ~\nbogus: 1\n");
        assert!(value.is_some());
        assert_eq!(
            found,
            [
                "t:1:1: `on` has no value (write one, or take the line out)",
                "t:2:7: `name` has no value (write one, or take the line out)",
                "t:3:1: unknown key `bogus` (known here: `name`, `count`, `share`, `on`, `colour`, `place`, `many`, `all`, `list`)",
            ]
        );
        let (value, found) = run("- 1\n");
        assert!(value.is_none());
        assert_eq!(found, ["t:1:1: this is a list; a mapping belongs here (write `key: value` lines)"]);
    }
}
