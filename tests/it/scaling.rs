//! Several instances of a version: more for more load, at most so many, and nobody notices when one of them dies.

use std::collections::HashSet;
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::eventually;
use crate::support::ledger::until_dropped;
use crate::support::process::{Said, command};
use crate::support::site::Site;

fn instances(site: &Site) -> usize {
    site.version("shop-001")["instances"].as_array().map_or(0, Vec::len)
}

#[test]
fn one_of_three_instances_dies_under_load_and_no_request_fails() {
    let yaml = format!("versions: {{shop-001: {{command: {}, replicas: {{min: 3, max: 3}}}}}}\n", command());
    let site = Site::new().service("shop", &yaml).start();
    eventually("three instances", || (instances(&site) == 3).then_some(()));
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let pids = Mutex::new(HashSet::new());
    std::thread::scope(|scope| {
        let ending = until_dropped(&done);
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut raw = site.connect();
                    while !done.load(Ordering::Relaxed) {
                        let answer = raw.get("shop.localhost", "/");
                        assert_eq!(answer.status(), 200, "{}", answer.text());
                        pids.lock().expect("no panic").insert(Said::parse(&answer.text()).pid);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let more = |count: usize| {
            let until = answered.load(Ordering::Relaxed) + count;
            eventually("more answers", || (answered.load(Ordering::Relaxed) >= until).then_some(()));
        };
        more(500);
        let victim = Said::parse(&site.get("shop.localhost", "/").text()).pid;
        kill(Pid::from_raw(i32::try_from(victim).expect("a pid")), Signal::SIGKILL).expect("it runs");
        more(500);
        // Three, and one more for the one that died.
        eventually("another in its place", || (pids.lock().expect("no panic").len() == 4).then_some(()));
        assert_eq!(instances(&site), 3);
        more(500);
        drop(ending);
        clients.into_iter().for_each(|client| client.join().expect("all were answered"));
    });
    assert_eq!(pids.into_inner().expect("no panic").len(), 4, "no other was started");
}

#[test]
fn load_brings_more_instances_up_to_the_maximum_and_says_when_that_is_not_enough() {
    let yaml = format!(
        "versions: {{shop-001: {{command: {}, replicas: {{min: 0, max: 3}}, max_concurrency: 1, scale: {{target: 1}}}}}}\n",
        command()
    );
    let site = Site::new().service("shop", &yaml).start();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _done = until_dropped(&done);
        for _ in 0..8 {
            scope.spawn(|| {
                let mut raw = site.connect();
                while !done.load(Ordering::Relaxed) {
                    let request = "GET / HTTP/1.1\r\nHost: shop.localhost\r\nX-Pause-Ms: 50\r\n\r\n";
                    let answer: Option<()> = raw
                        .stream
                        .write_all(request.as_bytes())
                        .ok()
                        .map(|()| assert_eq!(raw.response().status(), 200));
                    assert!(answer.is_some());
                }
            });
        }
        let at_max = eventually("three instances, and more wanted", || {
            let version = site.version("shop-001");
            assert!(version["instances"].as_array().is_none_or(|all| all.len() <= 3), "{version}");
            let busy =
                version["instances"].as_array()?.iter().all(|one| one["in_flight"].as_u64().is_some_and(|n| n <= 1));
            assert!(busy, "one request at a time: {version}");
            Some(version).filter(|v| {
                let three = v["instances"].as_array().is_some_and(|all| all.len() == 3);
                // Between two requests of all clients nobody waits.
                v["replicas"]["at_max"] == true && three && v["waiting"].as_u64().is_some_and(|n| n >= 1)
            })
        });
        assert!(at_max["replicas"]["wanted"].as_u64().expect("a number") > 3, "{at_max}");
    });
}
