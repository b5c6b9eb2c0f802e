//! What runs, and what calls the keeper.

use std::cell::Cell;

use loom::cell::UnsafeCell;
use loom::sync::{Condvar, Mutex};

/// Calls the keeper; a call that came before counts.
pub(crate) struct Bell {
    calls: Mutex<bool>,
    told: Condvar,
    rung: Cell<u32>,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Self { calls: Mutex::new(false), told: Condvar::new(), rung: Cell::new(0) }
    }

    pub(crate) fn ring(&self) {
        self.rung.set(self.rung.get() + 1);
        *self.calls.lock().unwrap() = true;
        self.told.notify_one();
    }

    pub(crate) fn wait(&self) {
        let mut calls = self.calls.lock().unwrap();
        while !std::mem::take(&mut *calls) {
            calls = self.told.wait(calls).unwrap();
        }
    }

    pub(crate) fn rung(&self) -> u32 {
        self.rung.get()
    }
}

/// What runs. Requests read the cell, starting and stopping write it, so that loom fails where one is not ordered before the other.
pub(crate) struct Process {
    cell: UnsafeCell<()>,
    runs: Cell<bool>,
    starts: Cell<u32>,
}

impl Process {
    pub(crate) fn started() -> Self {
        let process = Self { cell: UnsafeCell::new(()), runs: Cell::new(false), starts: Cell::new(0) };
        process.start();
        process
    }

    pub(crate) fn start(&self) {
        self.cell.with_mut(|_| ());
        self.runs.set(true);
        self.starts.set(self.starts.get() + 1);
    }

    pub(crate) fn stop(&self) {
        self.cell.with_mut(|_| ());
        self.runs.set(false);
    }

    /// Answers with the number of its start.
    pub(crate) fn serve(&self) -> u32 {
        self.cell.with(|_| ());
        assert!(self.runs.get(), "a request was sent to what is stopped");
        self.starts.get()
    }
}
