//! Weights, as counted by a client: exact after every single request, whatever the connections.

use std::time::{Duration, Instant};

use crate::support::backend::{Backend, Fleet, Refusing};
use crate::support::eventually;
use crate::support::raw::Raw;
use crate::support::site::Site;

/// Counts answers, and holds them to the weights.
struct Tally<'w> {
    weights: &'w [f64],
    counts: Vec<f64>,
}

impl<'w> Tally<'w> {
    fn new(weights: &'w [f64]) -> Self {
        Self { weights, counts: vec![0.0; weights.len()] }
    }

    fn add(&mut self, version: &str) {
        let number: usize = version.rsplit('-').next().and_then(|number| number.parse().ok()).expect("a version");
        self.counts[number - 1] += 1.0;
    }

    fn assert_within_one(&self) {
        let total: f64 = self.counts.iter().sum();
        for (count, weight) in self.counts.iter().zip(self.weights) {
            let off = count - total * weight / 100.0;
            assert!(off.abs() < 1.0, "after {total}: {:?} for weights {:?}", self.counts, self.weights);
            assert!(*weight > 0.0 || *count == 0.0, "weight 0 was chosen: {:?}", self.counts);
        }
    }
}

fn ask(raw: &mut Raw) -> String {
    let answer = raw.get("shop.localhost", "/");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.text()
}

fn sequence(raw: &mut Raw, count: usize) -> Vec<String> {
    (0..count).map(|_| ask(raw)).collect()
}

#[test]
fn every_version_is_within_one_of_its_share_after_every_request() {
    let weights = [55.5, 33.33, 0.0, 11.17];
    let fleet = Fleet::of("shop", 4);
    let site = Site::new().service("shop", &fleet.file(&weights)).start();
    let mut connections: Vec<Raw> = (0..5).map(|_| site.connect()).collect();
    let mut tally = Tally::new(&weights);
    for request in 0..700 {
        tally.add(&ask(&mut connections[request % 5]));
        tally.assert_within_one();
    }
}

#[test]
fn concurrent_connections_share_one_schedule() {
    let weights = [90.0, 9.5, 0.5, 0.0];
    let fleet = Fleet::of("shop", 4);
    let site = Site::new().service("shop", &fleet.file(&weights)).start();
    let answers: Vec<String> = std::thread::scope(|scope| {
        let client = || sequence(&mut site.connect(), 137);
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
    });
    let mut tally = Tally::new(&weights);
    answers.iter().for_each(|version| tally.add(version));
    tally.assert_within_one();
    assert_eq!(fleet.backend(4).connections(), 0);
    // What the server counted is what the client did, once it has: an answer is counted after it was sent.
    let counted = || {
        let metrics = site.metrics();
        let of = |number: usize| {
            format!("tidegate_requests_total{{service=\"shop\",version=\"shop-{number:03}\",class=\"2xx\"}}")
        };
        (1..=4).map(|number| metrics.get(&of(number))).collect::<Vec<_>>()
    };
    eventually("the same counts", || (counted() == tally.counts).then_some(()));
}

#[test]
fn an_edit_of_the_weights_acts_on_the_next_request_of_an_open_connection() {
    let fleet = Fleet::of("shop", 2);
    let site = Site::new().service("shop", &fleet.file(&[100.0, 0.0])).start();
    let mut open = site.connect();
    assert_eq!(sequence(&mut open, 3), ["shop-001"; 3]);
    site.edit_service("shop", &fleet.file(&[0.0, 100.0]));
    assert_eq!(sequence(&mut open, 3), ["shop-002"; 3]);
    let weights = [70.0, 30.0];
    site.edit_service("shop", &fleet.file(&weights));
    let first = sequence(&mut open, 13);
    site.edit_service("shop", &fleet.file(&[60.0, 40.0]));
    sequence(&mut open, 7);
    site.edit_service("shop", &fleet.file(&weights));
    let again = sequence(&mut open, 13);
    assert_eq!(first, again, "each edit of the weights begins the schedule anew");
    let mut tally = Tally::new(&weights);
    for version in again {
        tally.add(&version);
        tally.assert_within_one();
    }
    assert_eq!(site.metrics().get("tidegate_connections_open"), 1.0, "all on one connection");
}

#[test]
fn an_edit_of_anything_else_leaves_the_schedule_where_it_is() {
    let weights = [40.0, 40.0, 20.0];
    let fleet = Fleet::of("shop", 4);
    let three = [1, 2, 3];
    let file = |more: &str, versions: &[usize]| format!("{more}{}{}", fleet.weights(&weights), fleet.only(versions));
    let site = Site::new().service("shop", &file("", &three)).start();
    let mut open = site.connect();
    let uninterrupted = sequence(&mut open, 20);
    let mut interrupted = Vec::new();
    let mut edits = [
        file("domains: [example.com]\n", &three),
        file("max_body: 1MiB\nsticky: {header: x-user}\n", &three),
        file("", &[3, 2, 1]),
        file("", &[4, 2, 1, 3]),
        file("rules: [{path: /x, version: shop-004}]\n", &[1, 2, 3, 4]),
        file("", &[2, 3, 1]),
    ]
    .into_iter();
    for round in 0..20 {
        interrupted.push(ask(&mut open));
        if round % 3 == 0
            && let Some(edit) = edits.next()
        {
            site.edit_service("shop", &edit);
        }
    }
    assert!(edits.next().is_none());
    assert_eq!(interrupted, uninterrupted);
    site.edit_root("max_connections: 1000\n");
    assert_eq!(sequence(&mut open, 20), uninterrupted);
}

#[test]
fn choices_by_rule_preview_and_key_do_not_count() {
    let weights = [60.0, 40.0];
    let fleet = Fleet::of("shop", 2);
    let rule = "rules: [{path: /two, version: shop-002}]\nsticky: {header: x-user}\n";
    let site = Site::new().service("shop", &format!("{rule}{}", fleet.file(&weights))).start();
    let mut open = site.connect();
    let alone = sequence(&mut open, 10);
    let mut among_others = Vec::new();
    for _ in 0..10 {
        assert_eq!(open.get("shop.localhost", "/two").text(), "shop-002");
        assert_eq!(open.get("shop-001.localhost", "/").text(), "shop-001");
        assert_eq!(open.get_with("shop.localhost", "/", &["X-User: ann"]).status(), 200);
        among_others.push(ask(&mut open));
    }
    assert_eq!(alone, among_others);
}

#[test]
fn without_any_weight_there_is_no_traffic_and_the_answer_says_so() {
    let fleet = Fleet::of("shop", 2);
    let rule = "rules: [{header: {x-beta: yes}, version: shop-002}]\n".replace("yes", "\"yes\"");
    let site = Site::new().service("shop", &format!("{rule}{}", fleet.file(&[0.0, 0.0]))).start();
    let mut open = site.connect();
    let answer = open.get("shop.localhost", "/");
    assert_eq!(answer.status(), 503);
    assert!(answer.text().contains("all weights are 0"), "{}", answer.text());
    assert_eq!(answer.header("proxy-status"), Some("tidegate; error=proxy_configuration_error; fault=proxy"));
    assert_eq!(open.get_with("shop.localhost", "/", &["X-Beta: yes"]).text(), "shop-002");
    assert_eq!(open.get("shop-001.localhost", "/").text(), "shop-001");
    let status = site.status();
    assert_eq!(status["services"][0]["note"], "all weights are 0");
    assert_eq!(status["services"][0]["requests"], 1);
    let own = "tidegate_requests_total{service=\"shop\",version=\"\",class=\"5xx\"}";
    assert_eq!(site.metrics().get(own), 1.0);
    site.edit_service("shop", &fleet.file(&[0.0, 100.0]));
    assert_eq!(ask(&mut open), "shop-002");
}

#[test]
fn one_version_needs_no_weights() {
    let fleet = Fleet::of("shop", 1);
    let site = Site::new().service("shop", &fleet.versions()).start();
    assert_eq!(site.version("shop-001")["weight"], 100.0);
    assert_eq!(sequence(&mut site.connect(), 3), ["shop-001"; 3]);
}

/// A service file with one version of several instances.
fn instances(urls: &[String]) -> String {
    let urls: Vec<String> = urls.iter().map(|url| format!("{url:?}")).collect();
    format!("versions: {{shop-001: {{urls: [{}]}}}}\n", urls.join(", "))
}

#[test]
fn the_less_busy_instance_is_chosen() {
    let (release, held) = (std::sync::Mutex::new(()), std::sync::mpsc::channel::<()>());
    let (entered, entering) = held;
    let release = std::sync::Arc::new(release);
    let hold = release.lock().expect("fresh");
    let backend = |name: &'static str| {
        let (release, entered) = (std::sync::Arc::clone(&release), entered.clone());
        Backend::answering(move |request| {
            if request.start.contains("/held") {
                entered.send(()).expect("the test waits");
                drop(release.lock());
            }
            crate::support::backend::ok(name)
        })
    };
    let (one, two) = (backend("one"), backend("two"));
    let site = Site::new().service("shop", &instances(&[one.url(), two.url()])).start();
    let mut slow = site.connect();
    slow.send("GET /held HTTP/1.1\r\nHost: shop.localhost\r\n\r\n");
    entering.recv().expect("it arrives");
    let mut open = site.connect();
    let others = sequence(&mut open, 30);
    assert!(others.iter().all(|name| *name == others[0]), "{others:?}");
    let version = site.version("shop-001");
    assert_eq!(version["in_flight"], 1);
    let loads: Vec<u64> = version["instances"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|instance| instance["in_flight"].as_u64().expect("a number"))
        .collect();
    assert_eq!(loads.iter().sum::<u64>(), 1, "{version}");
    drop(hold);
    assert_ne!(slow.response().text(), others[0]);
    // With both free, both are used.
    let both: std::collections::BTreeSet<String> = sequence(&mut open, 60).into_iter().collect();
    assert_eq!(both.len(), 2);
}

#[test]
fn a_refused_connection_goes_to_another_instance_and_takes_that_one_out_for_a_growing_time() {
    let (dead, alive) = (Refusing::new(), Backend::saying("alive"));
    let site = Site::new().service("shop", &instances(&[dead.url(), alive.url()])).start();
    let state = || {
        let version = site.version("shop-001");
        let all = version["instances"].as_array().expect("a list").clone();
        let found = all.iter().find(|one| one["address"] == dead.address().to_string()).expect("the dead one").clone();
        found["state"].as_str().expect("a state").to_owned()
    };
    let refusals = || site.log().matches("cannot connect").count();
    // Many at once that all meet the same failure: it counts once.
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut raw = site.connect();
                raw.send("POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 4\r\n\r\nbody");
                let answer = raw.response();
                assert_eq!((answer.status(), answer.text().as_str()), (200, "alive"));
            });
        }
    });
    let mut open = site.connect();
    eventually("the first refusal", || {
        ask(&mut open);
        (refusals() > 0).then_some(())
    });
    // It is out for a second, and again once it was tried again.
    eventually("it to be out", || {
        ask(&mut open);
        let out = "tidegate_instances{service=\"shop\",version=\"shop-001\",state=\"out\"}";
        (state() == "out" && site.metrics().get(out) == 1.0).then_some(())
    });
    let met = refusals();
    // When it was tried: not before the first of the two times, and not after the second.
    let mut try_again = |met: usize| {
        let mut since = Instant::now();
        eventually("another try", || {
            let before = std::mem::replace(&mut since, Instant::now());
            assert_eq!(ask(&mut open), "alive");
            let refusals = refusals();
            (refusals > met).then(|| (before, Instant::now(), refusals))
        })
    };
    let (before_second, _, met) = try_again(met);
    let (_, after_third, _) = try_again(met);
    let out = after_third - before_second;
    assert!(out >= Duration::from_millis(1_900), "out for {out:?}");
    let back = dead.saying("back");
    eventually("the instance's return", || (ask(&mut open) == "back").then_some(()));
    assert_eq!(site.version("shop-001")["instances"][0]["state"], "normal");
    assert!(back.connections() > 0);
    assert_eq!(site.version("shop-001")["errors_5xx"], 0);
}

#[test]
fn the_last_instance_is_never_out() {
    let (one, two) = (Refusing::new(), Refusing::new());
    let site = Site::new().service("shop", &instances(&[one.url(), two.url()])).start();
    let mut open = site.connect();
    for _ in 0..3 {
        let answer = open.get("shop.localhost", "/");
        assert_eq!(answer.status(), 502);
        assert_eq!(answer.header("proxy-status"), Some("tidegate; error=connection_refused; fault=upstream"));
    }
    let back = two.saying("back");
    eventually("the return", || (open.get("shop.localhost", "/").status() == 200).then_some(()));
    assert!(back.connections() > 0);
}
