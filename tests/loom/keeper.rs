//! `Keeper`, without a runtime.

use std::rc::Rc;

use crate::gate_word::GateState;
use crate::process::Process;
use crate::unit::{Instance, Unit};

/// `Keeper`, at its unit.
pub(crate) struct Keeper {
    pub(crate) unit: Rc<Unit>,
    /// The one that runs.
    instance: Option<Rc<Instance>>,
}

impl Keeper {
    pub(crate) fn asleep(most: u32, window: u64) -> Self {
        Self { unit: Unit::asleep(most, window), instance: None }
    }

    pub(crate) fn awake(most: u32, window: u64) -> Self {
        let mut keeper = Self::asleep(most, window);
        keeper.start();
        keeper
    }

    fn start(&mut self) {
        self.instance = Some(Instance::new(Process::started()));
        self.open();
    }

    /// What is drained and not stopped takes requests again.
    pub(crate) fn take_back(&self) {
        let instance = self.instance.as_ref().expect("it runs");
        instance.slots.reopen();
        self.unit.list(Some(instance));
        self.open();
    }

    fn open(&self) {
        self.unit.list(self.instance.as_ref());
        self.unit.gate.go(GateState::Open);
        self.unit.hand_out();
    }

    /// What runs takes no more requests.
    pub(crate) fn drain(&self) -> Rc<Instance> {
        let instance = self.instance.clone().expect("it is open");
        instance.slots.close();
        self.unit.list(None);
        instance
    }

    /// Stops what runs, once nobody has a lease on it. The gate is shut.
    pub(crate) fn stop(&mut self) {
        let instance = self.drain();
        while instance.slots.taken() > 0 {
            self.unit.bell.wait();
        }
        self.end();
    }

    /// Ends what runs.
    pub(crate) fn end(&mut self) {
        let instance = self.instance.take().expect("it runs");
        instance.process.stop();
    }

    /// Nothing runs any more: it sleeps, or is waking if somebody waits.
    pub(crate) fn fall_asleep(&self) {
        if !self.unit.gate.sleep() {
            assert_eq!(self.unit.gate.seen().state(), GateState::Waking, "only the keeper changes it now");
        }
    }

    /// Until so many requests have ended: starts when it is called for, and goes to sleep so many times when nobody is there.
    pub(crate) fn keep(&mut self, requests: u32, mut naps: u32) {
        let unit = Rc::clone(&self.unit);
        loop {
            match unit.gate.seen().state() {
                GateState::Waking => self.start(),
                GateState::Open if naps > 0 && unit.gate.close_if(0) => {
                    naps -= 1;
                    self.stop();
                    self.fall_asleep();
                    continue;
                }
                _ => {}
            }
            if unit.ended.get() == requests {
                return;
            }
            unit.bell.wait();
        }
    }
}
