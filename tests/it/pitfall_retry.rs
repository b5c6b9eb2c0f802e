//! HTTP_PITFALLS 5: what is sent once more, and what never is.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tidegate::lifecycle::ports::PortGuard;

use crate::support::backend::{Backend, Refusing, ok};
use crate::support::eventually;
use crate::support::front::{before, get, post};
use crate::support::ledger::until_dropped;
use crate::support::ports::ports;
use crate::support::process::{Said, command};
use crate::support::raw::Raw;
use crate::support::site::{Site, tidegate};

/// Answers the first request of every connection, then does `then` with the second. Says which requests came.
fn once(then: impl Fn(Raw) + Send + Sync + 'static) -> (Backend, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let backend = Backend::serving({
        let seen = Arc::clone(&seen);
        move |mut raw, _| {
            let Ok(Some(mut first)) = raw.try_head() else { return };
            raw.body(&mut first, false).expect("a body");
            seen.lock().expect("no panic").push(first.start);
            raw.send(ok("ok"));
            then(raw);
        }
    });
    (backend, seen)
}

/// Reads the second request without answering it, and closes.
fn reads_and_closes(seen: &Arc<Mutex<Vec<String>>>) -> impl Fn(Raw) + Send + Sync + 'static {
    let seen = Arc::clone(seen);
    move |mut raw| {
        if let Ok(Some(second)) = raw.try_head() {
            seen.lock().expect("no panic").push(format!("{} (unanswered)", second.start));
        }
    }
}

#[test]
fn rule_5_a_pooled_connection_that_the_backend_closed_is_not_used() {
    let closed = Arc::new(AtomicUsize::new(0));
    let (backend, seen) = once({
        let closed = Arc::clone(&closed);
        move |raw| {
            drop(raw);
            closed.fetch_add(1, Ordering::SeqCst);
        }
    });
    let site = before(&backend, "");
    let mut client = site.connect();
    for round in 0..5 {
        for (n, request) in [get("/get", ""), post("/post", "Content-Length: 2\r\n") + "hi"].iter().enumerate() {
            assert_eq!(client.ask(request).status(), 200, "round {round}: {request}");
            // Closed before the next request is sent: then even what is not safe to repeat must not meet it.
            eventually("the close", || (closed.load(Ordering::SeqCst) > 2 * round + n).then_some(()));
        }
    }
    assert_eq!(seen.lock().expect("no panic").len(), 10, "each was answered once");
}

#[test]
fn rule_5_a_get_on_a_stale_connection_is_sent_again() {
    let unanswered = Arc::new(Mutex::new(Vec::new()));
    let (backend, seen) = once(reads_and_closes(&unanswered));
    let site = before(&backend, "");
    let mut client = site.connect();
    for request in [get("/1", ""), get("/2", ""), get("/3", "")] {
        assert_eq!(client.ask(request).status(), 200);
    }
    // Every second one went onto the pooled connection first, was read there, and came again on a fresh one.
    assert_eq!(*seen.lock().expect("no panic"), ["GET /1 HTTP/1.1", "GET /2 HTTP/1.1", "GET /3 HTTP/1.1"]);
    let unanswered = unanswered.lock().expect("no panic");
    assert_eq!(*unanswered, ["GET /2 HTTP/1.1 (unanswered)", "GET /3 HTTP/1.1 (unanswered)"]);
}

#[test]
fn rule_5_what_may_have_acted_is_never_sent_twice() {
    for (what, second) in [
        ("a POST", post("/2", "Content-Length: 2\r\n") + "hi"),
        ("a POST without a body", post("/2", "Content-Length: 0\r\n")),
        ("a chunked POST", post("/2", "Transfer-Encoding: chunked\r\n") + "2\r\nhi\r\n0\r\n\r\n"),
        ("a PUT with a body", post("/2", "Content-Length: 2\r\n").replace("POST", "PUT") + "hi"),
        ("a PATCH", post("/2", "Content-Length: 0\r\n").replace("POST", "PATCH")),
        ("a method nobody knows", post("/2", "Content-Length: 0\r\n").replace("POST", "BREW")),
    ] {
        let unanswered = Arc::new(Mutex::new(Vec::new()));
        let (backend, seen) = once(reads_and_closes(&unanswered));
        let site = before(&backend, "");
        let mut client = site.connect();
        assert_eq!(client.ask(get("/1", "")).status(), 200);
        let answer = client.ask(second);
        let (seen, unanswered) = (seen.lock().expect("no panic"), unanswered.lock().expect("no panic"));
        let arrivals = seen.iter().chain(unanswered.iter()).filter(|start| start.contains("/2")).count();
        assert_eq!(arrivals, 1, "{what}: {seen:?} {unanswered:?}");
        // Where it went onto the pooled connection it is lost; the answer says by whom.
        if !unanswered.is_empty() {
            assert_eq!(answer.status(), 502, "{what}");
            let status = answer.header("proxy-status");
            assert_eq!(status, Some("tidegate; error=connection_terminated; fault=upstream"), "{what}");
        }
    }
}

#[test]
fn rule_5_a_fresh_connection_that_breaks_is_the_backends_answer() {
    let backend = Backend::serving(|mut raw, _| {
        raw.head();
    });
    let site = before(&backend, "");
    assert_eq!(site.connect().ask(get("/", "")).status(), 502);
    assert_eq!(backend.connections(), 1);
}

#[test]
fn rule_5_a_broken_answer_is_not_asked_for_again() {
    let backend = Backend::serving(|mut raw, number| {
        raw.head();
        raw.send(ok("ok")).head();
        raw.send(if number == 0 { "HTTP/1.1 200 OK\r\nConte" } else { "" });
    });
    let site = before(&backend, "");
    let mut client = site.connect();
    assert_eq!(client.ask(get("/1", "")).status(), 200);
    let answer = client.ask(get("/2", ""));
    assert!(matches!(answer.status(), 200 | 502));
    assert!(backend.connections() <= 2);
}

/// Of two urls one refuses: nobody notices, and it is left out.
#[test]
fn of_several_urls_one_refuses_and_no_request_fails() {
    let backend = Backend::saying("ok");
    let refusing = Refusing::new();
    for urls in [
        format!("[\"{}\", \"{}\"]", refusing.url(), backend.url()),
        format!("[\"{}\", \"{}\"]", backend.url(), refusing.url()),
    ] {
        let site = Site::new().service("app", &format!("versions: {{app-001: {{urls: {urls}}}}}\n")).start();
        let state = |address: SocketAddr| {
            let instances = site.version("app-001")["instances"].as_array().expect("instances").clone();
            let found = instances.iter().find(|i| i["address"] == address.to_string()).expect("one of two");
            found["state"].as_str().expect("a state").to_owned()
        };
        let ask = |n: usize| {
            let mut client = site.connect();
            let answer =
                client.ask(if n.is_multiple_of(2) { get("/", "") } else { post("/", "Content-Length: 2\r\n") + "hi" });
            assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"), "request {n}");
        };
        (0..20).for_each(ask);
        // It is out for a second, and again once it was tried again.
        eventually("one to be out", || {
            ask(0);
            (state(refusing.address()) == "out").then_some(())
        });
        assert_eq!(state(backend.address()), "normal");
    }
}

/// A backend that goes away takes its pooled connections with it; the other one serves.
#[test]
fn of_several_urls_one_goes_away_and_no_get_fails() {
    let (one, two) = (Backend::saying("one"), Backend::saying("two"));
    let urls = format!("[\"{}\", \"{}\"]", one.url(), two.url());
    let site = Site::new().service("app", &format!("versions: {{app-001: {{urls: {urls}}}}}\n")).start();
    let mut client = site.connect();
    eventually("both to have served", || {
        assert_eq!(client.ask(get("/", "")).status(), 200);
        (one.connections() > 0 && two.connections() > 0).then_some(())
    });
    drop(two);
    for n in 0..30 {
        let answer = client.ask(get("/", ""));
        assert_eq!(answer.status(), 200, "request {n}");
    }
}

/// Three real processes, of which one is killed while sixteen clients ask: whatever was on its way there is asked for elsewhere.
#[test]
fn of_several_urls_one_is_killed_under_load_and_no_get_fails() {
    let mut demos: Vec<Demo> = (0..3).map(|_| Demo::start()).collect();
    let urls: Vec<String> = demos.iter().map(|demo| format!("\"http://{}\"", demo.address)).collect();
    let urls = format!("[{}]", urls.join(", "));
    let site = Site::new().service("app", &format!("versions: {{app-001: {{urls: {urls}}}}}\n")).start();
    let (asked, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let ask = |n: usize| {
        let mut client = site.connect();
        let mut wrong = Vec::new();
        while !done.load(Ordering::Relaxed) {
            let answer = client.ask(get(["/", "/slow?ms=3"][n % 2], ""));
            asked.fetch_add(1, Ordering::Relaxed);
            if answer.status() != 200 {
                wrong.push(format!("{}: {}", answer.status(), answer.text()));
            }
        }
        wrong
    };
    let more = |count: usize| {
        let until = asked.load(Ordering::Relaxed) + count;
        eventually("more requests", || (asked.load(Ordering::Relaxed) >= until).then_some(()));
    };
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let ending = until_dropped(&done);
        let clients: Vec<_> = (0..16).map(|n| scope.spawn(move || ask(n))).collect();
        more(500);
        demos[1].kill();
        more(1000);
        drop(ending);
        clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect()
    });
    assert!(wrong.is_empty(), "of {} requests: {wrong:?}", asked.into_inner());
}

/// A fresh connection that is closed without an answer: what may be repeated is, elsewhere; what may have acted is not.
#[test]
fn rule_5_what_one_instance_closes_is_asked_of_another() {
    let closes = Backend::serving(|mut raw, _| {
        raw.head();
    });
    let answers = Backend::saying("ok");
    let urls = format!("[\"{}\", \"{}\"]", closes.url(), answers.url());
    let site = Site::new().service("app", &format!("versions: {{app-001: {{urls: {urls}}}}}\n")).start();
    let mut posts = Vec::new();
    for n in 0..20 {
        assert_eq!(site.connect().ask(get("/", "")).text(), "ok", "request {n}");
        posts.push(site.connect().ask(post("/", "Content-Length: 2\r\n") + "hi").status());
    }
    assert!(closes.connections() > 0, "it was asked");
    assert!(posts.contains(&502), "{posts:?}");
}

/// The only process of a version is killed while sixteen clients ask, each time on a connection of its own: nobody is told that it
/// refuses connections, for nothing was sent, and whoever asks then is served by the next or told that it failed.
#[test]
fn what_a_process_that_has_died_refuses_is_not_the_answer() {
    let ignore = "sleep: {ignore: {paths: [/healthz], status: 204}}";
    let version = format!("versions: {{app-001: {{command: {}, {ignore}}}}}\n", command());
    let site = Site::new().service("app", &version).start();
    let pid = Said::parse(&site.get("app.localhost", "/").text()).pid;
    let (asked, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let requests = [get("/", ""), post("/", "Content-Length: 2\r\n") + "hi", get("/healthz", "")];
    let ask = |n: usize| {
        let mut wrong = Vec::new();
        while !done.load(Ordering::Relaxed) {
            let answer = site.connect().ask(&requests[n % 3]);
            asked.fetch_add(1, Ordering::Relaxed);
            if answer.status() != 200 {
                let why = answer.header("proxy-status").unwrap_or_default();
                wrong.push(format!("{} {} {why}", n % 3, answer.status()));
            }
        }
        wrong
    };
    let more = |count: usize| {
        let until = asked.load(Ordering::Relaxed) + count;
        eventually("more requests", || (asked.load(Ordering::Relaxed) >= until).then_some(()));
    };
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let ending = until_dropped(&done);
        let clients: Vec<_> = (0..16).map(|n| scope.spawn(move || ask(n))).collect();
        more(500);
        let pid = nix::unistd::Pid::from_raw(pid.try_into().expect("a process id"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it is there");
        more(500);
        drop(ending);
        clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect()
    });
    let refused = wrong.iter().filter(|answer| answer.contains("connection_refused")).count();
    assert_eq!(refused, 0, "of {} requests: {wrong:?}", asked.into_inner());
    let told_of_the_start = wrong.iter().filter(|answer| answer.starts_with("2 503")).count();
    assert_eq!(told_of_the_start, 0, "what is ignored waits for no start: {wrong:?}");
    let told = site.log().lines().filter(|line| line.contains("cannot connect")).count();
    assert!(told <= 2, "once a second: {}", site.log());
    eventually("the next one", || (site.get("app.localhost", "/").status() == 200).then_some(()));
}

/// `tidegate demo`, killed when dropped.
struct Demo {
    child: Child,
    address: SocketAddr,
    _port: PortGuard,
}

impl Demo {
    fn start() -> Self {
        let port = ports().take().expect("a port");
        let address = SocketAddr::from(([127, 0, 0, 1], port.port()));
        let mut demo = tidegate();
        demo.arg("demo").env("PORT", port.port().to_string()).stdout(Stdio::null());
        let child = demo.spawn().expect("spawn");
        eventually("the demo", || TcpStream::connect(address).ok());
        Self { child, address, _port: port }
    }

    fn kill(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("kill");
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The budget: a backend that breaks every pooled connection costs a bounded number of second sends.
#[test]
fn rule_5_retries_have_a_budget() {
    let backend = Backend::serving(|mut raw, _| {
        while let Ok(Some(request)) = raw.try_head() {
            if request.start.contains("/break") || !raw.try_send(&ok("ok")) {
                return;
            }
        }
    });
    let site = before(&backend, "");
    let mut client = site.connect();
    // Each round: fill the pool, then a request that is broken there and, where it is sent again, on a fresh connection.
    let rounds = 200;
    for _ in 0..rounds {
        assert_eq!(client.ask(get("/fill", "")).status(), 200);
        assert_eq!(client.ask(get("/break", "")).status(), 502);
    }
    let retries = backend.connections() - rounds;
    // A hundred at hand, and one for every five requests.
    assert!((100..=100 + 2 * rounds / 5).contains(&retries), "{retries} retries");
}
