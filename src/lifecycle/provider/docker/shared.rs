//! What all instances of one engine share: the inventory, who has which container, and word of what happens to them.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::engine::Engine;
use super::engine_error::EngineError;
use super::inventory::{Inventory, Known};
use super::{EngineState, Present};
use crate::model::settings::Docker;
use crate::model::version::Found;

/// How long an engine that was there may take to come back, as one that is restarted does.
const RESTART: Duration = Duration::from_secs(10);

/// What the engine has told that may end a container.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Death {
    /// Something in it was ended for want of memory.
    pub(super) out_of_memory: bool,
    /// Somebody has sent it a signal.
    pub(super) killed: bool,
}

/// Used on the control thread alone.
pub(super) struct Shared {
    pub(super) engine: Engine,
    pub(super) settings: Docker,
    pub(super) owner: Box<str>,
    pub(super) inventory: RefCell<Inventory>,
    /// Containers that an instance has, or is about to, and how many instances that are: several versions may name the same one of
    /// somebody else's.
    claimed: RefCell<HashMap<Box<str>, u32>>,
    /// Names that are being made.
    naming: RefCell<HashSet<String>>,
    /// Told of everything that may have changed a container, by its ID.
    watched: RefCell<HashMap<Box<str>, watch::Sender<()>>>,
    /// The hash of the spec that the config has for a version.
    pub(super) expected: RefCell<HashMap<Box<str>, String>>,
    /// Versions that are containers of somebody else's.
    pub(super) found: RefCell<Vec<(Box<str>, Found)>>,
    /// What befell containers since an instance has them.
    pub(super) deaths: RefCell<HashMap<Box<str>, Death>>,
    pub(super) state: watch::Sender<EngineState>,
    pub(super) present: watch::Sender<Arc<[Present]>>,
    /// Called when somebody does not want to wait for the next try to reach the engine.
    pub(super) hurry: Notify,
    pub(super) is_followed: Cell<bool>,
    /// It has been reached once.
    pub(super) was_reached: Cell<bool>,
    /// Starts that nobody waits for any more and that are being undone, by version.
    undoing: RefCell<HashMap<Box<str>, Vec<watch::Receiver<()>>>>,
}

impl Shared {
    pub(super) fn new(engine: Engine, settings: Docker, owner: &str) -> Self {
        Self {
            engine,
            settings,
            owner: owner.into(),
            inventory: RefCell::new(Inventory::new(owner)),
            claimed: RefCell::default(),
            naming: RefCell::default(),
            watched: RefCell::default(),
            expected: RefCell::default(),
            found: RefCell::default(),
            deaths: RefCell::default(),
            state: watch::Sender::new(EngineState::Unused),
            present: watch::Sender::new(Arc::default()),
            hurry: Notify::new(),
            is_followed: Cell::new(false),
            was_reached: Cell::new(false),
            undoing: RefCell::default(),
        }
    }

    /// Waits until the inventory is what the engine says; an error says why the engine cannot be reached. One that could be reached before
    /// has a while to come back, at most `patience`: it may be restarting.
    pub(super) async fn synced(self: &Rc<Self>, patience: Duration) -> Result<(), Arc<EngineError>> {
        self.follow();
        let patience = if self.was_reached.get() { patience.min(RESTART) } else { Duration::ZERO };
        let deadline = Instant::now() + patience;
        let mut state = self.state.subscribe();
        if matches!(*state.borrow_and_update(), EngineState::Away { .. }) {
            self.hurry.notify_one();
            // The sender is ours.
            drop(state.changed().await);
        }
        loop {
            let away = match &*state.borrow_and_update() {
                EngineState::Reachable => return Ok(()),
                EngineState::Away { error } => Some(Arc::clone(error)),
                EngineState::Unused => None,
            };
            match away {
                Some(error) if Instant::now() >= deadline => return Err(error),
                _ => drop(state.changed().await),
            }
        }
    }

    /// Takes a container of a version that nobody has.
    pub(super) fn claim_next(self: &Rc<Self>, version: &str) -> Option<(Claim, Known)> {
        let known = self.inventory.borrow().next(version, |id| self.is_free(id)).cloned()?;
        Some((self.claim(&known.id), known))
    }

    /// Takes a container for an instance, until the claim is dropped.
    pub(super) fn claim(self: &Rc<Self>, id: &str) -> Claim {
        *self.claimed.borrow_mut().entry(id.into()).or_default() += 1;
        self.deaths.borrow_mut().remove(id);
        Claim { shared: Rc::clone(self), id: id.into() }
    }

    /// Whether no instance has a container, nor is about to: the engine may tell of one that is being made before it answers whoever has
    /// it made.
    pub(super) fn is_free(&self, id: &str) -> bool {
        let inventory = self.inventory.borrow();
        let is_in_making = inventory.get(id).is_some_and(|known| self.naming.borrow().contains(&*known.name));
        !is_in_making && !self.claimed.borrow().contains_key(id)
    }

    /// Whether more than one instance has a container.
    pub(super) fn is_shared(&self, id: &str) -> bool {
        self.claimed.borrow().get(id).is_some_and(|claims| *claims > 1)
    }

    /// A name for a new container of a version, which nobody else gets until it is dropped.
    pub(super) fn name(self: &Rc<Self>, version: &str) -> Name {
        let name = |number| format!("{version}-{number}");
        let mut naming = self.naming.borrow_mut();
        let number = self.inventory.borrow().free_number(version, |number| !naming.contains(&name(number)));
        let name = name(number);
        naming.insert(name.clone());
        Name { shared: Rc::clone(self), name }
    }

    /// Word of everything that may have changed a container.
    pub(super) fn watch(&self, id: &str) -> watch::Receiver<()> {
        self.watched.borrow_mut().entry(id.into()).or_default().subscribe()
    }

    /// Something has happened to a container, or may have.
    pub(super) fn happened(&self, id: &str) {
        if let Some(watched) = self.watched.borrow().get(id) {
            watched.send_replace(());
        }
    }

    /// Something may have happened to any.
    pub(super) fn happened_to_all(&self) {
        let mut watched = self.watched.borrow_mut();
        watched.retain(|_, sender| sender.receiver_count() > 0);
        watched.values().for_each(|sender| sender.send_replace(()));
    }

    /// A guard whose drop notes that a start of a version is being undone, until `done` is closed.
    pub(super) fn undo_when_dropped(self: &Rc<Self>, version: &str, done: watch::Receiver<()>) -> UndoWhenDropped {
        UndoWhenDropped { shared: Rc::clone(self), undoing: Some((version.into(), done)) }
    }

    /// Waits until no start of a version is being undone: what it stops would be taken for one that can be used.
    pub(super) async fn undone(&self, version: &str) {
        let all = self.undoing.borrow().get(version).cloned().unwrap_or_default();
        for mut done in all {
            // An error is the end that is waited for.
            while done.changed().await.is_ok() {}
        }
        if let Some(left) = self.undoing.borrow_mut().get_mut(version) {
            left.retain(|done| done.has_changed().is_ok());
        }
    }
}

/// A container that one instance has.
pub(super) struct Claim {
    shared: Rc<Shared>,
    pub(super) id: Box<str>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claimed = self.shared.claimed.borrow_mut();
        if let Some(claims) = claimed.get_mut(&self.id) {
            *claims -= 1;
            if *claims == 0 {
                claimed.remove(&self.id);
            }
        }
    }
}

/// A name of a container that is being made.
pub(super) struct Name {
    shared: Rc<Shared>,
    pub(super) name: String,
}

impl Drop for Name {
    fn drop(&mut self) {
        self.shared.naming.borrow_mut().remove(&self.name);
    }
}

/// Of a start that is under way.
pub(super) struct UndoWhenDropped {
    shared: Rc<Shared>,
    undoing: Option<(Box<str>, watch::Receiver<()>)>,
}

impl UndoWhenDropped {
    /// The start is over.
    pub(super) fn disarm(&mut self) {
        self.undoing = None;
    }
}

impl Drop for UndoWhenDropped {
    fn drop(&mut self) {
        if let Some((version, done)) = self.undoing.take() {
            self.shared.undoing.borrow_mut().entry(version).or_default().push(done);
        }
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::{EventActor, EventMessage};

    use super::super::labels;
    use super::*;

    #[test]
    fn what_is_being_made_is_left_to_whoever_makes_it() {
        let shared = Rc::new(Shared::new(Engine::new(Some("unix:///nowhere")), Docker::default(), "us"));
        let name = shared.name("shop-001");
        let labels = [("name", &*name.name), (labels::OWNER, "us"), (labels::VERSION, "shop-001")];
        let attributes = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        // The engine tells everybody before it answers.
        shared.inventory.borrow_mut().apply(&EventMessage {
            action: Some("create".into()),
            actor: Some(EventActor { id: Some("a".into()), attributes: Some(attributes) }),
            ..EventMessage::default()
        });
        assert!(!shared.is_free("a") && shared.claim_next("shop-001").is_none());
        let claim = shared.claim("a");
        drop(name);
        assert!(shared.claim_next("shop-001").is_none());
        drop(claim);
        assert!(shared.claim_next("shop-001").is_some());
    }
}
