//! One service's file, read again only where something may have changed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use crate::config::claims::Form;
use crate::config::compile::{self, Check, Defaults, InForce, Known};
use crate::config::diagnostic::Diagnostic;
use crate::config::file::ServiceFile;
use crate::config::source::Source;
use crate::config::stamp::Stamped;
use crate::model::name::ServiceName;

/// One service's file as it was read, and its last good form.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) file: Stamped,
    pub(super) content: u64,
    pub(super) defaults: Arc<Defaults>,
    pub(super) depends_on: Vec<Stamped>,
    pub(super) found: Vec<Diagnostic>,
    /// What the file says, if it has no errors.
    pub(super) current: Option<Arc<Form>>,
    /// That, or the last good form.
    pub(super) good: Option<Arc<Form>>,
}

/// Reads one service's file, unless it and all that it depends on are as they were. Says whether its form is a new one.
pub(super) fn read_service(
    name: &ServiceName,
    path: &Path,
    before: Option<&Arc<Entry>>,
    defaults: &Arc<Defaults>,
    in_force: &InForce<'_>,
) -> (Arc<Entry>, bool) {
    // What was wrong with a file may be cured elsewhere, so only faultless ones are taken as they were.
    let faultless = before.filter(|entry| {
        let same =
            entry.current.is_some() && entry.found.is_empty() && entry.defaults == *defaults && entry.file.path == path;
        same && entry.depends_on.iter().all(Stamped::is_fresh)
    });
    if let Some(entry) = faultless
        && entry.file.is_fresh()
    {
        return (Arc::clone(entry), false);
    }
    let file = Stamped::now(path);
    let last_good = before.and_then(|entry| entry.good.clone());
    let source = match Source::read(path) {
        Ok(source) => Arc::new(source),
        Err(error) => {
            let entry = Entry {
                file,
                content: 0,
                defaults: Arc::clone(defaults),
                depends_on: Vec::new(),
                found: vec![*error],
                current: None,
                good: last_good,
            };
            return (Arc::new(entry), false);
        }
    };
    let content = hash(&source.text);
    if let Some(entry) = faultless
        && entry.content == content
    {
        return (Arc::new(Entry { file, ..Entry::clone(entry) }), false);
    }
    let smallest = format!(
        "write at least `versions: {{{name}-001: {{urls: [\"http://127.0.0.1:3000\"]}}}}`, or take the file out"
    );
    let (mut check, service_file) = Check::decode::<ServiceFile>(Arc::clone(&source), &smallest);
    let previous = last_good.as_ref().map(|form| &*form.service);
    let compiled = service_file.and_then(|service_file| {
        compile::service(&mut check, name, &service_file, defaults, Known { in_force, previous })
    });
    // What comes to the same stays the same in memory: that is how the reloader knows that there is nothing new. A file with a
    // warning is read by every load.
    let same = compiled.as_ref().and_then(|compiled| {
        let form = last_good.as_ref().filter(|form| form.service.is_same_as(&compiled.service))?;
        Some(Arc::clone(&form.service))
    });
    let changed = compiled.is_some() && same.is_none();
    let current = compiled.map(|compiled| {
        let service = same.unwrap_or_else(|| Arc::new(compiled.service));
        Arc::new(Form { service, path: path.to_owned(), places: compiled.route_places })
    });
    let mut found = check.found;
    found.sort_by_key(|diagnostic| diagnostic.primary.span);
    let good = current.clone().or(last_good);
    (
        Arc::new(Entry {
            file,
            content,
            defaults: Arc::clone(defaults),
            depends_on: check.depends_on,
            found,
            current,
            good,
        }),
        changed,
    )
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
