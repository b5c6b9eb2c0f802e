//! HTTP_PITFALLS 7: clients that leave.

use std::sync::mpsc;
use std::time::Duration;

use crate::support::backend::{Backend, ok};
use crate::support::eventually;
use crate::support::front::{before, builder, file, get, post};
use crate::support::site::Site;

const SOON: Duration = Duration::from_secs(30);

/// Waits until nothing is at the version any more.
fn idle(site: &Site) {
    eventually("no request at the version", || (site.version("app-001")["in_flight"] == 0).then_some(()));
}

/// Receives a request, says so, answers with `head`, and says when the other side has closed.
fn held(head: &'static str) -> (Backend, mpsc::Receiver<&'static str>) {
    let (told, events) = mpsc::channel();
    let backend = Backend::serving(move |mut raw, _| {
        raw.head();
        raw.send(head);
        told.send("received").expect("the test waits");
        while raw.take(1).is_ok() {}
        told.send("closed").expect("the test waits");
    });
    (backend, events)
}

#[test]
fn rule_7_a_client_that_leaves_cancels_its_request() {
    for (what, head, request) in [
        ("before the answer", "", get("/", "")),
        ("in the answer", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello", get("/", "")),
        ("in a chunked answer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", get("/", "")),
        ("in its upload", "", post("/", "Content-Length: 100\r\n") + "hello"),
        ("in both", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello", post("/", "Content-Length: 100\r\n") + "hi"),
        ("after its upload", "", post("/", "Content-Length: 2\r\n") + "hi"),
    ] {
        let (backend, events) = held(head);
        let site = before(&backend, "timeouts: {idle: off, response_head: off}");
        let mut client = site.connect();
        client.send(request);
        assert_eq!(events.recv_timeout(SOON), Ok("received"), "{what}");
        if !head.is_empty() {
            assert_eq!(client.head().status(), 200, "{what}");
        }
        drop(client);
        assert_eq!(events.recv_timeout(SOON), Ok("closed"), "{what}");
        idle(&site);
    }
}

/// `half_close` is off: a client that ends its side has left.
#[test]
fn rule_7_a_clients_fin_cancels_its_request() {
    let (backend, events) = held("");
    let site = before(&backend, "timeouts: {idle: off, response_head: off}");
    let mut client = site.connect();
    client.send(get("/", ""));
    assert_eq!(events.recv_timeout(SOON), Ok("received"));
    client.finish();
    assert_eq!(events.recv_timeout(SOON), Ok("closed"));
    assert!(client.rest().is_ok_and(|rest| rest.is_empty()));
    idle(&site);
}

#[test]
fn rule_7_a_client_that_leaves_gives_up_its_place_in_the_queue() {
    // The version never comes up: its requests wait.
    let site = Site::new()
        .service(
            "app",
            "versions: {app-001: {command: [sleep, \"60\"], start: {timeout: 60s}, stop: {grace: 100ms}}}\n",
        )
        .root("access_log: access.log\n")
        .start();
    let mut client = site.connect();
    client.send(get("/waits", ""));
    eventually("the connection", || (site.status()["connections"] == 1).then_some(()));
    drop(client);
    let log = site.path().join("access.log");
    let line =
        eventually("its line in the log", || std::fs::read_to_string(&log).ok().filter(|text| text.ends_with('\n')));
    assert!(line.contains("/waits") && line.contains("client"), "{line}");
    eventually("the connection's end", || (site.status()["connections"] == 0).then_some(()));
}

#[test]
fn a_client_that_leaves_is_counted_as_one_that_left() {
    let (backend, events) = held("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
    let site = builder(&backend, "").root("access_log: access.log\n").start();
    let mut client = site.connect();
    client.send(get("/left", ""));
    assert_eq!(client.head().status(), 200);
    drop(client);
    assert_eq!((events.recv_timeout(SOON), events.recv_timeout(SOON)), (Ok("received"), Ok("closed")));
    let log = site.path().join("access.log");
    let line =
        eventually("its line in the log", || std::fs::read_to_string(&log).ok().filter(|text| text.ends_with('\n')));
    let line: serde_json::Value = serde_json::from_str(&line).expect("one line of JSON");
    assert_eq!((line["status"].as_u64(), line["error"]["fault"].as_str()), (Some(200), Some("client")), "{line}");
}

/// A client that sends its next request already while it leaves is noticed when the answer cannot be written.
#[test]
fn rule_7_a_client_behind_pipelined_bytes_leaves_nothing_behind() {
    let backend = Backend::answering(|_| {
        std::thread::sleep(Duration::from_millis(100));
        ok("late")
    });
    let site = before(&backend, "");
    let mut client = site.connect();
    client.send(get("/1", "") + &get("/2", ""));
    eventually("the first request", || (backend.connections() > 0).then_some(()));
    drop(client);
    idle(&site);
    eventually("the connection's end", || (site.status()["connections"] == 0).then_some(()));
    site.edit_service("app", &file(&backend, "max_body: 1KiB"));
    assert_eq!(site.get("app.localhost", "/").text(), "late");
}
