//! Edits of a file's YAML by machine: what people have written around them stays as it is.
//!
//! An edit is a splice of bytes at the places that the file's own [tree] gives. After each step the text is parsed
//! again and compared with the value expected: what comes out otherwise is refused, with the lines that a person can write instead. So
//! comments, order, blank lines, line ends and indentation are kept, and a case that nobody has thought of changes nothing.

mod exchange;
mod flow;
mod lines;
#[cfg(test)]
mod properties;
mod splice;
pub mod store;
mod value;
mod write;

use std::path::Path;
use std::sync::Arc;

use self::splice::{Owner, Splice};
pub use self::value::Value;
use crate::config::diagnostic::Diagnostic;
use crate::config::source::Source;
use crate::config::tree::{self, Kind, Node, Written};

/// One change of a file. A path names keys from the top of the file.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The value at a path becomes this one. What is missing on the way is made; of a mapping only the entries that differ are touched.
    Set {
        /// Where.
        path: Vec<String>,
        /// What.
        value: Value,
    },
    /// What is at a path is taken out, if it is there.
    Remove {
        /// Where.
        path: Vec<String>,
    },
    /// A list gets one more item at its end. Where there is no list, it is made.
    Push {
        /// Where the list is.
        path: Vec<String>,
        /// The item.
        value: Value,
    },
    /// A list loses the item with this index, if it has one.
    RemoveItem {
        /// Where the list is.
        path: Vec<String>,
        /// From 0.
        index: usize,
    },
}

/// Why a file is not edited. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// It is not YAML to begin with.
    #[error("{0}")]
    NotYaml(Box<Diagnostic>),
    /// It cannot be done without a risk for what is around it.
    #[error("{} cannot be edited safely: {why}; {by_hand}", .file.display())]
    Unsafe {
        /// The file.
        file: std::path::PathBuf,
        /// Why not.
        why: &'static str,
        /// What a person can do instead; of several lines.
        by_hand: String,
    },
}

impl Change {
    /// The value at a path becomes this one.
    #[must_use]
    pub fn set<P: AsRef<str>>(path: impl IntoIterator<Item = P>, value: Value) -> Self {
        Self::Set { path: owned(path), value }
    }

    /// What is at a path is taken out.
    #[must_use]
    pub fn remove<P: AsRef<str>>(path: impl IntoIterator<Item = P>) -> Self {
        Self::Remove { path: owned(path) }
    }

    /// A list gets one more item.
    #[must_use]
    pub fn push<P: AsRef<str>>(path: impl IntoIterator<Item = P>, value: Value) -> Self {
        Self::Push { path: owned(path), value }
    }

    /// A list loses an item.
    #[must_use]
    pub fn remove_item<P: AsRef<str>>(path: impl IntoIterator<Item = P>, index: usize) -> Self {
        Self::RemoveItem { path: owned(path), index }
    }

    /// What a person would do instead.
    fn by_hand(&self) -> String {
        match self {
            Self::Set { path, value } => {
                let (last, before) = path.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
                let mut lines: Vec<String> = write::block(last, value, 2, matches!(value, Value::Map(_)));
                for key in before.iter().rev() {
                    let inner = lines.into_iter().map(|line| format!("  {line}"));
                    lines = std::iter::once(format!("{}:", write::key(key))).chain(inner).collect();
                }
                format!("write by hand:\n{}", lines.join("\n"))
            }
            Self::Remove { path } => format!("take `{}` out by hand", path.join(".")),
            Self::Push { path, value } => {
                format!("add `{}` to `{}` by hand", write::flow(value), path.join("."))
            }
            Self::RemoveItem { path, index } => {
                format!("take item {} out of `{}` by hand", index + 1, path.join("."))
            }
        }
    }
}

fn owned<P: AsRef<str>>(path: impl IntoIterator<Item = P>) -> Vec<String> {
    path.into_iter().map(|key| key.as_ref().to_owned()).collect()
}

/// The text after all changes, one after the other. `file` is only named in errors.
///
/// # Errors
/// The first change that cannot be made.
pub fn apply(file: &Path, text: &str, changes: &[Change]) -> Result<String, EditError> {
    let mut text = text.to_owned();
    for change in changes {
        text = changed(file, text, change).map_err(|why| match why {
            Refusal::NotYaml(diagnostic) => EditError::NotYaml(diagnostic),
            Refusal::Unsafe(why) => EditError::Unsafe { file: file.to_owned(), why, by_hand: change.by_hand() },
        })?;
    }
    Ok(text)
}

enum Refusal {
    NotYaml(Box<Diagnostic>),
    Unsafe(&'static str),
}

const BY_ALIAS: &str = "an alias (`*`) stands there, and what it refers to is written elsewhere";
const TWICE: &str = "a key on the way to it is there twice";
const NO_MAPPING: &str = "something other than a mapping stands there";
const NO_LIST: &str = "something other than a list stands there";
const NOT_AS_EXPECTED: &str = "the way it is written is not understood well enough";

/// The text after one change, which may take several steps.
fn changed(file: &Path, text: String, change: &Change) -> Result<String, Refusal> {
    let source = Arc::new(Source { path: file.to_owned(), text });
    let root = tree::parse(&source).map_err(Refusal::NotYaml)?;
    let path = match change {
        Change::Set { path, .. }
        | Change::Remove { path }
        | Change::Push { path, .. }
        | Change::RemoveItem { path, .. } => path,
    };
    let (found, owner, depth) = walk(&root, path)?;
    let rest = &path[depth..];
    let splice = Splice::new(&source.text, &root);
    let step = match change {
        Change::Set { value, .. } if !rest.is_empty() => splice.nest(found, owner, rest, value.clone()),
        Change::Push { value, .. } if !rest.is_empty() => {
            splice.nest(found, owner, rest, Value::List(vec![value.clone()]))
        }
        Change::Remove { .. } | Change::RemoveItem { .. } if !rest.is_empty() => return Ok(unchanged(source)),
        Change::Set { value, .. } => {
            if Value::of(found) == *value {
                return Ok(unchanged(source));
            }
            if let (Kind::Mapping(old), Value::Map(new)) = (&found.kind, value)
                && !new.is_empty()
                && !old.is_empty()
            {
                return entry_by_entry(file, &source.text, path, old, new);
            }
            splice.replace(found, owner, value)
        }
        Change::Remove { path } => {
            let (parent, owner, _) = walk(&root, &path[..path.len().saturating_sub(1)])?;
            splice.remove_entry(parent, owner, path.last().map_or("", String::as_str))
        }
        Change::Push { value, .. } if found.is_null() => {
            splice.replace(found, owner, &Value::List(vec![value.clone()]))
        }
        Change::Push { .. } if !matches!(found.kind, Kind::Sequence(_)) => return Err(Refusal::Unsafe(NO_LIST)),
        Change::Push { value, .. } => splice.push(found, owner, value),
        Change::RemoveItem { index, .. } => {
            let Kind::Sequence(items) = &found.kind else { return Err(Refusal::Unsafe(NO_LIST)) };
            if *index >= items.len() {
                return Ok(unchanged(source));
            }
            splice.remove_item(found, owner, *index)
        }
    };
    let text = step.ok_or(Refusal::Unsafe(NOT_AS_EXPECTED))?;
    let expected = expected(Value::of(&root), path, change);
    let after = Source { path: file.to_owned(), text };
    let after = Arc::new(after);
    match tree::parse(&after) {
        Ok(tree) if Some(Value::of(&tree)) == expected => Ok(unchanged(after)),
        _ => Err(Refusal::Unsafe(NOT_AS_EXPECTED)),
    }
}

fn unchanged(source: Arc<Source>) -> String {
    Arc::try_unwrap(source).map_or_else(|shared| shared.text.clone(), |source| source.text)
}

/// A mapping becomes another by the entries that differ, so that what stays is not touched.
fn entry_by_entry(
    file: &Path,
    text: &str,
    path: &[String],
    old: &[(Node, Node)],
    new: &[(Box<str>, Value)],
) -> Result<String, Refusal> {
    let below = |key: &str| path.iter().cloned().chain([key.to_owned()]).collect::<Vec<_>>();
    let mut text = text.to_owned();
    // First what is new, so that the mapping is never empty.
    for (key, value) in new {
        text = changed(file, text, &Change::Set { path: below(key), value: value.clone() })?;
    }
    for key in old.iter().filter_map(|(key, _)| key.scalar_text()) {
        if !new.iter().any(|(name, _)| **name == *key) {
            text = changed(file, text, &Change::Remove { path: below(key) })?;
        }
    }
    Ok(text)
}

/// Follows a path as far as there is something: the value there, what it belongs to, and how many keys were followed.
fn walk<'t>(root: &'t Node, path: &[String]) -> Result<(&'t Node, Owner<'t>, usize), Refusal> {
    let (mut node, mut owner) = (root, Owner::ROOT);
    for (depth, key) in path.iter().enumerate() {
        if matches!(node.written, Written::Alias(_)) {
            return Err(Refusal::Unsafe(BY_ALIAS));
        }
        let Kind::Mapping(entries) = &node.kind else {
            return if node.is_null() { Ok((node, owner, depth)) } else { Err(Refusal::Unsafe(NO_MAPPING)) };
        };
        let mut named = entries.iter().filter(|(name, _)| name.scalar_text() == Some(key));
        match (named.next(), named.next()) {
            (None, _) => return Ok((node, owner, depth)),
            (Some((name, value)), None) => {
                owner = Owner { key: Some(name), in_block: node.written == Written::Block };
                node = value;
            }
            (Some(_), Some(_)) => return Err(Refusal::Unsafe(TWICE)),
        }
    }
    if matches!(node.written, Written::Alias(_)) {
        return Err(Refusal::Unsafe(BY_ALIAS));
    }
    Ok((node, owner, path.len()))
}

/// What the file is to say after the change.
fn expected(root: Value, path: &[String], change: &Change) -> Option<Value> {
    let mut root = root;
    let Some((last, before)) = path.split_last() else {
        return if let Change::Set { value, .. } = change { Some(value.clone()) } else { None };
    };
    let mut here = &mut root;
    for key in before {
        here = entry_of(here, key)?;
    }
    match change {
        Change::Set { value, .. } => *entry_of(here, last)? = value.clone(),
        Change::Remove { .. } => match here {
            Value::Map(entries) => entries.retain(|(name, _)| **name != **last),
            _ => return None,
        },
        Change::Push { value, .. } => match entry_of(here, last)? {
            Value::List(items) => items.push(value.clone()),
            nothing if nothing.is_null() => *nothing = Value::List(vec![value.clone()]),
            _ => return None,
        },
        Change::RemoveItem { index, .. } => match entry_of(here, last)? {
            Value::List(items) => drop(items.remove(*index)),
            _ => return None,
        },
    }
    Some(root)
}

/// The value of a key, which is made, with nothing in it, where it is missing.
fn entry_of<'v>(map: &'v mut Value, key: &str) -> Option<&'v mut Value> {
    if map.is_null() {
        *map = Value::Map(Vec::new());
    }
    let Value::Map(entries) = map else { return None };
    let at = entries.iter().position(|(name, _)| **name == *key).unwrap_or_else(|| {
        entries.push((key.into(), Value::number("")));
        entries.len() - 1
    });
    Some(&mut entries[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(text: &str, change: Change) -> Result<String, String> {
        apply(Path::new("shop.yaml"), text, &[change]).map_err(|error| error.to_string())
    }

    fn weights(list: &[(&str, f64)]) -> Value {
        Value::map(list.iter().map(|(name, percent)| (*name, Value::number(percent))))
    }

    #[test]
    fn what_is_around_an_edit_stays() {
        let text = "# shop\nweights: {a: 90, b: 10}   # per cent\r\n\nversions:\n  a: {urls: [x]}  # one\n  b:\n    urls:\n    - y # two\n";
        let set = Change::set(["weights"], weights(&[("a", 33.33), ("c", 66.67)]));
        assert_eq!(
            edited(text, set).as_deref(),
            Ok(
                "# shop\nweights: {a: 33.33, c: 66.67}   # per cent\r\n\nversions:\n  a: {urls: [x]}  # one\n  b:\n    urls:\n    - y # two\n"
            )
        );
        let add = Change::set(["versions", "c"], Value::map([("urls", Value::texts(["z"]))]));
        assert_eq!(
            edited(text, add),
            Ok(format!("{text}  c:\n    urls: [z]\n").replace("]}   # per cent\n", "]}   # per cent\r\n"))
        );
        let remove = Change::remove(["versions", "a"]);
        assert_eq!(edited(text, remove), Ok(text.replace("  a: {urls: [x]}  # one\n", "")));
        let push = Change::push(["versions", "b", "urls"], Value::text("z"));
        assert_eq!(edited(text, push), Ok(format!("{text}    - z\n")));
        assert_eq!(edited(text, Change::remove(["versions", "z"])), Ok(text.to_owned()));
    }

    #[test]
    fn the_last_entry_leaves_braces() {
        let text = "versions:   # all\n  a: 1\nx: 1";
        assert_eq!(edited(text, Change::remove(["versions", "a"])).as_deref(), Ok("versions: {}   # all\nx: 1"));
        assert_eq!(edited("a: 1\n", Change::remove(["a"])).as_deref(), Ok("{}\n"));
        assert_eq!(edited("a: {b: 1}\n", Change::remove(["a", "b"])).as_deref(), Ok("a: {}\n"));
        assert_eq!(edited("a:\n- b\n", Change::remove_item(["a"], 0)).as_deref(), Ok("a: []\n"));
    }

    #[test]
    fn what_is_missing_is_made() {
        let set = |text: &str| edited(text, Change::set(["a", "b", "c"], Value::number(1)));
        assert_eq!(set("").as_deref(), Ok("a:\n  b: {c: 1}\n"));
        assert_eq!(set("# only\n").as_deref(), Ok("# only\na:\n  b: {c: 1}\n"));
        assert_eq!(set("x: 1").as_deref(), Ok("x: 1\na:\n  b: {c: 1}"));
        assert_eq!(set("a: # none\nx: 1\n").as_deref(), Ok("a: # none\n  b: {c: 1}\nx: 1\n"));
        assert_eq!(set("a: ~\n").as_deref(), Ok("a: {b: {c: 1}}\n"));
        assert_eq!(
            set("a:\n    x: 1\n    # of a\ny: 1\n").as_deref(),
            Ok("a:\n    x: 1\n    b: {c: 1}\n    # of a\ny: 1\n")
        );
        assert_eq!(set("a: {}\r\n").as_deref(), Ok("a: {b: {c: 1}}\r\n"));
        assert_eq!(set("{a: {x: 1,},}").as_deref(), Ok("{a: {x: 1, b: {c: 1},},}"));
    }

    #[test]
    fn braces_over_several_lines_keep_a_line_for_each() {
        let text = "w: {\n  a: 1, # one\n  b: 2  # two\n}\n";
        let set = Change::set(["w", "c"], Value::number(3));
        assert_eq!(edited(text, set).as_deref(), Ok("w: {\n  a: 1, # one\n  b: 2,  # two\n  c: 3\n}\n"));
        assert_eq!(edited(text, Change::remove(["w", "a"])).as_deref(), Ok("w: {\n  b: 2  # two\n}\n"));
        assert_eq!(edited(text, Change::remove(["w", "b"])).as_deref(), Ok("w: {\n  a: 1, # one\n}\n"));
    }

    #[test]
    fn what_is_not_safe_is_refused_with_what_to_write() {
        let text = "a: &x {b: 1}\nc: *x\nd: &y 1\ne: *y\n";
        let refused = |path: &[&str]| edited(text, Change::set(path, Value::number(2))).expect_err("unsafe");
        assert_eq!(
            refused(&["c", "b"]),
            "shop.yaml cannot be edited safely: an alias (`*`) stands there, and what it refers to is written elsewhere; write by hand:\nc:\n  b: 2"
        );
        assert!(refused(&["a", "b"]).contains("not understood well enough"), "another value would change with it");
        assert!(refused(&["d"]).contains("not understood"));
        assert!(refused(&["a", "b", "c"]).contains("other than a mapping"));
        let removed = edited(text, Change::remove(["a"])).expect_err("an alias refers to it");
        assert!(removed.ends_with("take `a` out by hand"), "{removed}");
        assert!(edited("a: [\n", Change::remove(["a"])).expect_err("not YAML").contains("not YAML"));
    }
}
