//! Asleep, awake, failed, and who waits meanwhile.

use std::rc::Rc;

use loom::thread;

use crate::check;
use crate::gate_word::GateState;
use crate::keeper::Keeper;
use crate::turn::assert_fair;
use crate::unit::Unit;

/// Two join the line of a gate that is asleep and one knocks. Up to 4 preemptions.
#[test]
fn exactly_one_of_many_calls_the_keeper() {
    check(Some(4), || {
        let unit = Unit::asleep(1, u64::MAX);
        let waiting = [(); 2].map(|()| {
            let unit = Rc::clone(&unit);
            thread::spawn(move || drop(unit.wait().expect("it is asleep or waking")))
        });
        unit.knock();
        for waiting in waiting {
            waiting.join().unwrap();
        }
        assert_eq!(unit.wakes.get(), 1);
        unit.assert_quiet();
    });
}

/// One joins the line of a gate that is asleep and leaves, another stays. Up to 2 preemptions.
#[test]
fn who_stays_is_served_whoever_leaves() {
    check(Some(2), || {
        let mut keeper = Keeper::asleep(1, u64::MAX);
        let stays = keeper.unit.spawn_request();
        let leaves = {
            let unit = Rc::clone(&keeper.unit);
            thread::spawn(move || {
                drop(unit.wait().expect("it is not gone"));
                unit.end();
            })
        };
        keeper.keep(2, 0);
        stays.join().unwrap().expect("served");
        leaves.join().unwrap();
        keeper.unit.assert_quiet();
    });
}

/// A request comes while the unit falls asleep. Up to 6 preemptions.
#[test]
fn a_request_is_not_slept_over() {
    check(Some(6), || {
        let mut keeper = Keeper::awake(1, u64::MAX);
        let request = keeper.unit.spawn_request();
        keeper.keep(1, 1);
        request.join().unwrap().expect("served");
        keeper.unit.assert_quiet();
    });
}

/// Two come. Up to 2 preemptions.
#[test]
fn two_requests_are_not_slept_over() {
    check(Some(2), || {
        let mut keeper = Keeper::awake(1, u64::MAX);
        let requests = [keeper.unit.spawn_request(), keeper.unit.spawn_request()];
        keeper.keep(2, 1);
        assert_fair(&requests.map(|request| request.join().unwrap().expect("served")));
        keeper.unit.assert_quiet();
    });
}

/// The gate is shut with a silent tunnel left, and a request comes before that is over: it is opened again, or what runs is
/// stopped and another started. Up to 2 preemptions.
#[test]
fn a_request_that_comes_before_the_stop_is_served() {
    check(Some(2), || {
        let mut keeper = Keeper::awake(u32::MAX, u64::MAX);
        let unit = Rc::clone(&keeper.unit);
        let tunnel = unit.acquire().expect("open");
        let tunnel = thread::spawn(move || drop(tunnel));
        let request = unit.spawn_request();
        if unit.gate.close_if(1) {
            let instance = keeper.drain();
            loop {
                if instance.slots.taken() == 0 {
                    keeper.end();
                    keeper.fall_asleep();
                    break;
                }
                if unit.gate.seen().is_waited_for() {
                    keeper.take_back();
                    break;
                }
                unit.bell.wait();
            }
        }
        keeper.keep(1, 0);
        tunnel.join().unwrap();
        request.join().unwrap().expect("served");
        unit.assert_quiet();
    });
}

/// The same with a tunnel that does not end: whoever comes calls the keeper, which opens the gate again. Complete.
#[test]
fn a_silent_tunnel_keeps_nobody_waiting() {
    check(None, || {
        let mut keeper = Keeper::awake(u32::MAX, u64::MAX);
        let unit = Rc::clone(&keeper.unit);
        let tunnel = unit.acquire().expect("open");
        let request = unit.spawn_request();
        if unit.gate.close_if(1) {
            keeper.drain();
            // Unless it was served before.
            while unit.ended.get() == 0 && !unit.gate.seen().is_waited_for() {
                unit.bell.wait();
            }
            if unit.ended.get() == 0 {
                keeper.take_back();
            }
        }
        keeper.keep(1, 0);
        request.join().unwrap().expect("served");
        drop(tunnel);
        unit.assert_quiet();
    });
}

/// Two come while the version fails, or goes for good. Up to 4 preemptions.
#[test]
fn nobody_waits_for_what_failed_or_is_gone() {
    for state in [GateState::Failed, GateState::Gone] {
        check(Some(4), move || {
            let unit = Unit::asleep(1, u64::MAX);
            assert!(unit.gate.wake());
            let requests = [unit.spawn_request(), unit.spawn_request()];
            unit.gate.go(state);
            unit.send_away(state);
            for request in requests {
                assert_eq!(request.join().unwrap().expect_err("nothing runs"), state);
            }
            unit.assert_quiet();
        });
    }
}
