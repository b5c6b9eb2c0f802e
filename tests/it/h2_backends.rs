//! Backends that speak HTTP/2: translation, shared connections, and what may be sent again (HTTP_PITFALLS 1, 5 and 6).

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue};

use crate::support::backend::Backend;
use crate::support::eventually;
use crate::support::front::HOST;
use crate::support::h2::{Client, Server, collect, request};
use crate::support::raw::Raw;
use crate::support::site::Site;

fn before(server: &Server, yaml: &str) -> Site {
    Site::new().service("app", &server.file(yaml)).start()
}

#[test]
fn requests_and_answers_are_translated_both_ways() {
    let server = Server::start(100, None);
    let site = before(&server, "headers: {request: {set: {x-set: yes}}}");
    let mut raw = site.connect();
    let answer = raw.ask(format!(
        "POST /a/../b?q=1 HTTP/1.1\r\nHost: {HOST}:81\r\nConnection: x-mine, keep-alive\r\nx-mine: 1\r\nTE: trailers\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-late: 1\r\n\r\n"
    ));
    assert_eq!(answer.text(), format!("POST http://{HOST}:81/b?q=1|hello"));
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "none".to_owned())], "what the policy edits sends none on");
    let got = server.seen().requests.lock().expect("no panic")[0].clone();
    assert_eq!(
        (got.headers().get("x-mine"), got.headers().get("host"), got.headers().get("connection")),
        (None, None, None)
    );
    assert_eq!(got.headers()["x-set"], "yes");
    assert_eq!(got.headers()["te"], "trailers");
    assert_eq!(got.headers()["x-forwarded-for"], "127.0.0.1");
    assert!(!got.headers().contains_key("transfer-encoding"));
    assert!(
        raw.ask(format!("HEAD /x HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n").as_bytes()).status() == 200
    );

    let server = Server::start(100, None);
    let site = before(&server, "");
    let client = Client::connect(site.http());
    let mut trailers = HeaderMap::new();
    trailers.insert("x-mine", HeaderValue::from_static("1"));
    let answer = client.send(request("POST", HOST, "/"), b"hello", Some(trailers));
    assert_eq!((answer.text(), answer.trailer("x-sum")), (format!("POST http://{HOST}/|hello"), Some("1")));
    let large = client.send(request("POST", HOST, "/"), &vec![b'x'; 3_000_000], None);
    assert_eq!(large.body.len(), format!("POST http://{HOST}/|").len() + 3_000_000);
    assert_eq!(client.get(HOST, "/large").body.len(), 5_000_000);
    assert_eq!(site.get(HOST, "/large").body.len(), 5_000_000);
    assert!(server.connections() <= 2, "one per thread, not {}", server.connections());
}

#[test]
fn a_connections_limit_on_streams_is_no_limit() {
    let server = Server::start(3, None);
    let site = before(&server, "");
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| assert_eq!(site.get(HOST, "/slow").text(), "slow"));
        }
    });
    assert!(began.elapsed() < Duration::from_secs(3), "{:?} for 40 at a time of 300 ms", began.elapsed());
    assert!((14..=20).contains(&server.connections()), "{} connections", server.connections());
    let before = server.connections();
    for _ in 0..20 {
        assert_eq!(site.get(HOST, "/").status(), 200);
    }
    assert_eq!(server.connections(), before, "they are used again");
}

#[test]
fn what_the_backend_has_not_looked_at_is_sent_again_and_nothing_else() {
    let server = Server::start(100, None);
    let site = before(&server, "");
    let post = |path: &str| {
        let mut raw = site.connect();
        raw.ask(format!("POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n"))
    };
    let count = |path: &str| {
        let requests = server.seen().requests.lock().expect("no panic");
        requests.iter().filter(|one| one.uri().path() == path).count()
    };
    assert_eq!((post("/refuse").status(), count("/refuse")), (200, 3));
    let refused = post("/refuse-all");
    assert_eq!(refused.status(), 503);
    assert!(count("/refuse-all") > 2 && refused.header("retry-after").is_some());
    let answer = post("/internal");
    assert_eq!((answer.status(), count("/internal")), (502, 1));
    assert_eq!(answer.header("proxy-status"), Some("tidegate; error=connection_terminated; fault=upstream"));
}

#[test]
fn an_answer_that_breaks_off_breaks_off() {
    let server = Server::start(100, None);
    let site = before(&server, "");
    let answer = Client::connect(site.http()).get(HOST, "/broken");
    assert_eq!((answer.text().as_str(), answer.reset), ("hello", Some(Reason::INTERNAL_ERROR)));
    let mut raw = site.connect();
    raw.send(format!("GET /broken HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    let mut head = raw.head();
    assert!(raw.body(&mut head, true).is_err(), "no last chunk");
}

#[test]
fn a_client_that_leaves_resets_the_stream_and_not_the_connection() {
    let server = Server::start(100, None);
    let site = before(&server, "");
    let mut raw = site.connect();
    raw.send(format!("GET /wait HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    eventually("the request", || (!server.seen().requests.lock().expect("no panic").is_empty()).then_some(()));
    drop(raw);
    eventually("the reset", || (server.seen().resets.load(Ordering::SeqCst) == 1).then_some(()));
    assert_eq!(site.get(HOST, "/").status(), 200);
}

#[test]
fn both_sides_speak_at_the_same_time() {
    let server = Server::start(100, None);
    let site = before(&server, "");
    let client = Client::connect(site.http());
    client.run(|sender| async move {
        let mut sender = sender.ready().await.expect("ready");
        let (response, mut stream) = sender.send_request(request("POST", HOST, "/both"), false).expect("sent");
        stream.send_data(Bytes::from_static(b"one"), false).expect("sent");
        let mut body = response.await.expect("a head").into_body();
        for word in ["one", "two", "three"] {
            assert_eq!(body.data().await.expect("more").expect("data"), word, "flushed at once");
            let next = match word {
                "one" => "two",
                "two" => "three",
                _ => break,
            };
            stream.send_data(Bytes::from(next), false).expect("sent");
        }
        stream.send_data(Bytes::new(), true).expect("sent");
        while let Some(data) = body.data().await {
            assert!(data.expect("an end").is_empty());
        }
    });
    let answer = client.run(|sender| async move {
        let mut sender = sender.ready().await.expect("ready");
        collect(sender.send_request(request("GET", HOST, "/"), true).expect("sent").0.await.expect("a head")).await
    });
    assert_eq!(answer.status, 200);
}

#[test]
fn a_backend_that_does_not_speak_it_is_named() {
    let backend = Backend::serving(|mut raw: Raw, _| {
        raw.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    let file = format!("versions:\n  app-001: {{urls: [\"{}\"], protocol: h2c}}\n", backend.url());
    let site = Site::new().service("app", &file).start();
    let answer = site.get(HOST, "/");
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.header("proxy-status"), Some("tidegate; error=http_protocol_error; fault=upstream"));
    assert!(site.log().contains("it does not speak HTTP/2"), "{}", site.log());
}

/// Server-sent events: each is with the client before the next is there.
#[test]
fn events_are_flushed_at_once_whatever_is_spoken() {
    let (next, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let backend = Backend::serving(move |mut raw: Raw, _| {
        raw.request();
        raw.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for number in 0..3 {
            raw.send(format!("9\r\ndata: {number}\n\n\r\n"));
            if gate.lock().expect("no panic").recv_timeout(Duration::from_secs(60)).is_err() {
                return;
            }
        }
        raw.send("0\r\n\r\n");
    });
    let site = crate::support::front::before(&backend, "");
    let mut raw = site.connect();
    raw.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    raw.head();
    for number in 0..3 {
        assert_eq!(raw.line().expect("a chunk's length"), "9");
        assert_eq!(raw.take(11).expect("an event"), format!("data: {number}\n\n\r\n").as_bytes());
        next.send(()).expect("the backend waits");
    }
    let client = Client::connect(site.http());
    client.run(|sender| async move {
        let mut sender = sender.ready().await.expect("ready");
        let response = sender.send_request(request("GET", HOST, "/"), true).expect("sent").0;
        let mut body = response.await.expect("a head").into_body();
        for number in 0..3 {
            let event = body.data().await.expect("more").expect("data");
            assert_eq!(event, format!("data: {number}\n\n"));
            body.flow_control().release_capacity(event.len()).expect("capacity");
            next.send(()).expect("the backend waits");
        }
    });
}
