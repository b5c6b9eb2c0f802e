//! What is stopped is waited for and not sent to.

use std::cell::Cell;
use std::rc::Rc;

use loom::thread;

use crate::check;
use crate::gate::Gate;
use crate::gate_word::GateState;
use crate::keeper::Keeper;
use crate::process::{Bell, Process};
use crate::slots::Slots;

/// Complete.
#[test]
fn a_shut_gate_waits_for_every_lease_and_gives_none() {
    check(None, || {
        let gate = Gate::open();
        let requests = [(); 2].map(|()| {
            let gate = Rc::clone(&gate);
            thread::spawn(move || {
                if gate.word.try_lease().is_some() {
                    gate.process.serve();
                    gate.word.release(&*gate);
                }
            })
        });
        let out = gate.shut();
        gate.process.stop();
        assert_eq!(gate.word.try_lease(), None);
        for request in requests {
            request.join().unwrap();
        }
        assert_eq!(gate.bell.rung(), u32::from(out), "told once if there was something to wait for, and not otherwise");
    });
}

/// Complete.
#[test]
fn the_keeper_is_told_of_the_last_lease() {
    check(None, || {
        let gate = Gate::open();
        let leases = [(); 2].map(|()| {
            assert!(gate.word.try_lease().is_some());
            let gate = Rc::clone(&gate);
            thread::spawn(move || {
                gate.process.serve();
                gate.word.release(&*gate);
            })
        });
        let out = gate.shut();
        gate.process.stop();
        for lease in leases {
            lease.join().unwrap();
        }
        assert_eq!((gate.bell.rung(), gate.word.seen().leases()), (u32::from(out), 0));
    });
}

/// Complete.
#[test]
fn closed_slots_are_not_taken_and_the_last_is_known() {
    check(None, || {
        let shared = Rc::new((Slots::open(), Process::started(), Bell::new()));
        let requests = [(); 2].map(|()| {
            let shared = Rc::clone(&shared);
            thread::spawn(move || {
                let (slots, process, bell) = &*shared;
                if slots.take(2) {
                    process.serve();
                    if slots.give_back() {
                        bell.ring();
                    }
                }
            })
        });
        let (slots, process, bell) = &*shared;
        let none = slots.close();
        while slots.taken() > 0 {
            bell.wait();
        }
        process.stop();
        assert!(!slots.take(2));
        for request in requests {
            request.join().unwrap();
        }
        assert_eq!((bell.rung(), slots.taken()), (u32::from(!none), 0));
    });
}

/// Slots are closed, opened again and closed for good, while one that was taken before is given back and another taken. Up to 4
/// preemptions.
#[test]
fn what_was_taken_before_slots_are_reopened_is_waited_for() {
    check(Some(4), || {
        let shared = Rc::new((Slots::open(), Process::started(), Bell::new()));
        let serve = |shared: &(Slots, Process, Bell)| {
            let (slots, process, bell) = shared;
            process.serve();
            if slots.give_back() {
                bell.ring();
            }
        };
        assert!(shared.0.take(2));
        let (before, after) = (Rc::clone(&shared), Rc::clone(&shared));
        let before = thread::spawn(move || serve(&before));
        let after = thread::spawn(move || {
            if after.0.take(2) {
                serve(&after);
            }
        });
        let (slots, process, bell) = &*shared;
        slots.close();
        slots.reopen();
        slots.close();
        while slots.taken() > 0 {
            bell.wait();
        }
        process.stop();
        assert!(!slots.take(2));
        before.join().unwrap();
        after.join().unwrap();
        assert_eq!(slots.taken(), 0);
    });
}

/// No more than `most` at a time. Complete.
#[test]
fn a_slot_is_taken_once() {
    check(None, || {
        let shared = Rc::new((Slots::open(), Cell::new(0)));
        let takers = [(); 2].map(|()| {
            let shared = Rc::clone(&shared);
            thread::spawn(move || {
                let (slots, taken) = &*shared;
                if slots.take(1) {
                    assert_eq!(taken.replace(taken.get() + 1), 0, "one slot was taken twice");
                    thread::yield_now();
                    taken.set(taken.get() - 1);
                    assert!(!slots.give_back(), "these are open");
                }
            })
        });
        for taker in takers {
            taker.join().unwrap();
        }
        assert_eq!(shared.0.taken(), 0);
    });
}

/// A whole unit is stopped while requests come. Up to 4 preemptions.
#[test]
fn nothing_is_sent_to_what_is_stopped() {
    check(Some(4), || {
        let mut keeper = Keeper::awake(u32::MAX, u64::MAX);
        let requests = [(); 2].map(|()| {
            let unit = Rc::clone(&keeper.unit);
            thread::spawn(move || {
                if let Some(lease) = unit.acquire() {
                    lease.serve();
                }
            })
        });
        keeper.unit.gate.go(GateState::Closing);
        keeper.stop();
        assert!(keeper.unit.acquire().is_none());
        for request in requests {
            request.join().unwrap();
        }
        keeper.unit.assert_quiet();
    });
}

struct Connection {
    epoch: u32,
    /// Which start of the process it leads to.
    start: u32,
}

/// A gate is shut, what is behind it starts anew, and it opens again, while a thread leases, pools its connection and leases
/// again. Complete.
#[test]
fn a_pooled_connection_is_of_its_epoch_only() {
    check(None, || {
        let gate = Gate::open();
        let leases = {
            let gate = Rc::clone(&gate);
            thread::spawn(move || {
                let mut pool: Option<Connection> = None;
                for _ in 0..3 {
                    let Some(epoch) = gate.word.try_lease() else { continue };
                    let start = gate.process.serve();
                    let pooled = pool.take().filter(|pooled| pooled.epoch == epoch);
                    let connection = pooled.unwrap_or(Connection { epoch, start });
                    assert_eq!(connection.start, start, "a connection of epoch {epoch} leads to what is gone");
                    pool = Some(connection);
                    gate.word.release(&*gate);
                }
            })
        };
        gate.shut();
        gate.process.stop();
        gate.process.start();
        gate.word.go(GateState::Open);
        leases.join().unwrap();
    });
}
