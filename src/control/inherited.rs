//! What a new version takes over from the one before it: all that makes and tunes it but what it is made from, as a new revision does on
//! the platforms that people come from.

use std::path::Path;
use std::sync::Arc;

use crate::config::edit::Value;
use crate::config::home::Draft;
use crate::config::source::Source;
use crate::config::tree;

/// What is of one version alone: what it is made from, and what people say of it.
const ITS_OWN: [&str; 5] = ["image", "container", "compose", "urls", "remark"];

/// What is merged key by key, and not replaced, where both say something.
const MERGED: [&str; 3] = ["env", "resources", "replicas"];

/// What was taken over, and from which version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenOver {
    /// The version.
    pub from: String,
    /// The keys, in its order.
    pub keys: Vec<String>,
}

/// What a new version says, and beside it what the one before says that it does not: the version of the same kind with the most weight,
/// the newest of those that have as much. The file's text has to be the draft's.
pub(super) fn take_over(file: &Path, text: &str, draft: &Draft, own: Value) -> (Value, Option<TakenOver>) {
    let Value::Map(mut entries) = own else { return (own, None) };
    let is_image = entries.iter().any(|(key, _)| &**key == "image");
    let source = Arc::new(Source { path: file.to_owned(), text: text.to_owned() });
    let Ok(root) = tree::parse(&source) else { return (Value::Map(entries), None) };
    let all = Value::of(&root);
    let before = draft.weights().filter_map(|(name, weight)| {
        let value = all.get("versions")?.get(name.as_str())?;
        let is_alike = match is_image {
            true => value.get("image").is_some(),
            false => value.get("command").is_some() && value.get("image").is_none(),
        };
        is_alike.then_some((weight.hundredths(), name.number(), name, value))
    });
    let Some((_, _, name, Value::Map(before))) = before.max_by_key(|(weight, number, ..)| (*weight, *number)) else {
        return (Value::Map(entries), None);
    };
    let mut keys = Vec::new();
    for (key, value) in before {
        let of_program = &**key == "command" && !is_image;
        if ITS_OWN.contains(&&**key) || of_program {
            continue;
        }
        match entries.iter_mut().find(|(own, _)| own == key) {
            None => entries.push((key.clone(), value.clone())),
            Some((_, Value::Map(own))) if MERGED.contains(&&**key) => {
                let Value::Map(theirs) = value else { continue };
                let missing = theirs.iter().filter(|(name, _)| !own.iter().any(|(own, _)| own == name));
                let missing: Vec<_> = missing.cloned().collect();
                if missing.is_empty() {
                    continue;
                }
                own.extend(missing);
            }
            Some(_) => continue,
        }
        keys.push(key.to_string());
    }
    let taken = (!keys.is_empty()).then(|| TakenOver { from: name.to_string(), keys });
    (Value::Map(entries), taken)
}
