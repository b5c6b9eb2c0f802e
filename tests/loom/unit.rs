//! `Unit`, `Lease` and `Waiting`, without a runtime.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::call::{Call, Called};
use crate::gate_word::{GateState, GateWord, Parking};
use crate::line::{Joined, Line, Round, Ticket};
use crate::process::{Bell, Process};
use crate::slots::Slots;
use crate::turn::Turn;

/// No instance is listed.
const NONE: usize = usize::MAX;

/// `Unit`, with at most one instance listed.
pub(crate) struct Unit {
    pub(crate) gate: GateWord,
    pub(crate) line: Line<Rc<Call>>,
    /// All that there ever were.
    instances: RefCell<Vec<Rc<Instance>>>,
    /// Which one takes requests: as `ArcSwap` orders it, or less.
    listed: AtomicUsize,
    most: u32,
    window: u64,
    pub(crate) bell: Bell,
    pub(crate) wakes: Cell<u32>,
    pub(crate) ended: Cell<u32>,
    clock: Cell<usize>,
}

impl Unit {
    pub(crate) fn asleep(most: u32, window: u64) -> Rc<Self> {
        Rc::new(Self {
            gate: GateWord::asleep(),
            line: Line::new(),
            instances: RefCell::default(),
            listed: AtomicUsize::new(NONE),
            most,
            window,
            bell: Bell::new(),
            wakes: Cell::new(0),
            ended: Cell::new(0),
            clock: Cell::new(0),
        })
    }

    pub(crate) fn acquire(self: &Rc<Self>) -> Option<Lease> {
        self.gate.try_lease()?;
        let lease = self.on_an_instance();
        if lease.is_none() {
            self.gate.release(self);
        }
        lease
    }

    pub(crate) fn wait(self: &Rc<Self>) -> Result<Waiting, GateState> {
        let call = Call::new();
        let (ticket, seen) = match self.line.join(&self.gate, 9, Rc::clone(&call)) {
            Joined::Waits(ticket, seen) => (ticket, seen),
            Joined::Shut(_, state) => return Err(state),
            Joined::Full(_) => unreachable!("there are fewer threads"),
        };
        let since = self.now();
        match seen.state() {
            GateState::Asleep if self.gate.wake() => Parking::wake(self),
            GateState::Open => self.hand_out(),
            GateState::Closing => self.bell.ring(),
            _ => {}
        }
        Ok(Waiting { unit: Rc::clone(self), ticket, call, since, over: false })
    }

    /// A whole request, and its place in time.
    pub(crate) fn request(self: &Rc<Self>) -> Result<Turn, GateState> {
        let began = self.now();
        let (lease, joined) = match self.acquire() {
            Some(lease) => (lease, None),
            None => {
                let waiting = self.wait()?;
                let since = waiting.since;
                (waiting.called()?, Some(since))
            }
        };
        lease.serve();
        Ok(Turn { came: joined.unwrap_or(began), joined, served: self.now() })
    }

    /// The same in a thread of its own, of which the keeper is told when it is over.
    pub(crate) fn spawn_request(self: &Rc<Self>) -> thread::JoinHandle<Result<Turn, GateState>> {
        let unit = Rc::clone(self);
        thread::spawn(move || {
            let turn = unit.request();
            unit.end();
            turn
        })
    }

    pub(crate) fn end(&self) {
        self.ended.set(self.ended.get() + 1);
        self.bell.ring();
    }

    pub(crate) fn knock(self: &Rc<Self>) {
        if self.gate.wake() {
            Parking::wake(self);
        }
    }

    pub(crate) fn hand_out(self: &Rc<Self>) {
        let mut again = true;
        while again {
            again = false;
            for (waiter, lease) in self.line.hand_out(&self.gate, |round| self.lease_from_line(round)) {
                if let Err(Ok(unwanted)) = waiter.send(Ok(lease)) {
                    unwanted.hand_on();
                    again = true;
                }
            }
        }
    }

    pub(crate) fn send_away(self: &Rc<Self>, state: GateState) {
        for waiter in self.line.clear(&self.gate) {
            drop(waiter.send(Err(state)));
        }
    }

    fn lease_from_line(self: &Rc<Self>, round: Round) -> Option<Lease> {
        self.gate.lease_from_line()?;
        let lease = self.on_an_instance();
        if lease.is_none() {
            self.gate.give_back(self);
        }
        lease.map(|mut lease| {
            lease.round = Some(round);
            lease
        })
    }

    /// From now on this one takes requests, or none.
    pub(crate) fn list(self: &Rc<Self>, instance: Option<&Rc<Instance>>) {
        let is_open = self.gate.seen().state() == GateState::Open;
        self.line.set_window(self.window, is_open);
        let at = instance.map_or(NONE, |instance| {
            let mut instances = self.instances.borrow_mut();
            instances.iter().position(|known| Rc::ptr_eq(known, instance)).unwrap_or_else(|| {
                instances.push(Rc::clone(instance));
                instances.len() - 1
            })
        });
        self.listed.store(at, Ordering::Release);
        self.hand_out();
    }

    fn on_an_instance(self: &Rc<Self>) -> Option<Lease> {
        let listed = self.listed.load(Ordering::Acquire);
        let instance = self.instances.borrow().get(listed).cloned()?;
        if !instance.slots.take(self.most) {
            return None;
        }
        let busy = instance.busy.replace(instance.busy.get() + 1);
        assert!(busy < self.most, "more leases than slots");
        Some(Lease { unit: Rc::clone(self), instance, round: None, handed_on: false })
    }

    pub(crate) fn now(&self) -> usize {
        self.clock.replace(self.clock.get() + 1)
    }

    /// What holds when nobody is there any more.
    pub(crate) fn assert_quiet(&self) {
        let seen = self.gate.seen();
        assert_eq!((seen.leases(), seen.is_waited_for(), self.line.len()), (0, false, 0));
    }
}

impl Parking for Rc<Unit> {
    fn wake(&self) {
        self.wakes.set(self.wakes.get() + 1);
        self.bell.ring();
    }
    fn drained(&self) {
        self.bell.ring();
    }
    fn freed(&self) {
        self.hand_out();
    }
}

pub(crate) struct Instance {
    pub(crate) slots: Slots,
    pub(crate) process: Process,
    busy: Cell<u32>,
}

impl Instance {
    pub(crate) fn new(process: Process) -> Rc<Self> {
        Rc::new(Self { slots: Slots::open(), process, busy: Cell::new(0) })
    }
}

pub(crate) struct Lease {
    unit: Rc<Unit>,
    instance: Rc<Instance>,
    round: Option<Round>,
    handed_on: bool,
}

impl Lease {
    pub(crate) fn answered(&mut self) {
        if let Some(round) = self.round.take()
            && self.unit.line.answered(round)
        {
            self.unit.hand_out();
        }
    }

    fn hand_on(mut self) {
        self.handed_on = true;
    }

    pub(crate) fn serve(&self) {
        self.instance.process.serve();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        self.instance.busy.set(self.instance.busy.get() - 1);
        if let Some(round) = self.round.take() {
            self.unit.line.given_back(round);
        }
        if self.instance.slots.give_back() {
            self.unit.bell.ring();
        }
        if self.handed_on {
            self.unit.gate.give_back(&self.unit);
        } else {
            self.unit.gate.release(&self.unit);
        }
    }
}

pub(crate) struct Waiting {
    unit: Rc<Unit>,
    ticket: Ticket,
    call: Rc<Call>,
    since: usize,
    over: bool,
}

impl Waiting {
    pub(crate) fn called(mut self) -> Called {
        let called = self.call.wait();
        self.over = true;
        called
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.over && !thread::panicking() {
            self.unit.line.leave(&self.unit.gate, self.ticket);
            self.call.leave();
        }
    }
}
