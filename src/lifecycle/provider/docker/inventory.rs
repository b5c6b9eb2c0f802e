//! The containers that are ours, as far as the engine has told.
//!
//! It is told by events, and by whole lists after each connection and now and then. All of it is a hint: who acts on it hears from the
//! engine whether it is still so.

use std::collections::HashMap;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum, EventMessage};

use super::labels;

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Condition {
    Running,
    Paused,
    /// Created, or ended.
    Still,
}

/// A container of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) id: Box<str>,
    pub(super) name: Box<str>,
    pub(super) version: Box<str>,
    /// What its label says; `None` for none.
    pub(super) spec: Option<Box<str>>,
    pub(super) condition: Condition,
}

impl Known {
    /// The number behind the version's name.
    fn number(&self) -> Option<u32> {
        self.name.strip_prefix(&*self.version)?.strip_prefix('-')?.parse().ok()
    }
}

/// The containers of one owner.
#[derive(Debug)]
pub(super) struct Inventory {
    owner: Box<str>,
    known: HashMap<Box<str>, Known>,
}

impl Inventory {
    pub(super) fn new(owner: &str) -> Self {
        Self { owner: owner.into(), known: HashMap::new() }
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Known> {
        self.known.values()
    }

    /// The one with this ID.
    pub(super) fn get(&self, id: &str) -> Option<&Known> {
        self.known.get(id)
    }

    /// Those of a version.
    pub(super) fn of<'a>(&'a self, version: &'a str) -> impl Iterator<Item = &'a Known> {
        self.all().filter(move |known| &*known.version == version)
    }

    /// The one of a version to be taken next, of those that are free: one that runs, else one that is paused, else one that was there
    /// before; of several the one with the smallest number.
    pub(super) fn next<'a>(&'a self, version: &'a str, is_free: impl Fn(&str) -> bool) -> Option<&'a Known> {
        let free = self.of(version).filter(|known| is_free(&known.id));
        free.min_by_key(|known| (known.condition, known.number().unwrap_or(u32::MAX), known.id.clone()))
    }

    /// The smallest number that no container of a version has.
    pub(super) fn free_number(&self, version: &str, is_free: impl Fn(u32) -> bool) -> u32 {
        let mut numbers: Vec<u32> = self.of(version).filter_map(Known::number).collect();
        numbers.sort_unstable();
        (1..).find(|number| numbers.binary_search(number).is_err() && is_free(*number)).unwrap_or(u32::MAX)
    }

    pub(super) fn put(&mut self, known: Known) {
        self.known.insert(known.id.clone(), known);
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.known.remove(id);
    }

    /// Notes what a container does now.
    pub(super) fn set(&mut self, id: &str, condition: Condition) {
        if let Some(known) = self.known.get_mut(id) {
            known.condition = condition;
        }
    }

    /// Takes a whole list for the truth.
    pub(super) fn replace(&mut self, list: &[ContainerSummary]) {
        self.known.clear();
        for summary in list {
            let name = summary.names.iter().flatten().next().map_or("", |name| name.trim_start_matches('/'));
            let (Some(id), Some(labels)) = (&summary.id, &summary.labels) else { continue };
            let condition = condition(summary);
            self.add(id, name, labels, condition);
        }
    }

    /// Takes over what an event says.
    pub(super) fn apply(&mut self, event: &EventMessage) {
        let Some(actor) = &event.actor else { return };
        let (Some(id), Some(attributes)) = (&actor.id, &actor.attributes) else { return };
        let name = attributes.get("name").map_or("", |name| name.trim_start_matches('/'));
        match event.action.as_deref() {
            Some("create") => self.add(id, name, attributes, Condition::Still),
            Some("start" | "unpause") => self.set(id, Condition::Running),
            Some("pause") => self.set(id, Condition::Paused),
            Some("die") => self.set(id, Condition::Still),
            Some("destroy") => self.remove(id),
            Some("rename") => {
                if let Some(known) = self.known.get_mut(&**id) {
                    known.name = name.into();
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, id: &str, name: &str, labels: &HashMap<String, String>, condition: Condition) {
        let Some(version) = labels.get(labels::VERSION) else { return };
        if labels.get(labels::OWNER).is_some_and(|owner| **owner == *self.owner) {
            let spec = labels.get(labels::SPEC).map(|spec| spec.as_str().into());
            self.put(Known { id: id.into(), name: name.into(), version: version.as_str().into(), spec, condition });
        }
    }
}

/// What a container of a list does.
pub(super) fn condition(summary: &ContainerSummary) -> Condition {
    match summary.state {
        Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::RESTARTING) => Condition::Running,
        Some(ContainerSummaryStateEnum::PAUSED) => Condition::Paused,
        _ => Condition::Still,
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::EventActor;

    use super::*;

    fn event(action: &str, id: &str, attributes: &[(&str, &str)]) -> EventMessage {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let actor = EventActor { id: Some(id.to_owned()), attributes: Some(attributes) };
        EventMessage { action: Some(action.to_owned()), actor: Some(actor), ..EventMessage::default() }
    }

    fn created(inventory: &mut Inventory, id: &str, name: &str) {
        let labels =
            [("name", name), (labels::OWNER, "us"), (labels::VERSION, "shop-001"), (labels::SPEC, "1:ab"), ("x", "y")];
        inventory.apply(&event("create", id, &labels));
    }

    #[test]
    fn what_runs_is_taken_first_and_what_somebody_has_is_not() {
        let mut inventory = Inventory::new("us");
        created(&mut inventory, "c", "shop-001-3");
        created(&mut inventory, "b", "shop-001-2");
        created(&mut inventory, "a", "shop-001-1");
        inventory.apply(&event(
            "create",
            "z",
            &[("name", "shop-001-4"), (labels::OWNER, "them"), (labels::VERSION, "shop-001")],
        ));
        let next = |inventory: &Inventory, taken: &[&str]| {
            inventory.next("shop-001", |id| !taken.contains(&id)).map(|known| known.id.to_string())
        };
        assert_eq!(next(&inventory, &[]).as_deref(), Some("a"));
        inventory.apply(&event("start", "c", &[]));
        inventory.apply(&event("start", "b", &[]));
        inventory.apply(&event("pause", "b", &[]));
        assert_eq!(next(&inventory, &[]).as_deref(), Some("c"));
        assert_eq!(next(&inventory, &["c"]).as_deref(), Some("b"));
        assert_eq!(next(&inventory, &["c", "b"]).as_deref(), Some("a"));
        assert_eq!(next(&inventory, &["c", "b", "a"]), None);
        inventory.apply(&event("die", "c", &[("exitCode", "1")]));
        assert_eq!(next(&inventory, &["a"]).as_deref(), Some("b"));
    }

    #[test]
    fn the_smallest_free_number_is_found() {
        let mut inventory = Inventory::new("us");
        created(&mut inventory, "a", "shop-001-1");
        created(&mut inventory, "c", "shop-001-3");
        assert_eq!(inventory.free_number("shop-001", |_| true), 2);
        assert_eq!(inventory.free_number("shop-001", |number| number != 2), 4);
        inventory.apply(&event("rename", "a", &[("name", "mine"), ("oldName", "/shop-001-1")]));
        assert_eq!(inventory.free_number("shop-001", |_| true), 1);
        inventory.apply(&event("destroy", "c", &[]));
        assert_eq!(inventory.of("shop-001").count(), 1);
    }
}
