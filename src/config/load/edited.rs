//! The quick way for an edit of a few services among many: their files alone are read. It is taken where they are without a fault, as
//! everything was before; whatever there is to say is found by the full load.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::{Entry, read_service};
use super::{Loaded, Memory, runs_processes};
use crate::config::compile::InForce;
use crate::model::name::ServiceName;
use crate::model::snapshot::Snapshot;

/// What an edit came to. Hand it to [`Loaded::remember`] once it is in force.
#[derive(Debug)]
pub struct Edited {
    /// The snapshot to put in force.
    pub snapshot: Arc<Snapshot>,
    entries: Vec<(ServiceName, Arc<Entry>)>,
}

impl Loaded {
    /// Reads these files again, given that nothing else has changed since the last load, and that all of them were there before;
    /// symlinks in their paths are resolved. `None` where that is not enough to go on: then everything is to be loaded.
    #[must_use]
    pub fn edited(&self, files: &BTreeSet<PathBuf>, in_force: &InForce<'_>) -> Option<Edited> {
        let before = self.snapshot.as_ref().filter(|_| self.diagnostics.is_empty() && self.held.is_empty())?;
        let Memory { services, folder, defaults, folder_id: _, pairs: _ } = &self.memory;
        let folder_itself = folder.canonicalize().ok()?;
        let (mut entries, mut others) = (Vec::new(), Vec::new());
        for file in files {
            let name = file.strip_prefix(&folder_itself).ok()?;
            let path = folder.join(name);
            let name = ServiceName::new(name.to_str()?.strip_suffix(".yaml")?).ok()?;
            let known = services.get(&name).filter(|known| known.file.path == path)?;
            let (entry, changed) = read_service(&name, &path, Some(known), defaults, in_force);
            let service = &entry.current.as_ref().filter(|_| entry.found.is_empty())?.service;
            if !entry.dependencies().eq(known.dependencies()) {
                return None;
            }
            if changed {
                let index = before.service_index(name.as_str())?;
                // The first process of all may bring a warning about ports.
                if runs_processes(service) && !runs_processes(&before.services[index]) {
                    return None;
                }
                others.push((index, Arc::clone(service)));
            }
            entries.push((name, entry));
        }
        let snapshot = if others.is_empty() { Arc::clone(before) } else { Arc::new(before.with(others).ok()?) };
        Some(Edited { snapshot, entries })
    }

    /// Takes an edit over as the last that was loaded.
    pub fn remember(&mut self, edited: Edited) {
        self.snapshot = Some(edited.snapshot);
        self.memory.services.extend(edited.entries);
    }
}

impl Entry {
    fn dependencies(&self) -> impl Iterator<Item = &Path> {
        self.depends_on.iter().map(|file| file.path.as_path())
    }
}
