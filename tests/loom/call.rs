//! The channel on which one who waits is called.

use std::rc::Rc;

use loom::sync::{Condvar, Mutex};

use crate::gate_word::GateState;
use crate::unit::Lease;

pub(crate) type Called = Result<Lease, GateState>;

/// The oneshot channel on which one who waits is called.
pub(crate) struct Call {
    inner: Mutex<Answer>,
    told: Condvar,
}

pub(crate) enum Answer {
    Awaited,
    Told(Called),
    Left,
}

impl Call {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self { inner: Mutex::new(Answer::Awaited), told: Condvar::new() })
    }

    pub(crate) fn send(&self, called: Called) -> Result<(), Called> {
        let mut inner = self.inner.lock().unwrap();
        if let Answer::Left = *inner {
            return Err(called);
        }
        *inner = Answer::Told(called);
        self.told.notify_one();
        Ok(())
    }

    pub(crate) fn wait(&self) -> Called {
        let mut inner = self.inner.lock().unwrap();
        loop {
            match std::mem::replace(&mut *inner, Answer::Awaited) {
                Answer::Told(called) => return called,
                _ => inner = self.told.wait(inner).unwrap(),
            }
        }
    }

    pub(crate) fn leave(&self) {
        let unwanted = std::mem::replace(&mut *self.inner.lock().unwrap(), Answer::Left);
        drop(unwanted);
    }
}
