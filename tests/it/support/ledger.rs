//! A ledger of requests: every id is sent once, received once and answered once.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What was sent, received and answered, by id.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    next: AtomicU64,
    received: Mutex<HashMap<String, Vec<String>>>,
    pub(crate) answered: Mutex<HashMap<String, Result<(), String>>>,
    done: AtomicBool,
}

impl Ledger {
    /// An id that was not there before, with what kind of request it stands for.
    pub(crate) fn id(&self, kind: &str) -> String {
        format!("{kind}-{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn receive(&self, id: &str, by: &str) {
        self.received.lock().expect("no panic").entry(id.to_owned()).or_default().push(by.to_owned());
    }

    pub(crate) fn answer(&self, id: String, outcome: Result<(), String>) {
        let before = self.answered.lock().expect("no panic").insert(id, outcome);
        assert!(before.is_none(), "ids are used once");
    }

    pub(crate) fn answers(&self) -> usize {
        self.answered.lock().expect("no panic").len()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    /// All that does not add up.
    pub(crate) fn errors(&self) -> Vec<String> {
        let (received, answered) = (self.received.lock().expect("no panic"), self.answered.lock().expect("no panic"));
        let mut errors = Vec::new();
        for (id, outcome) in answered.iter() {
            if let Err(what) = outcome {
                errors.push(format!("{id} was not answered: {what}"));
            }
            match received.get(id).map(Vec::as_slice) {
                None => errors.push(format!("{id} was never received")),
                Some([_]) => {}
                Some(by) => errors.push(format!("{id} was received twice: by {}", by.join(" and "))),
            }
        }
        errors
            .extend(received.keys().filter(|id| !answered.contains_key(*id)).map(|id| format!("{id} was never sent")));
        errors
    }

    /// Whether anything was not answered as it should have been.
    pub(crate) fn has_failed(&self) -> bool {
        self.answered.lock().expect("no panic").values().any(Result::is_err)
    }

    /// Done when this is dropped, also where a thread panics.
    pub(crate) fn until_dropped(&self) -> Done<'_> {
        until_dropped(&self.done)
    }

    /// Panics with the first of what does not add up.
    pub(crate) fn assert_balanced(&self) {
        let (errors, total) = (self.errors(), self.answers());
        assert!(
            errors.is_empty(),
            "the ledger does not balance: {} of {total} requests\n{}",
            errors.len(),
            errors[..errors.len().min(20)].join("\n")
        );
    }
}

/// Sets `done` when this is dropped, also where a thread panics: then who goes on until it is set ends too.
pub(crate) fn until_dropped(done: &AtomicBool) -> Done<'_> {
    Done(done)
}

/// Ends the clients of a ledger.
#[derive(Debug)]
pub(crate) struct Done<'d>(&'d AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
