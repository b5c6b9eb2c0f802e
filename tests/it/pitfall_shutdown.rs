//! HTTP_PITFALLS 13: the server's end, graceful and not.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::backend::{Backend, ok};
use crate::support::front::{HOST, builder, get, post};
use crate::support::raw::Raw;
use crate::support::{PATIENCE, eventually};

const SOON: Duration = Duration::from_secs(30);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Answers a request after a line on the channel; says when it has one.
fn gated() -> (Backend, mpsc::Receiver<String>, mpsc::Sender<()>) {
    let (told, requests) = mpsc::channel();
    let (open, gate) = mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let backend = Backend::serving(move |mut raw, _| {
        while let Ok(Some(mut request)) = raw.try_head() {
            if request.start.contains("/held") {
                raw.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            }
            if request.start.contains("/held") || request.start.contains("/wait") {
                told.send(request.start.clone()).expect("the test waits");
                let opened = gate.lock().expect("no panic").recv_timeout(PATIENCE).is_ok();
                raw.body(&mut request, false).expect("a body");
                let answer = if request.start.contains("/held") { b"2\r\nok\r\n0\r\n\r\n".to_vec() } else { ok("ok") };
                if !opened || !raw.try_send(&answer) {
                    return;
                }
            } else {
                raw.send(ok("ok"));
            }
        }
    });
    (backend, requests, open)
}

/// Whether nobody is let in there any more. A listener that is about to be closed hears nobody new, and whoever knocks does so again
/// after a second: that would be too late to see the rest.
fn refuses(address: std::net::SocketAddr) -> bool {
    std::net::TcpStream::connect_timeout(&address, ms(200)).is_err()
}

#[test]
fn rule_13_what_is_on_its_way_is_finished_and_nothing_else_begun() {
    let (backend, requests, gate) = gated();
    let mut site = builder(&backend, "").root("drain: {timeout: 60s, linger: 100ms}\n").start();
    let address = site.http();
    let (mut answering, mut waiting, mut uploading) = (site.connect(), site.connect(), site.connect());
    answering.send(get("/held", ""));
    waiting.send(get("/wait", ""));
    uploading.send(post("/wait", "Content-Length: 4\r\n") + "hi");
    for _ in 0..3 {
        requests.recv_timeout(SOON).expect("a request at the backend");
    }
    assert_eq!(answering.head().header("connection"), None, "begun before the end did");
    site.signal("TERM");
    eventually("the end of listening", || refuses(address).then_some(()));
    // Longer than the linger: they are not idle.
    std::thread::sleep(ms(300));
    uploading.send("ho");
    for _ in 0..3 {
        gate.send(()).expect("the backend waits");
    }
    assert!(answering.rest().is_ok_and(|rest| rest == b"2\r\nok\r\n0\r\n\r\n"));
    for client in [&mut waiting, &mut uploading] {
        let answer = client.response();
        assert_eq!((answer.status(), answer.header("connection"), answer.text().as_str()), (200, Some("close"), "ok"));
        assert!(client.is_closed_within(SOON));
    }
    assert_eq!(site.wait(), Some(0));
}

#[test]
fn rule_13_a_request_on_its_way_to_an_idle_connection_is_still_answered() {
    let backend = Backend::saying("ok");
    let mut site = builder(&backend, "").root("drain: {timeout: 60s, linger: 4s}\n").start();
    let address = site.http();
    let (mut asks, mut idle, mut fresh) = (site.connect(), site.connect(), site.connect());
    for client in [&mut asks, &mut idle] {
        assert_eq!(client.ask(get("/", "")).status(), 200);
    }
    eventually("all of them", || (site.status()["connections"] == 3).then_some(()));
    let began = Instant::now();
    site.signal("TERM");
    eventually("the end of listening", || refuses(address).then_some(()));
    for client in [&mut asks, &mut fresh] {
        // Each thread begins to drain in its own time, a moment after the listener is closed.
        eventually("the last answer", || {
            let answer = client.ask(get("/", ""));
            assert_eq!(answer.status(), 200);
            (answer.header("connection") == Some("close")).then_some(())
        });
        assert!(client.is_closed_within(SOON));
    }
    assert!(idle.is_closed_within(SOON) && began.elapsed() >= ms(4000), "{:?}", began.elapsed());
    assert_eq!(site.wait(), Some(0));
}

#[test]
fn rule_13_the_deadline_holds_for_requests_and_tunnels() {
    let backend = Backend::serving(|mut raw, _| {
        if let Ok(Some(request)) = raw.try_head() {
            if request.header("upgrade").is_some() {
                raw.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
            }
            while raw.take(1).is_ok() {}
        }
    });
    let mut site = builder(&backend, "").root("drain: {timeout: 500ms, linger: 100ms}\n").start();
    let (mut request, mut tunnel) = (site.connect(), site.connect());
    request.send(get("/", ""));
    tunnel.send(get("/", "Connection: upgrade\r\nUpgrade: websocket\r\n"));
    assert_eq!(tunnel.head().status(), 101);
    eventually("both at the backend", || (site.version("app-001")["in_flight"] == 2).then_some(()));
    let began = Instant::now();
    site.signal("TERM");
    assert_eq!(tunnel.take(4).expect("a close frame, which nobody answers"), [0x88, 2, 0x03, 0xe9]);
    assert!(tunnel.is_closed_within(SOON) && request.is_closed_within(SOON));
    assert!(began.elapsed() >= ms(500), "{:?}", began.elapsed());
    assert_eq!(site.wait(), Some(0));
}

/// Whose bytes are no frames cannot be told anything; it lives on until the deadline.
#[test]
fn rule_13_a_tunnel_that_ends_by_itself_lets_the_server_end() {
    let backend = Backend::serving(|mut raw, _| {
        raw.head();
        raw.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        while raw.take(1).is_ok_and(|byte| raw.try_send(&byte)) {}
    });
    let mut site = builder(&backend, "").root("drain: {timeout: 60s, linger: 100ms}\n").start();
    let address = site.http();
    let mut tunnel = site.connect();
    tunnel.send(get("/", "Connection: upgrade\r\nUpgrade: websocket\r\n"));
    assert_eq!(tunnel.head().status(), 101);
    tunnel.send("hello");
    assert_eq!(tunnel.take(5).expect("an echo"), b"hello");
    site.signal("TERM");
    eventually("the end of listening", || refuses(address).then_some(()));
    std::thread::sleep(ms(300));
    tunnel.send("still here");
    assert_eq!(tunnel.take(10).expect("an echo"), b"still here");
    drop(tunnel);
    assert_eq!(site.wait(), Some(0));
}

#[test]
fn rule_13_a_second_signal_ends_at_once() {
    for second in ["TERM", "INT"] {
        let (backend, requests, _gate) = gated();
        let mut site = builder(&backend, "").root("drain: {timeout: 60s, linger: 60s}\n").start();
        let address = site.http();
        let mut client = site.connect();
        client.send(get("/wait", ""));
        requests.recv_timeout(SOON).expect("a request at the backend");
        site.signal("TERM");
        eventually("the end of listening", || refuses(address).then_some(()));
        site.signal(second);
        assert!(client.is_closed_within(SOON));
        site.wait();
    }
}

#[test]
fn rule_13_a_half_sent_head_is_waited_for_no_longer_than_the_deadline() {
    let backend = Backend::saying("ok");
    let mut site = builder(&backend, "").root("drain: {timeout: 500ms, linger: 100ms}\n").start();
    let mut client: Raw = site.connect();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n"));
    eventually("the connection", || (site.status()["connections"] == 1).then_some(()));
    site.signal("TERM");
    assert!(client.is_closed_within(SOON));
    assert_eq!(site.wait(), Some(0));
    assert_eq!(backend.connections(), 0);
}
