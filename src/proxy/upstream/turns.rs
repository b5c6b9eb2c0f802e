//! Who may connect to an instance: not all at once, for a backend that has just come up has a short queue for connections.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use super::connection::Connection;
use crate::lifecycle::lease::Lease;

/// The most connects in progress at a time to one instance, over all threads: the queue of many servers (128 was Linux's
/// `net.core.somaxconn` up to 5.3).
const MAX_CONNECTS: usize = 128;

/// The connects of one thread that are in progress, and who waits for one to end.
#[derive(Debug)]
pub(super) struct Turns {
    /// Connects at a time per instance.
    most: usize,
    instances: RefCell<FxHashMap<u64, Connects>>,
    /// How many wait, whatever the instance.
    waiting: Cell<usize>,
}

#[derive(Debug, Default)]
struct Connects {
    going: usize,
    /// First come, first served.
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    /// The epoch in which a connection has to be opened to be of use; `None` where only a fresh one is.
    epoch: Option<u32>,
    called: oneshot::Sender<Turn>,
}

/// What whoever wants a connection gets.
#[derive(Debug)]
pub enum Turn {
    /// To make one, as long as this is held.
    Connect(Place),
    /// One that has come back meanwhile.
    Reuse(Connection),
}

/// A connect in progress.
#[derive(Debug)]
pub struct Place {
    turns: Rc<Turns>,
    instance: u64,
}

impl Turns {
    /// For one of `threads` threads.
    pub(super) fn new(threads: usize) -> Rc<Self> {
        let most = MAX_CONNECTS.div_ceil(threads.max(1));
        Rc::new(Self { most, instances: RefCell::default(), waiting: Cell::new(0) })
    }

    /// Waits for a turn to connect to the lease's instance, or where `reuse` is allowed for a connection that comes back.
    pub(super) async fn turn(self: &Rc<Self>, lease: &Lease, reuse: bool) -> Turn {
        let instance = lease.instance().id();
        let called = {
            let mut instances = self.instances.borrow_mut();
            let connects = instances.entry(instance).or_default();
            if connects.going < self.most {
                connects.going += 1;
                return Turn::Connect(Place { turns: Rc::clone(self), instance });
            }
            let (caller, called) = oneshot::channel();
            connects.waiting.push_back(Waiter { epoch: reuse.then(|| lease.epoch()), called: caller });
            self.waiting.set(self.waiting.get() + 1);
            called
        };
        called.await.expect("who waits is called, as long as there are connects in progress")
    }

    /// Hands a connection that has come back to the first who has a use for it; gives it back where nobody has.
    pub(super) fn offer(&self, connection: Connection) -> Option<Connection> {
        if self.waiting.get() == 0 {
            return Some(connection);
        }
        let mut instances = self.instances.borrow_mut();
        let Some(connects) = instances.get_mut(&connection.instance().id()) else { return Some(connection) };
        let fits = |waiter: &Waiter| waiter.epoch == Some(connection.epoch()) && !waiter.called.is_closed();
        let Some(waiter) = connects.waiting.iter().position(fits).and_then(|at| connects.waiting.remove(at)) else {
            return Some(connection);
        };
        self.waiting.set(self.waiting.get() - 1);
        match waiter.called.send(Turn::Reuse(connection)) {
            Err(Turn::Reuse(connection)) => Some(connection),
            _ => None,
        }
    }

    /// A connect is over: the next may begin.
    fn next(self: &Rc<Self>, instance: u64) {
        let mut instances = self.instances.borrow_mut();
        let connects = instances.get_mut(&instance).expect("there while a connect is in progress");
        while let Some(waiter) = connects.waiting.pop_front() {
            self.waiting.set(self.waiting.get() - 1);
            // Asked first, for a place that is not taken would come back here.
            if !waiter.called.is_closed() {
                let place = Place { turns: Rc::clone(self), instance };
                drop(instances);
                return drop(waiter.called.send(Turn::Connect(place)));
            }
        }
        connects.going -= 1;
        if connects.going == 0 {
            instances.remove(&instance);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.turns.next(self.instance);
    }
}
