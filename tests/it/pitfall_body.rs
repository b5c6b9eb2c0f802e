//! HTTP_PITFALLS 6, 10, 11 and 12: bodies, their ends, and what comes before them.

use std::time::Duration;

use crate::support::PATIENCE;
use crate::support::backend::{Backend, Refusing, ok};
use crate::support::front::{HOST, before, get, post};
use crate::support::raw::Raw;

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

#[test]
fn answers_without_a_body_have_none_and_leave_the_connection_usable() {
    for (method, answer, length) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", Some("1000")),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        ("HEAD", "HTTP/1.1 200 OK\r\n\r\n", None),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", None),
        // RFC 9110, 15.4.5: a 304 need not tell the length, and hyper does not.
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n", None),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Some("0")),
    ] {
        let backend = Backend::answering(move |_| answer.as_bytes().to_vec());
        let site = before(&backend, "");
        let mut client = site.connect();
        for _ in 0..2 {
            client.send(format!("{method} / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
            let got = client.response_to_head();
            assert_eq!(got.start[9..12], answer[9..12], "{method} {answer:?}");
            assert_eq!(
                (got.header("content-length"), got.header("transfer-encoding")),
                (length, None),
                "{method} {answer:?}"
            );
        }
        assert_eq!(backend.connections(), 1, "{method} {answer:?}");
    }
}

#[test]
fn an_answer_that_ends_with_the_connection_is_chunked_and_whole() {
    let backend = Backend::serving(|mut raw, _| {
        raw.request();
        raw.send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    });
    let site = before(&backend, "");
    let mut client = site.connect();
    for _ in 0..2 {
        let answer = client.ask(get("/", ""));
        assert_eq!((answer.text().as_str(), answer.header("transfer-encoding")), ("until the end", Some("chunked")));
    }
}

#[test]
fn an_http_1_0_backend_is_understood() {
    let backend = Backend::serving(|mut raw, _| {
        raw.request();
        raw.send("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let site = before(&backend, "");
    let mut client = site.connect();
    for _ in 0..2 {
        let answer = client.ask(get("/", ""));
        assert_eq!((answer.start.as_str(), answer.text().as_str()), ("HTTP/1.1 200 OK", "ok"));
    }
    assert_eq!(backend.connections(), 2, "it did not offer to keep the connection");
}

#[test]
fn http_1_0_clients_get_no_chunks_and_a_close() {
    let backend = Backend::answering(|request| {
        assert!(request.start.ends_with("HTTP/1.1"), "the backend is spoken to in our version");
        match request.start.contains("chunked") {
            true => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n".to_vec(),
            false => ok("hello"),
        }
    });
    let site = before(&backend, "");
    for path in ["/chunked", "/length"] {
        let mut client = site.connect();
        client.send(format!("GET {path} HTTP/1.0\r\nHost: {HOST}\r\n\r\n"));
        let answer = client.response();
        assert_eq!((answer.status(), answer.text().as_str(), answer.header("transfer-encoding")), (200, "hello", None));
        assert!(client.is_closed_within(PATIENCE), "{path}");
    }
    let mut client = site.connect();
    for _ in 0..2 {
        let answer = client.ask(format!("GET /length HTTP/1.0\r\nHost: {HOST}\r\nConnection: keep-alive\r\n\r\n"));
        assert_eq!((answer.text().as_str(), answer.header("connection")), ("hello", Some("keep-alive")));
    }
}

/// The first byte of a download comes before the last is sent, and the upload likewise.
#[test]
fn both_ways_stream() {
    let backend = Backend::serving(|mut raw, _| {
        while let Ok(Some(_)) = raw.try_head() {
            // Chunk by chunk, each answered before the next can come.
            raw.send(format!("HTTP/1.1 200 OK\r\n{CHUNKED}\r\n"));
            loop {
                let size = raw.line().expect("a size");
                if size == "0" {
                    break;
                }
                let data = raw.take(usize::from_str_radix(&size, 16).expect("hex")).expect("data");
                raw.line().expect("an end");
                raw.send(format!("{:x}\r\n", data.len())).send(&data).send("\r\n");
            }
            raw.line().expect("an end");
            raw.send("0\r\n\r\n");
        }
    });
    let site = before(&backend, "");
    let mut client = site.connect();
    for _ in 0..2 {
        client.send(post("/", CHUNKED));
        let head = client.head();
        assert_eq!((head.status(), head.header("transfer-encoding")), (200, Some("chunked")));
        for word in ["one", "two", "three"] {
            client.send(format!("{:x}\r\n{word}\r\n", word.len()));
            assert_eq!(client.line().expect("a size"), format!("{:x}", word.len()));
            assert_eq!(client.take(word.len()).expect("data"), word.as_bytes());
            client.line().expect("an end");
        }
        client.send("0\r\n\r\n");
        assert_eq!((client.line().expect("an end"), client.line().expect("an end")), ("0".to_owned(), String::new()));
    }
}

/// A backend that has begun its answer and reads on need not say more meanwhile.
#[test]
fn an_upload_streams_on_while_the_answer_has_begun() {
    let backend = Backend::serving(|mut raw, _| {
        let mut request = raw.head();
        raw.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        raw.body(&mut request, false).expect("all of it");
        raw.send(format!("{:05}", request.body.len()));
    });
    let site = before(&backend, "timeouts: {idle: 2s}");
    let mut client = site.connect();
    client.send(post("/", CHUNKED));
    let mut answer = client.head();
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(400));
        client.send("5\r\nhello\r\n");
    }
    client.send("0\r\n\r\n");
    client.body(&mut answer, true).expect("the answer");
    assert_eq!(answer.text(), "00040");
}

#[test]
fn rule_6_an_answer_that_breaks_off_has_no_clean_end() {
    for (what, sent) in [
        ("by length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"),
        ("chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        ("in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nhello"),
        ("in a bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloxx\r\n0\r\n\r\n"),
        ("in trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum"),
    ] {
        let backend = Backend::serving(move |mut raw, _| {
            raw.request();
            raw.send(sent);
        });
        let site = before(&backend, "");
        let mut client = site.connect();
        client.send(get("/", ""));
        let mut answer = client.head();
        assert_eq!(answer.status(), 200, "{what}");
        assert!(client.body(&mut answer, true).is_err(), "{what}: {answer:?}");
        assert!(client.is_closed_within(PATIENCE), "{what}");
    }
}

#[test]
fn rule_6_an_upload_that_breaks_off_has_no_clean_end() {
    for framing in ["Content-Length: 100\r\n", CHUNKED] {
        let (told, outcome) = std::sync::mpsc::channel();
        let backend = Backend::serving(move |mut raw, _| {
            let mut request = raw.head();
            let body = raw.body(&mut request, false);
            told.send(body.is_err() && raw.is_closed_within(PATIENCE)).expect("the test waits");
        });
        let site = before(&backend, "");
        let mut client = site.connect();
        client.send(post("/", framing)).send(if framing == CHUNKED { "5\r\nhello\r\n" } else { "hello" });
        crate::support::eventually("the request at the backend", || (backend.connections() > 0).then_some(()));
        drop(client);
        assert!(outcome.recv_timeout(PATIENCE).expect("an outcome"), "{framing}");
    }
}

#[test]
fn rule_10_the_client_is_told_to_go_on_only_when_the_backend_takes_the_body() {
    let backend = Backend::saying("ok");
    let site = before(&backend, "max_body: 10");
    let mut client = site.connect();
    client.send(post("/", "Expect: 100-continue\r\nContent-Length: 5\r\n"));
    assert_eq!(client.head().start, "HTTP/1.1 100 Continue");
    assert_eq!(client.ask("hello").text(), "ok");
    let request = backend.requests().remove(0);
    assert_eq!((request.header("expect"), request.text().as_str()), (None, "hello"));
    // An answer without 100: the client does not send, and the connection ends.
    client.send(post("/", "Expect: 100-continue\r\nContent-Length: 50\r\n"));
    let refused = client.response();
    assert_eq!((refused.status(), refused.header("connection")), (413, Some("close")));
    assert_eq!(backend.requests().len(), 1);
}

#[test]
fn rule_10_no_100_where_nobody_can_take_the_body() {
    let closed = Refusing::new();
    let site = crate::support::site::Site::new()
        .service("app", &format!("versions: {{app-001: {{urls: [\"{}\"]}}}}\n", closed.url()))
        .start();
    let mut client = site.connect();
    let answer = client.ask(post("/", "Expect: 100-continue\r\nContent-Length: 5\r\n"));
    assert_eq!((answer.start.as_str(), answer.header("connection")), ("HTTP/1.1 502 Bad Gateway", Some("close")));
}

#[test]
fn rule_11_interim_answers_are_dropped_cleanly() {
    let backend = Backend::answering(|_| {
        let mut answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
                           HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
            .to_vec();
        answer.extend(ok("final"));
        answer
    });
    let site = before(&backend, "");
    let mut client = site.connect();
    for _ in 0..2 {
        let answer = client.ask(get("/", ""));
        assert_eq!((answer.status(), answer.text().as_str(), answer.header("link")), (200, "final", None));
    }
    assert_eq!(backend.connections(), 1);
}

/// Sends a large upload that the server refuses without reading it; the answer must arrive all the same.
fn refused(mut client: Raw, framing: &str, status: u16) {
    let mut writer = client.twin();
    let head = post("/", framing);
    let chunked = framing == CHUNKED;
    let writing = std::thread::spawn(move || {
        let data = vec![b'x'; 64 * 1024];
        let mut sent = writer.try_send(head.as_bytes());
        for _ in 0..64 {
            sent = sent
                && (!chunked || writer.try_send(b"10000\r\n"))
                && writer.try_send(&data)
                && (!chunked || writer.try_send(b"\r\n"));
        }
    });
    // Late, so that a reset would have overtaken the answer.
    writing.join().expect("no panic");
    let answer = client.response();
    assert_eq!((answer.status(), answer.header("connection")), (status, Some("close")), "{framing}");
    let more = client.rest().unwrap_or_default();
    assert!(more.is_empty(), "nothing follows: {}", String::from_utf8_lossy(&more));
}

#[test]
fn rule_12_an_answer_before_the_upload_is_read_arrives() {
    let backend = Backend::saying("ok");
    let site = before(&backend, "max_body: 100KiB");
    refused(site.connect(), "Content-Length: 4194304\r\n", 413);
    refused(site.connect(), CHUNKED, 413);
    site.edit_service("app", &crate::support::front::file(&backend, "maintenance: true"));
    refused(site.connect(), "Content-Length: 4194304\r\n", 503);
}

/// A backend that answers while the upload goes on, and one that then closes.
#[test]
fn rule_12_a_backends_early_answer_arrives() {
    for close in [false, true, true, true, true, true] {
        let backend = Backend::serving(move |mut raw, _| {
            raw.head();
            raw.take(1000).expect("a part of the body");
            raw.send("HTTP/1.1 413 Payload Too Large\r\n");
            raw.send(if close { "Connection: close\r\n" } else { "" }).send("Content-Length: 4\r\n\r\nbig!");
            // A close with unread bytes is a reset; else what comes is read and thrown away.
            if !close {
                while raw.take(1).is_ok() {}
            }
        });
        let site = before(&backend, "");
        let mut client = site.connect();
        let mut writer = client.twin();
        let writing = std::thread::spawn(move || {
            let data = vec![b'x'; 64 * 1024];
            let mut open = writer.try_send(post("/", "Content-Length: 4194304\r\n").as_bytes());
            for _ in 0..64 {
                open = open && writer.try_send(&data);
            }
        });
        let answer = client.response();
        assert_eq!((answer.status(), answer.text().as_str()), (413, "big!"), "close: {close}");
        writing.join().expect("no panic");
    }
}
