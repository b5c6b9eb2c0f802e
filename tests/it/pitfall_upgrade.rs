//! HTTP_PITFALLS 3: CONNECT, upgrades and tunnels.

use std::time::Duration;

use crate::support::backend::{Backend, ok};
use crate::support::eventually;
use crate::support::front::{HOST, before, builder, file, get};
use crate::support::raw::Raw;
use crate::support::site::Site;

const SHAKE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Answers requests that ask for a WebSocket with 101 and then with whatever comes; others with their first line.
fn echo() -> Backend {
    Backend::serving(|mut raw, _| {
        while let Ok(Some(request)) = raw.try_head() {
            if request.header("upgrade").is_none() {
                if !raw.try_send(&ok(&request.start)) {
                    return;
                }
                continue;
            }
            raw.send(SWITCH);
            while let Ok(byte) = raw.take(1) {
                if !raw.try_send(&byte) {
                    return;
                }
            }
            return;
        }
    })
}

fn open(site: &Site) -> Raw {
    let mut client = site.connect();
    client.send(get("/chat", SHAKE));
    assert_eq!(client.head().status(), 101);
    client
}

fn echoes(client: &mut Raw, text: &str) {
    client.send(text);
    assert_eq!(client.take(text.len()).expect("an echo"), text.as_bytes());
}

fn in_flight(site: &Site) -> u64 {
    site.version("app-001")["in_flight"].as_u64().expect("a number")
}

#[test]
fn rule_3_a_real_101_opens_a_tunnel_that_holds_its_lease_to_the_end() {
    let backend = echo();
    let site = before(&backend, "timeouts: {idle: 1s, response_head: 1s, total: 2s}");
    let mut client = site.connect();
    client.send(get("/chat", SHAKE));
    let head = client.head();
    assert_eq!((head.status(), head.headers_named("upgrade")), (101, vec!["websocket"]));
    assert_eq!(head.headers_named("connection"), ["upgrade"]);
    assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!((head.header("content-length"), head.header("transfer-encoding")), (None, None));
    echoes(&mut client, "hello");
    assert_eq!(in_flight(&site), 1);
    assert_eq!(site.status()["tunnels"], 1);
    // A tunnel outlives all that is for requests; the wait is what is tested.
    std::thread::sleep(Duration::from_millis(2500));
    echoes(&mut client, "still here");
    drop(client);
    eventually("the lease's return", || (in_flight(&site) == 0).then_some(()));
    assert_eq!(site.status()["tunnels"], 0);
}

#[test]
fn rule_3_what_is_sent_along_with_the_handshake_is_not_lost() {
    let backend = Backend::serving(|mut raw, _| {
        raw.head();
        raw.send(format!("{SWITCH}first"));
        assert_eq!(raw.take(5).expect("early bytes"), b"early");
        raw.send("last");
    });
    let site = before(&backend, "");
    let mut client = site.connect();
    client.send(get("/", SHAKE) + "early");
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.rest().expect("until the backend closes"), b"firstlast");
}

#[test]
fn rule_3_a_half_closed_tunnel_still_carries_the_other_half() {
    let backend = Backend::serving(|mut raw, _| {
        raw.head();
        raw.send(SWITCH);
        let all = raw.rest().expect("until the client finishes");
        raw.send(all);
    });
    let site = before(&backend, "");
    let mut client = open(&site);
    client.send("one way").finish();
    assert_eq!(client.rest().expect("the other way"), b"one way");
}

#[test]
fn rule_3_without_a_101_there_is_no_tunnel() {
    for (what, answer, status) in [
        ("refused", "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403),
        ("a 200", "HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno", 200),
        ("a 101 without upgrade", "HTTP/1.1 101 Switching Protocols\r\n\r\n", 502),
        (
            "a 101 to something else",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
            502,
        ),
    ] {
        let backend = Backend::answering(move |_| answer.as_bytes().to_vec());
        let site = before(&backend, "");
        let mut client = site.connect();
        // What would be the tunnel's bytes is a request of its own, and is answered as one.
        client.send(get("/chat", SHAKE) + &get("/next", "Connection: close\r\n"));
        assert_eq!(client.response().status(), status, "{what}");
        if status < 500 {
            client.response();
            let starts: Vec<String> = backend.requests().into_iter().map(|request| request.start).collect();
            assert_eq!(starts, ["GET /chat HTTP/1.1", "GET /next HTTP/1.1"], "{what}");
        }
        eventually("the lease's return", || (in_flight(&site) == 0).then_some(()));
    }
}

#[test]
fn rule_3_an_upgraded_connection_never_returns_to_the_pool() {
    let backend = echo();
    let site = before(&backend, "");
    let mut plain = site.connect();
    assert_eq!(plain.ask(get("/a", "")).text(), "GET /a HTTP/1.1");
    let mut client = open(&site);
    echoes(&mut client, "hello");
    drop(client);
    eventually("the lease's return", || (in_flight(&site) == 0).then_some(()));
    assert_eq!(plain.ask(get("/b", "")).text(), "GET /b HTTP/1.1");
}

#[test]
fn rule_3_an_upgrade_with_a_body_or_by_another_method_is_refused() {
    let backend = echo();
    let site = before(&backend, "");
    for (what, request) in [
        ("a length", get("/", &format!("{SHAKE}Content-Length: 5\r\n")) + "hello"),
        ("chunked", get("/", &format!("{SHAKE}Transfer-Encoding: chunked\r\n")) + "0\r\n\r\n"),
        ("POST", format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{SHAKE}\r\n")),
        ("a POST with a body", format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{SHAKE}Content-Length: 5\r\n\r\nhello")),
    ] {
        let mut client = site.connect();
        let answer = client.ask(request + &get("/smuggled", ""));
        assert_eq!((answer.status(), answer.header("connection")), (400, Some("close")), "{what}");
        assert!(client.rest().is_ok_and(|rest| rest.is_empty()), "{what}");
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn rule_3_other_upgrades_are_not_asked_for() {
    let backend = Backend::saying("plain");
    let site = before(&backend, "");
    let mut client = site.connect();
    for lines in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\n",
    ] {
        let answer = client.ask(get("/", lines));
        assert_eq!((answer.status(), answer.text().as_str()), (200, "plain"), "{lines:?}");
        let request = backend.requests().pop().expect("a request");
        for name in ["upgrade", "connection", "http2-settings"] {
            assert_eq!(request.header(name), None, "{lines:?}");
        }
    }
    let answer = client.ask(get("/", "Connection: upgrade\r\nUpgrade: h2c, WebSocket\r\n"));
    assert_eq!(answer.text(), "plain");
    assert_eq!(backend.requests().pop().expect("a request").headers_named("upgrade"), ["websocket"]);
}

#[test]
fn rule_3_http_1_0_cannot_upgrade() {
    let backend = Backend::saying("plain");
    let site = before(&backend, "");
    let answer = site.connect().ask(format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n{SHAKE}\r\n"));
    assert_eq!((answer.status(), answer.text().as_str()), (200, "plain"));
    assert_eq!(backend.requests().pop().expect("a request").header("upgrade"), None);
}

#[test]
fn rule_3_connect_is_refused_and_nothing_after_it_is_read() {
    let backend = Backend::saying("ok");
    let site = before(&backend, "");
    for (status, request) in [
        (405, format!("CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}:80\r\n\r\n")),
        (400, format!("CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}:80\r\n{SHAKE}\r\n")),
        (405, format!("CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\nhello")),
        (405, format!("CONNECT {HOST}:80 HTTP/1.0\r\nHost: {HOST}\r\n\r\n")),
    ] {
        let mut client = site.connect();
        let answer = client.ask(request.clone() + &get("/smuggled", ""));
        assert_eq!((answer.status(), answer.header("connection")), (status, Some("close")), "{request}");
        assert!(client.rest().is_ok_and(|rest| rest.is_empty()), "{request}");
    }
    assert_eq!(backend.connections(), 0);
}

/// A tunnel lives on through reloads, also of its own service's file, and does not keep what was in force alive.
#[test]
fn a_tunnel_survives_reloads() {
    let backend = echo();
    let site = builder(&backend, "").service("other", &backend.as_only_version("other")).start();
    let mut client = open(&site);
    for round in 0..3 {
        site.edit_service("other", &backend.as_only_version("other").replace('}', &format!(", remark: r{round}}}")));
        site.edit_service("app", &file(&backend, &format!("max_body: {}KiB", round + 1)));
        echoes(&mut client, "still here");
    }
    assert_eq!(in_flight(&site), 1);
    // Old pictures go when nobody reads them any more; a tunnel does not.
    eventually("one picture of the config", || (site.metrics().get("tidegate_config_snapshots") < 1.5).then_some(()));
}

#[test]
fn a_tunnel_carries_much_both_ways_at_once() {
    let backend = echo();
    let site = before(&backend, "");
    let mut client = open(&site);
    let mut writer = client.twin();
    let sent: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let writing = std::thread::spawn({
        let sent = sent.clone();
        move || {
            writer.send(sent).finish();
        }
    });
    assert!(client.rest().expect("all of it") == sent);
    writing.join().expect("no panic");
}
