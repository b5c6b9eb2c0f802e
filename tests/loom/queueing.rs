//! Who waits in line while the gate is open.

use loom::thread;

use crate::check;
use crate::keeper::Keeper;
use crate::turn::assert_fair;

/// One slot, which is taken, and two requests: the lease that is given back and those of the requests are all there is to hand
/// out. Up to 2 preemptions.
#[test]
fn a_lease_given_back_goes_to_the_first_in_line() {
    check(Some(2), || {
        let unit = Keeper::awake(1, u64::MAX).unit;
        let lease = unit.acquire().expect("open");
        let requests = [unit.spawn_request(), unit.spawn_request()];
        lease.serve();
        drop(lease);
        assert_fair(&requests.map(|request| request.join().unwrap().expect("served")));
        unit.assert_quiet();
    });
}

/// The same with one request. Complete.
#[test]
fn a_lease_given_back_is_not_lost() {
    check(None, || {
        let unit = Keeper::awake(1, u64::MAX).unit;
        let lease = unit.acquire().expect("open");
        let request = unit.spawn_request();
        drop(lease);
        request.join().unwrap().expect("served");
        unit.assert_quiet();
    });
}

/// Slots without end, but only one lease at first while somebody waits. Up to 2 preemptions.
#[test]
fn the_window_lets_everybody_in() {
    check(Some(2), || {
        let mut keeper = Keeper::asleep(u32::MAX, 1);
        let requests = [keeper.unit.spawn_request(), keeper.unit.spawn_request()];
        keeper.keep(2, 0);
        for request in requests {
            request.join().unwrap().expect("served");
        }
        keeper.unit.assert_quiet();
    });
}

/// The same, and what has its answer goes on for ever. Up to 2 preemptions.
#[test]
fn a_lease_with_an_answer_is_in_nobody_s_way() {
    check(Some(2), || {
        let mut keeper = Keeper::asleep(u32::MAX, 1);
        let (first, second) = (keeper.unit.wait().expect("asleep"), keeper.unit.wait().expect("asleep"));
        let answers = thread::spawn(move || {
            let mut lease = first.called().expect("served");
            lease.answered();
            lease
        });
        keeper.keep(0, 0);
        let served = second.called().expect("served");
        drop((answers.join().unwrap(), served));
        keeper.unit.assert_quiet();
    });
}

/// Two are in line for the one slot; the first leaves while the lease is given back. Complete.
#[test]
fn what_is_handed_to_one_who_leaves_goes_to_the_next() {
    check(None, || {
        let unit = Keeper::awake(1, u64::MAX).unit;
        let lease = unit.acquire().expect("open");
        let (first, second) = (unit.wait().expect("open"), unit.wait().expect("open"));
        let gives_back = thread::spawn(move || drop(lease));
        let leaves = thread::spawn(move || drop(first));
        second.called().expect("served").serve();
        gives_back.join().unwrap();
        leaves.join().unwrap();
        unit.assert_quiet();
    });
}
