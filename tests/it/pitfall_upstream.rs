//! What backends may do wrong, in raw bytes: nothing of it is passed on, no connection is used again after it, and no request is sent
//! where it would be lost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::sleep;
use std::time::Duration;

use crate::support::backend::{Backend, ok};
use crate::support::front::{HOST, before, get, post};
use crate::support::raw::Raw;

const SOON: Duration = Duration::from_secs(10);
const OK: &str = "HTTP/1.1 200 OK\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
const MALFORMED: Option<&str> = Some("tidegate; error=http_protocol_error; fault=upstream");

/// Answers one request with these bytes and says whether the connection was closed thereafter.
fn answering_once(answer: String) -> (Backend, mpsc::Receiver<bool>) {
    let (told, closed) = mpsc::channel();
    let backend = Backend::serving(move |mut raw, _| {
        raw.request();
        let sent = raw.try_send(answer.as_bytes());
        told.send(!sent || raw.is_closed_within(SOON)).expect("the test waits");
    });
    (backend, closed)
}

#[test]
fn heads_that_are_none_are_a_502_and_the_end_of_their_connection() {
    let body = "Content-Length: 5\r\n\r\nhello";
    for (what, answer) in [
        ("an empty line before it", format!("\r\n{OK}{body}")),
        ("a bare line feed before it", format!("\n{OK}{body}")),
        ("a bare line feed after a header", format!("{OK}X-A: b\n{body}")),
        ("a bare line feed at its end", format!("{OK}Content-Length: 5\r\n\nhello")),
        ("a bare carriage return", format!("{OK}X-A: b\rX-B: c\r\n{body}")),
        ("a bare carriage return after the status", format!("HTTP/1.1 200 OK\rX-B: c\r\n{body}")),
        ("a NUL", format!("{OK}X-A: b\0c\r\n{body}")),
        ("a control byte", format!("{OK}X-A: b\x07c\r\n{body}")),
        ("a control byte in the reason", format!("HTTP/1.1 200 O\x07K\r\n{body}")),
        ("an empty name", format!("{OK}: c\r\n{body}")),
        ("no colon", format!("{OK}X-A\r\n{body}")),
        ("too many headers", format!("{OK}{}{body}", "X-A: b\r\n".repeat(300))),
        ("too many bytes", format!("{OK}X-A: {}\r\n{body}", "a".repeat(300_000))),
        ("too many bytes, without an end", format!("{OK}X-A: {}", "a".repeat(300_000))),
        ("a length beyond all bounds", format!("{OK}Content-Length: 18446744073709551615\r\n\r\nhello")),
        ("chunks in HTTP/1.0", format!("HTTP/1.0 200 OK\r\n{CHUNKED}\r\n0\r\n\r\n")),
        ("a flood of 1xx", "HTTP/1.1 102 Processing\r\n\r\n".repeat(1_000) + OK + body),
        ("a 1xx with a body", format!("HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello{OK}{body}")),
        ("a 1xx in chunks", format!("HTTP/1.1 103 Early Hints\r\n{CHUNKED}\r\n0\r\n\r\n{OK}{body}")),
        ("a status below 100", format!("HTTP/1.1 099 x\r\n{body}")),
    ] {
        let (backend, closed) = answering_once(answer);
        let site = before(&backend, "");
        let answer = site.connect().ask(get("/", ""));
        assert_eq!((answer.status(), answer.header("proxy-status")), (502, MALFORMED), "{what}");
        assert!(closed.recv_timeout(SOON).expect("an outcome"), "{what}: the connection is still open");
        assert_eq!(backend.connections(), 1, "{what}: asked again");
    }
}

#[test]
fn bodies_that_are_not_chunked_as_they_say_break_off_with_their_connection() {
    for (what, chunks) in [
        ("a bare line feed after a size", "5\r\nhello\r\n5\nhello\r\n0\r\n\r\n".to_owned()),
        ("a bare line feed after a chunk", "5\r\nhello\n0\r\n\r\n".to_owned()),
        ("a bare carriage return in an extension", "5\r\nhello\r\n5;a\rb\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a NUL in an extension", "5\r\nhello\r\n5;a\0b\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("an overflow", "5\r\nhello\r\n10000000000000005\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a sign", "5\r\nhello\r\n+5\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a long extension", format!("5\r\nhello\r\n5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(2_000))),
        ("a lot of extensions", format!("{}0\r\n\r\n", format!("5;{}\r\nhello\r\n", "a".repeat(900)).repeat(20))),
        ("a bare line feed in a trailer", "5\r\nhello\r\n0\r\nX-A: b\n\r\n".to_owned()),
        ("a bare line feed after the trailers", "5\r\nhello\r\n0\r\nX-A: b\r\n\n".to_owned()),
        ("a bare line feed for trailers", "5\r\nhello\r\n0\r\n\n".to_owned()),
        ("a folded trailer", "5\r\nhello\r\n0\r\nX-A: b\r\n c\r\n\r\n".to_owned()),
        ("a space before a trailer's colon", "5\r\nhello\r\n0\r\nX-A : b\r\n\r\n".to_owned()),
        ("too many trailers", format!("5\r\nhello\r\n0\r\n{}\r\n", "X-A: b\r\n".repeat(100))),
        ("too large trailers", format!("5\r\nhello\r\n0\r\nX-A: {}\r\n\r\n", "b".repeat(20_000))),
    ] {
        let (backend, closed) = answering_once(format!("{OK}{CHUNKED}\r\n{chunks}"));
        let site = before(&backend, "");
        let mut client = site.connect();
        client.send(get("/", ""));
        // It may be known as soon as the head.
        let broken = match client.try_head() {
            Ok(Some(mut answer)) => client.body(&mut answer, true).is_err() && client.is_closed_within(SOON),
            Ok(None) | Err(_) => true,
        };
        assert!(broken, "{what}: the client takes it for whole");
        assert!(closed.recv_timeout(SOON).expect("an outcome"), "{what}: the connection is still open");
    }
}

/// A body where none may be is the answer to nobody.
#[test]
fn what_follows_an_answer_without_a_body_is_no_answer() {
    for (request, answer) in [
        ("HEAD", format!("{OK}Content-Length: 46\r\n\r\n")),
        ("HEAD", format!("{OK}{CHUNKED}\r\n")),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n".to_owned()),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 46\r\n\r\n".to_owned()),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 46\r\n\r\n".to_owned()),
        ("GET", format!("HTTP/1.1 304 Not Modified\r\n{CHUNKED}\r\n")),
        ("GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n".to_owned()),
    ] {
        let sent = format!("{answer}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
        let backend = Backend::serving(move |mut raw, number| {
            while let Ok(Some(_)) = raw.try_head() {
                let good = ok("good");
                if !raw.try_send(if number == 0 { sent.as_bytes() } else { &good }) {
                    return;
                }
            }
        });
        let site = before(&backend, "");
        let mut client = site.connect();
        client.send(format!("{request} / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        if request == "HEAD" {
            client.response_to_head()
        } else {
            client.response()
        };
        assert_eq!(client.ask(get("/", "")).text(), "good", "{request} {answer:?}");
        assert_eq!(backend.connections(), 2, "{request} {answer:?}");
    }
}

/// A backend like Node.js, at the worst moment: what comes on a connection that has idled for nearly as long as it said is never
/// answered, for it closes just then. Says how many requests it lost so.
fn closing_after(idle: Duration, told: &'static str) -> (Backend, Arc<AtomicUsize>) {
    let lost = Arc::new(AtomicUsize::new(0));
    let backend = Backend::serving({
        let lost = Arc::clone(&lost);
        move |mut raw: Raw, _| {
            loop {
                let began = std::time::Instant::now();
                let Ok(Some(mut request)) = raw.try_head() else { return };
                if raw.body(&mut request, false).is_err() {
                    return;
                }
                if began.elapsed() >= idle {
                    lost.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                if !raw.try_send(format!("{OK}Keep-Alive: {told}\r\nContent-Length: 2\r\n\r\nok").as_bytes()) {
                    return;
                }
            }
        }
    });
    (backend, lost)
}

#[test]
fn rule_5_nothing_is_sent_to_a_backend_that_is_about_to_close() {
    for (told, pause) in [("timeout=5", 4_900), ("timeout=1", 900)] {
        let pause = Duration::from_millis(pause);
        let (backend, lost) = closing_after(pause - Duration::from_millis(100), told);
        let site = before(&backend, "");
        let mut client = site.connect();
        let requests = [post("/", "Content-Length: 2\r\n") + "hi", get("/", ""), post("/", CHUNKED) + "0\r\n\r\n"];
        assert_eq!(client.ask(&requests[0]).status(), 200);
        for request in &requests {
            // How long it idles is what matters here.
            sleep(pause);
            assert_eq!(client.ask(request).status(), 200, "{told}: {request}");
        }
        assert_eq!(lost.load(Ordering::SeqCst), 0, "{told}");
    }
}

#[test]
fn a_connection_is_used_as_long_as_the_backend_says_it_may() {
    let (backend, lost) = closing_after(SOON, "timeout=30, max=100");
    let site = before(&backend, "");
    let mut client = site.connect();
    for _ in 0..3 {
        assert_eq!(client.ask(get("/", "")).status(), 200);
        sleep(Duration::from_millis(1_500));
    }
    assert_eq!((backend.connections(), lost.load(Ordering::SeqCst)), (1, 0));
}

#[test]
fn trailers_of_uploads_go_on_but_for_those_that_frame_or_vouch() {
    let chunks = "5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Forwarded-For: 6.6.6.6\r\nContent-Length: 9\r\nX-Sum: 2\r\n\r\n";
    let upload = post("/", &format!("{CHUNKED}Trailer: x-sum\r\n")) + chunks;
    for (yaml, trailers) in [("", vec!["1", "2"]), ("headers: {request: {remove: [x-sum]}}", vec![])] {
        let backend = Backend::saying("ok");
        let site = before(&backend, yaml);
        let mut client = site.connect();
        for _ in 0..2 {
            assert_eq!(client.ask(&upload).status(), 200);
            let request = backend.requests().pop().expect("a request");
            let sums: Vec<&str> = request
                .trailers
                .iter()
                .map(|(name, value)| {
                    assert_eq!(name, "x-sum");
                    value.as_str()
                })
                .collect();
            assert_eq!((request.text().as_str(), sums), ("hello", trailers.clone()), "{yaml}");
            assert_eq!(request.header("trailer").is_some(), yaml.is_empty());
        }
        assert_eq!(backend.connections(), 1, "{yaml}");
    }
}
