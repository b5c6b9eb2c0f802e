//! HTTP_PITFALLS 2 and 4: where a message ends, and for whom it is. What two readers could read two ways goes no further.

use crate::support::PATIENCE;
use crate::support::backend::{Backend, ok};
use crate::support::front::{HOST, before, get};
use crate::support::raw::{Message, Raw};
use crate::support::site::Site;

/// Sends bytes on a connection of their own; the first status, and whether the server closed thereafter.
fn answered(site: &Site, bytes: impl AsRef<[u8]>) -> (u16, bool) {
    let mut client = site.connect();
    client.try_send(bytes.as_ref());
    let answer = client.response();
    (answer.status(), client.is_closed_within(PATIENCE))
}

fn head(rest: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{rest}")
}

#[test]
fn rule_2_what_can_be_read_two_ways_is_refused_and_the_connection_closed() {
    let backend = Backend::saying("ok");
    let site = before(&backend, "");
    let next = get("/smuggled", "");
    for (what, rest) in [
        ("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
        ("a list of lengths", "Content-Length: 5, 6\r\n\r\nhello"),
        ("a length with a sign", "Content-Length: +5\r\n\r\nhello"),
        ("a length in hex", "Content-Length: 0x5\r\n\r\nhello"),
        ("a negative length", "Content-Length: -5\r\n\r\nhello"),
        ("no length", "Content-Length:\r\n\r\nhello"),
        ("an enormous length", "Content-Length: 99999999999999999999999\r\n\r\nhello"),
        ("chunked is not last", "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
        ("not chunked at all", "Transfer-Encoding: gzip\r\n\r\nhello"),
        ("a coding nobody undoes", "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        ("two codings", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("a misspelt coding", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ("a quoted coding", "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
        ("a space before the colon", "Content-Length : 5\r\n\r\nhello"),
        ("a tab before the colon", "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n"),
        ("a folded line", "X-Folded: a\r\n Content-Length: 5\r\n\r\nhello"),
        ("a folded first line", " Content-Length: 5\r\n\r\nhello"),
        ("a bare CR", "X-Bare: a\rContent-Length: 5\r\n\r\nhello"),
        ("a NUL", "X-Nul: a\0b\r\nContent-Length: 5\r\n\r\nhello"),
        ("a line without a colon", "Content-Length\r\n\r\nhello"),
        ("an empty name", ": 5\r\n\r\nhello"),
        ("a name that is no token", "Content(Length): 5\r\n\r\nhello"),
    ] {
        let (status, closed) = answered(&site, head(rest) + &next);
        assert!(matches!(status, 400 | 501) && closed, "{what}: {status}, closed: {closed}");
    }
    for (what, line) in [
        ("an unknown version", "GET / HTTP/2.0"),
        ("a version that is none", "GET / HTTP/1.x"),
        ("two spaces", "GET  / HTTP/1.1"),
        ("a tab", "GET\t/ HTTP/1.1"),
        ("no method", " / HTTP/1.1"),
        ("a bad method", "GE(T / HTTP/1.1"),
        ("a fragment's garbage", "GET /\x7f HTTP/1.1"),
        ("a third word", "GET / / HTTP/1.1"),
    ] {
        let (status, closed) = answered(&site, format!("{line}\r\nHost: {HOST}\r\n\r\n{next}"));
        assert!(status == 400 && closed, "{what}: {status}, closed: {closed}");
    }
    assert_eq!(backend.requests().len(), 0, "{:?}", backend.requests());
}

#[test]
fn rule_2_http_1_0_has_no_chunks() {
    let backend = Backend::saying("ok");
    let site = before(&backend, "");
    let request = format!(
        "POST / HTTP/1.0\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{}",
        get("/smuggled", "")
    );
    assert_eq!(answered(&site, request), (400, true));
    assert_eq!(backend.requests().len(), 0);
}

#[test]
fn rule_2_broken_chunks_break_the_request_and_nothing_after_them_is_one() {
    let backend = Backend::saying("ok");
    let site = before(&backend, "");
    for (what, chunks) in [
        ("no size", "\r\nhello\r\n0\r\n\r\n"),
        ("not hex", "g\r\nhello\r\n0\r\n\r\n"),
        ("hex with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("a sign", "+5\r\nhello\r\n0\r\n\r\n"),
        ("an overflow", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("a bare LF after the size", "5\nhello\r\n0\r\n\r\n"),
        ("no line end after the data", "5\r\nhello0\r\n\r\n"),
        ("a bare LF in an extension", "5;a\nhello\r\n0\r\n\r\n"),
    ] {
        let request = format!("{}Transfer-Encoding: chunked\r\n\r\n{chunks}{}", head(""), get("/smuggled", ""));
        let mut client = site.connect();
        client.try_send(request.as_bytes());
        let answer = client.try_head().expect("an answer or the end");
        let status = answer.as_ref().map(Message::status);
        assert!(status.is_none_or(|status| status == 400), "{what}: {status:?}");
        assert!(client.rest().is_ok_and(|rest| !rest.windows(8).any(|w| w == b"HTTP/1.1")), "{what}: two answers");
    }
    assert!(backend.requests().is_empty(), "{:?}", backend.requests());
}

/// RFC 9112, 2.2, lets a server take a bare LF for a line's end; what goes on has none.
#[test]
fn rule_2_bare_line_feeds_go_no_further() {
    let backend = Backend::saying("ok");
    let site = before(&backend, "");
    let mut client = site.connect();
    let answer = client.ask(format!("POST / HTTP/1.1\nHost: {HOST}\nX-A: b\nContent-Length: 5\n\nhello"));
    assert_eq!(answer.status(), 200);
    let trailers = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Late: y\n\n";
    assert_eq!(client.ask(head(trailers) + &get("/smuggled", "")).status(), 200);
    for request in backend.requests() {
        assert_eq!((request.start.as_str(), request.text().as_str()), ("POST / HTTP/1.1", "hello"));
        assert!(request.headers.iter().all(|(name, value)| name != "x-late" && !value.contains('\n')));
    }
    assert_eq!(backend.requests().len(), 2);
}

#[test]
fn rule_2_chunk_extensions_go_no_further() {
    let backend = Backend::saying("ok");
    let site = before(&backend, "");
    let mut client = site.connect();
    let answer =
        client.ask(head("Transfer-Encoding: Chunked\r\n\r\n2;a=b;c=\"d\"\r\nhe\r\n003 ;x\r\nllo\r\n0;last\r\n\r\n"));
    assert_eq!(answer.status(), 200);
    let request = backend.requests().remove(0);
    assert_eq!((request.text().as_str(), request.headers_named("transfer-encoding")), ("hello", vec!["chunked"]));
    assert_eq!(client.ask(get("/", "")).status(), 200);
}

#[test]
fn rule_2_chunked_wins_over_a_length_and_the_connection_is_not_used_again() {
    let backend = Backend::saying("ok");
    let site = before(&backend, "");
    for lines in ["Content-Length: 4\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 4"]
    {
        let request = head(&format!("{lines}\r\n\r\n5\r\nhello\r\n0\r\n\r\n")) + &get("/smuggled", "");
        let mut client = site.connect();
        let answer = client.ask(request);
        assert_eq!((answer.status(), answer.header("connection")), (200, Some("close")));
        assert!(client.rest().is_ok_and(|rest| rest.is_empty()), "closed without a second answer");
    }
    let requests = backend.requests();
    assert_eq!(requests.len(), 2, "{requests:?}");
    for request in requests {
        assert_eq!((request.text().as_str(), request.header("content-length")), ("hello", None));
        assert_eq!(request.headers_named("transfer-encoding"), ["chunked"]);
    }
}

#[test]
fn rule_2_equal_lengths_become_one() {
    let backend = Backend::saying("ok");
    let site = before(&backend, "");
    assert_eq!(site.connect().ask(head("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello")).status(), 200);
    let request = backend.requests().remove(0);
    assert_eq!((request.text().as_str(), request.headers_named("content-length")), ("hello", vec!["5"]));
}

#[test]
fn rule_2_every_method_may_have_a_body_and_keeps_its_framing() {
    let backend = Backend::saying("ok");
    let site = before(&backend, "");
    let mut client = site.connect();
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "POST", "PURGE"] {
        for (framing, chunked) in [
            ("Content-Length: 5\r\n\r\nhello", false),
            ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", true),
        ] {
            client.send(format!("{method} / HTTP/1.1\r\nHost: {HOST}\r\n{framing}"));
            let status = if method == "HEAD" { client.response_to_head() } else { client.response() }.status();
            let request = backend.requests().pop().expect("a request");
            assert_eq!((status, request.text().as_str()), (200, "hello"), "{method} {framing:?}");
            let lengths = (request.header("content-length"), request.header("transfer-encoding"));
            assert_eq!(
                lengths,
                if chunked { (None, Some("chunked")) } else { (Some("5"), None) },
                "{method} {framing:?}"
            );
        }
    }
}

#[test]
fn rule_2_no_body_gets_no_chunks() {
    let backend = Backend::saying("ok");
    let site = before(&backend, "");
    let mut client = site.connect();
    assert_eq!(client.ask(get("/", "")).status(), 200);
    assert_eq!(client.ask(head("Content-Length: 0\r\n\r\n")).status(), 200);
    assert_eq!(client.ask(head("\r\n")).status(), 200);
    for request in backend.requests() {
        assert_eq!((request.header("transfer-encoding"), request.text().as_str()), (None, ""));
        assert!(request.header("content-length").is_none_or(|length| length == "0"));
    }
}

#[test]
fn rule_2_a_backends_answer_that_can_be_read_two_ways_is_not_passed_on() {
    for (what, answer) in [
        (
            "both framings",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
        ("a bad length", "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello"),
        ("a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello"),
        (
            "a coding nobody undoes",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        ("chunked is not last", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        ("a space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello"),
        ("a folded line", "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 5\r\n\r\nhello"),
        ("no HTTP", "hello\r\n\r\n"),
        ("HTTP/0.9", "hello"),
        ("another protocol", "SSH-2.0-OpenSSH_9.6\r\n"),
        ("a bad status", "HTTP/1.1 2000 OK\r\n\r\n"),
        ("a length twice", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
        ("a bare line feed", "HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\nhello"),
        (
            "a 101 nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        ),
    ] {
        let backend = Backend::serving(move |mut raw, _| {
            raw.request();
            raw.send(answer);
        });
        let site = before(&backend, "");
        let mut client = site.connect();
        let answer = client.ask(get("/", ""));
        assert_eq!(answer.status(), 502, "{what}");
        let proxy_status = answer.header("proxy-status").unwrap_or_default();
        assert!(proxy_status.contains("fault=upstream"), "{what}: {proxy_status}");
    }
}

#[test]
fn rule_2_what_a_backend_sends_after_its_answer_reaches_nobody() {
    let backend = Backend::serving(|mut raw, _| {
        while let Ok(Some(request)) = raw.try_head() {
            let mut answer = ok(&request.start);
            answer.extend(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
            if !raw.try_send(&answer) {
                return;
            }
        }
    });
    let site = before(&backend, "");
    let mut client = site.connect();
    for path in ["/a", "/b", "/c"] {
        let answer = client.ask(get(path, ""));
        assert_eq!((answer.status(), answer.text()), (200, format!("GET {path} HTTP/1.1")));
    }
}

#[test]
fn rule_4_there_is_exactly_one_host() {
    let backend = Backend::saying("ok");
    let site = before(&backend, "");
    for (what, request) in [
        ("none", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        ("two", format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nHost: {HOST}\r\n\r\n")),
        ("two that differ", format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nHost: other.localhost\r\n\r\n")),
        ("an empty one", "GET / HTTP/1.1\r\nHost:\r\n\r\n".to_owned()),
        ("a list", format!("GET / HTTP/1.1\r\nHost: {HOST}, other.localhost\r\n\r\n")),
        ("user info", format!("GET / HTTP/1.1\r\nHost: me@{HOST}\r\n\r\n")),
        ("a path", format!("GET / HTTP/1.1\r\nHost: {HOST}/x\r\n\r\n")),
        ("a bad port", format!("GET / HTTP/1.1\r\nHost: {HOST}:http\r\n\r\n")),
        ("absolute, with two", format!("GET http://{HOST}/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")),
        ("absolute, with none", format!("GET http://{HOST}/ HTTP/1.1\r\n\r\n")),
        ("absolute, with user info", format!("GET http://me@{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n")),
        ("HTTP/1.0 without", "GET / HTTP/1.0\r\n\r\n".to_owned()),
    ] {
        let mut client = site.connect();
        let answer = client.ask(request);
        assert_eq!(answer.status(), 400, "{what}");
        assert_eq!(answer.header("proxy-status"), Some("tidegate; error=http_request_error; fault=client"), "{what}");
    }
    assert!(backend.requests().is_empty());
}

#[test]
fn rule_4_an_absolute_target_wins_over_host_and_goes_on_in_origin_form() {
    let backend = Backend::saying("ok");
    let other = Backend::saying("other");
    let site = crate::support::front::builder(&backend, "").service("other", &other.as_only_version("other")).start();
    let mut client = site.connect();
    for (target, forwarded) in [
        ("http://APP.localhost/a?b=c", ("GET /a?b=c HTTP/1.1", HOST)),
        ("http://app.localhost.:8080/a", ("GET /a HTTP/1.1", "app.localhost:8080")),
        ("http://app.localhost", ("GET / HTTP/1.1", HOST)),
        ("http://app.localhost?x=1", ("GET /?x=1 HTTP/1.1", HOST)),
        ("HTTP://app.localhost/", ("GET / HTTP/1.1", HOST)),
    ] {
        let answer = client.ask(format!("GET {target} HTTP/1.1\r\nHost: other.localhost\r\n\r\n"));
        assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"), "{target}");
        let request = backend.requests().pop().expect("a request");
        let (start, host) = forwarded;
        assert_eq!((request.start.as_str(), request.headers_named("host")), (start, vec![host]), "{target}");
    }
    assert!(other.requests().is_empty());
}

#[test]
fn rule_4_the_one_normal_form_is_routed_logged_and_forwarded() {
    let backend = Backend::saying("ok");
    let site = crate::support::front::builder(&backend, "").root("access_log: access.log\n").start();
    let answer =
        site.connect().ask("GET /%61/../b//c%2f HTTP/1.1\r\nHost: APP.Localhost.:8080\r\nConnection: close\r\n\r\n");
    assert_eq!(answer.status(), 200);
    let request = backend.requests().remove(0);
    // The port goes on, for backends compare the host with what browsers send as `Origin`.
    assert_eq!(
        (request.start.as_str(), request.headers_named("host")),
        ("GET /b//c%2F HTTP/1.1", vec!["app.localhost:8080"])
    );
    assert_eq!(request.header("x-forwarded-host"), Some("app.localhost:8080"));
    let log = site.path().join("access.log");
    let line = crate::support::eventually("an access line", || {
        std::fs::read_to_string(&log).ok().filter(|text| text.ends_with('\n'))
    });
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((line["host"].as_str(), line["path"].as_str()), (Some(HOST), Some("/b//c%2F")), "{line}");
}

#[test]
fn rule_4_a_target_that_is_no_path_goes_nowhere() {
    let backend = Backend::saying("ok");
    let site = before(&backend, "");
    for target in ["app.localhost", "*", "app.localhost:80"] {
        let mut client = site.connect();
        let answer = client.ask(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
        assert_eq!(answer.status(), 400, "{target}");
        assert!(client.is_closed_within(PATIENCE), "{target}");
    }
    assert!(backend.requests().is_empty());
}

#[test]
fn options_of_the_whole_server_go_on() {
    let backend = Backend::saying("ok");
    let site = before(&backend, "");
    assert_eq!(site.connect().ask(format!("OPTIONS * HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).status(), 200);
    assert_eq!(backend.requests().remove(0).start, "OPTIONS * HTTP/1.1");
}

#[test]
fn pipelined_requests_are_answered_in_turn() {
    let backend = Backend::answering(|request| ok(request.start.split(' ').nth(1).unwrap_or_default()));
    let site = before(&backend, "");
    let mut client: Raw = site.connect();
    let paths: Vec<String> = (0..20).map(|n| format!("/{n}")).collect();
    let mut all: String = paths.iter().map(|path| get(path, "")).collect();
    all.push_str(&head("Content-Length: 5\r\n\r\nhello"));
    client.send(all);
    for path in &paths {
        assert_eq!(client.response().text(), *path);
    }
    assert_eq!(client.response().text(), "/");
    assert_eq!(backend.connections(), 1);
}
