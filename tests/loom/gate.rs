//! A gate alone, as far as it goes without a line and instances.

use std::rc::Rc;

use crate::gate_word::{GateState, GateWord, Parking};
use crate::process::{Bell, Process};

/// A gate alone, before one process.
pub(crate) struct Gate {
    pub(crate) word: GateWord,
    pub(crate) process: Process,
    pub(crate) bell: Bell,
}

impl Gate {
    pub(crate) fn open() -> Rc<Self> {
        let gate = Self { word: GateWord::asleep(), process: Process::started(), bell: Bell::new() };
        gate.word.go(GateState::Open);
        Rc::new(gate)
    }

    /// Shuts it, waits for the leases that are out, and returns whether there were any.
    pub(crate) fn shut(&self) -> bool {
        let out = self.word.go(GateState::Closing).leases() > 0;
        while self.word.seen().leases() > 0 {
            self.bell.wait();
        }
        out
    }
}

impl Parking for Gate {
    fn wake(&self) {
        self.bell.ring();
    }
    fn drained(&self) {
        self.bell.ring();
    }
    fn freed(&self) {
        panic!("nobody waits in line");
    }
}
