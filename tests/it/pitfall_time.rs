//! HTTP_PITFALLS 8: every wait has an end. Upper bounds are generous, and so are lower ones where a wait may begin before it is timed.

use std::sync::mpsc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::backend::{Backend, ok};
use crate::support::eventually;
use crate::support::front::{HOST, before, builder, get, post};
use crate::support::raw::Raw;
use crate::support::site::Site;

const SOON: Duration = Duration::from_secs(30);
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// How long `what` takes.
fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let outcome = what();
    (outcome, began.elapsed())
}

/// Reads requests and answers none.
fn mute() -> Backend {
    Backend::serving(|mut raw, _| while raw.take(1).is_ok() {})
}

#[test]
fn rule_8_a_head_has_to_come_in_time_however_it_trickles() {
    let backend = Backend::saying("ok");
    let site = builder(&backend, "").root("client: {request_head: 1s, keep_alive: 60s}\n").start();
    // The first, and one after an answer; in one piece, and byte by byte.
    for second in [false, true] {
        for piece in ["GET / HTTP/1.1\r\nHost:", ""] {
            let mut client = site.connect();
            if second {
                assert_eq!(client.ask(get("/", "")).status(), 200);
            }
            if second && piece.is_empty() {
                continue;
            }
            let ((), took) = timed(|| {
                client.send(piece);
                let mut writer = client.twin();
                let trickle = std::thread::spawn(move || {
                    let began = Instant::now();
                    while began.elapsed() < SOON && (piece.is_empty() || writer.try_send(b"x")) {
                        sleep(ms(20));
                        if piece.is_empty() {
                            return;
                        }
                    }
                });
                assert!(client.rest().unwrap_or_default().is_empty());
                trickle.join().expect("no panic");
            });
            assert!(took >= ms(500) && took < SOON, "second: {second}, {piece:?}: {took:?}");
        }
    }
}

#[test]
fn rule_8_an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let backend = Backend::answering(|request| {
        if request.start.contains("/slow") {
            sleep(ms(1500));
        }
        ok("ok")
    });
    let site = builder(&backend, "").root("client: {request_head: 60s, keep_alive: 1s}\n").start();
    let mut client = site.connect();
    assert_eq!(client.ask(get("/slow", "")).status(), 200);
    let (closed, took) = timed(|| client.is_closed_within(SOON));
    assert!(closed && took >= ms(500), "{took:?}");
    // Also where it is quiet for so long that its buffers are given back meanwhile.
    let site = builder(&backend, "").root("client: {keep_alive: 1s}\n").start();
    let mut client = site.connect();
    assert_eq!(client.ask(get("/", "")).status(), 200);
    let (closed, took) = timed(|| client.is_closed_within(SOON));
    assert!(closed && took >= ms(1000), "{took:?}");
}

/// A connection that is quiet for a while gives back its buffers, but nothing of what it has received.
#[test]
fn a_connection_that_was_quiet_goes_on_where_it_was() {
    let backend = Backend::answering(|request| ok(&request.start));
    let site = before(&backend, "");
    let mut whole = site.connect();
    let mut begun = site.connect();
    assert_eq!(whole.ask(get("/1", "")).text(), "GET /1 HTTP/1.1");
    let (head, tail) = ("GET /2 HTTP/1.1\r\nHo", format!("st: {HOST}\r\n\r\n"));
    assert_eq!(begun.ask(get("/1", "") + head).text(), "GET /1 HTTP/1.1");
    for _ in 0..2 {
        sleep(ms(900));
        assert_eq!(whole.ask(get("/2", "")).text(), "GET /2 HTTP/1.1");
        begun.send(&tail[..2]);
        assert_eq!(begun.ask(tail[2..].to_owned() + head).text(), "GET /2 HTTP/1.1");
    }
    sleep(ms(900));
    assert!(whole.finish().is_closed_within(SOON) && begun.finish().is_closed_within(SOON));
}

#[test]
fn rule_8_an_upload_that_stands_still_ends_and_is_the_clients_fault() {
    for framing in ["Content-Length: 100\r\n", CHUNKED] {
        let backend = mute();
        let site = before(&backend, "timeouts: {idle: 200ms}");
        let mut client = site.connect();
        let (answer, took) = timed(|| client.ask(post("/", framing) + "5\r\nhe"));
        assert_eq!((answer.status(), answer.header("connection")), (408, Some("close")), "{framing}");
        assert_eq!(answer.header("proxy-status"), Some("tidegate; error=http_request_error; fault=client"));
        assert!(took >= ms(200), "{framing}: {took:?}");
    }
}

#[test]
fn a_slow_upload_that_moves_is_not_cut() {
    let backend = Backend::saying("ok");
    // Slower than the time for an answer, which begins when the request is out.
    let site = before(&backend, "timeouts: {idle: 2s, response_head: 2s}");
    let mut client = site.connect();
    client.send(post("/", CHUNKED));
    for _ in 0..6 {
        sleep(ms(400));
        client.send("5\r\nhello\r\n");
    }
    assert_eq!(client.ask("0\r\n\r\n").text(), "ok");
    assert_eq!(backend.requests().remove(0).text(), "hello".repeat(6));
}

/// Uploads until the server ends it; the answer.
fn endless_upload(site: &Site) -> (crate::support::raw::Message, Duration) {
    let mut client = site.connect();
    let mut writer = client.twin();
    client.send(post("/", "Content-Length: 1000000000\r\n"));
    let writing = std::thread::spawn(move || while writer.try_send(&[b'x'; 64 * 1024]) {});
    let outcome = timed(|| client.response());
    drop(client);
    writing.join().expect("no panic");
    outcome
}

#[test]
fn rule_8_a_backend_that_does_not_take_an_upload_is_at_fault() {
    for timeouts in ["{idle: 1s, response_head: off}", "{idle: 1s, response_head: 60s}"] {
        let (told, waits) = mpsc::channel::<()>();
        let waits = std::sync::Mutex::new(waits);
        let backend = Backend::serving(move |mut raw, _| {
            raw.head();
            // Reads no more until the test is over.
            let over = waits.lock().expect("no panic").recv_timeout(SOON).is_err();
            drop((raw, over));
        });
        let site = before(&backend, &format!("timeouts: {timeouts}"));
        let (answer, took) = endless_upload(&site);
        assert_eq!(answer.status(), 504, "{timeouts}");
        assert_eq!(answer.header("proxy-status"), Some("tidegate; error=http_response_timeout; fault=upstream"));
        assert!(took >= ms(500) && took < SOON, "{timeouts}: {took:?}");
        drop(told);
    }
}

#[test]
fn rule_8_an_answer_has_to_begin_in_time() {
    let backend = mute();
    let site = before(&backend, "timeouts: {response_head: 200ms}");
    let mut client = site.connect();
    for request in [get("/", ""), post("/", "Content-Length: 2\r\n") + "hi"] {
        let (answer, took) = timed(|| client.ask(request));
        assert_eq!(answer.status(), 504);
        assert_eq!(answer.header("proxy-status"), Some("tidegate; error=http_response_timeout; fault=upstream"));
        assert!(took >= ms(200), "{took:?}");
    }
}

#[test]
fn rule_8_an_answer_has_to_keep_coming() {
    let (told, closed) = mpsc::channel();
    let backend = Backend::serving(move |mut raw, _| {
        raw.head();
        raw.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
        for _ in 0..4 {
            sleep(ms(400));
            raw.send("x");
        }
        told.send(raw.is_closed_within(SOON)).expect("the test waits");
    });
    let site = before(&backend, "timeouts: {idle: 1500ms}");
    let mut client = site.connect();
    client.send(get("/", ""));
    let mut answer = client.head();
    let (outcome, took) = timed(|| client.body(&mut answer, true));
    assert!(outcome.is_err() && took >= ms(1500), "{took:?}");
    assert_eq!(closed.recv_timeout(SOON), Ok(true), "the backend is told");
}

#[test]
fn off_is_off() {
    let backend = Backend::serving(|mut raw, _| {
        raw.head();
        sleep(ms(400));
        raw.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
        sleep(ms(400));
        raw.send("ok");
    });
    let site = before(&backend, "timeouts: {idle: off, response_head: off, connect: off, total: off}");
    assert_eq!(site.connect().ask(get("/", "")).text(), "ok");
}

#[test]
fn the_whole_has_to_end_in_time() {
    let backend = mute();
    let site = before(&backend, "timeouts: {total: 200ms}");
    let (answer, took) = timed(|| site.connect().ask(get("/", "")));
    assert_eq!(answer.status(), 504);
    assert!(took >= ms(200), "{took:?}");
}

/// Sends without end, as fast as it is taken.
fn torrent() -> Backend {
    Backend::serving(|mut raw, _| {
        raw.head();
        raw.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while raw.try_send(&[b'x'; 16 * 1024]) {}
    })
}

/// Reads now and then until the end.
fn sip(client: &mut Raw) {
    client.head();
    while client.take(32 * 1024).is_ok() {
        sleep(ms(5));
    }
}

#[test]
fn the_whole_has_to_end_in_time_also_where_it_keeps_moving() {
    let backend = torrent();
    let site = before(&backend, "timeouts: {total: 1s}");
    let mut client = site.connect();
    client.send(get("/", ""));
    let ((), took) = timed(|| sip(&mut client));
    assert!(took >= ms(500) && took < SOON, "{took:?}");
    eventually("the lease's return", || (site.version("app-001")["in_flight"] == 0).then_some(()));
}

#[test]
fn the_whole_has_to_end_in_time_also_where_the_client_reads_nothing() {
    let backend = torrent();
    let site = before(&backend, "timeouts: {total: 1s, idle: off}");
    let mut client = site.connect();
    client.send(get("/", ""));
    client.head();
    eventually("the lease's return", || (site.version("app-001")["in_flight"] == 0).then_some(()));
}

#[test]
fn rule_8_a_client_that_takes_nothing_is_cut() {
    let backend = torrent();
    let site = before(&backend, "timeouts: {idle: 1s}");
    let mut client = site.connect();
    client.send(get("/", ""));
    client.head();
    eventually("the lease's return", || (site.version("app-001")["in_flight"] == 0).then_some(()));
    eventually("the connection's end", || (site.status()["connections"] == 0).then_some(()));
}

#[test]
fn rule_8_a_client_that_takes_little_is_not_cut() {
    const LENGTH: usize = 8 * 1024 * 1024;
    let backend = Backend::answering(|_| {
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + LENGTH, b'x');
        answer
    });
    let site = before(&backend, "timeouts: {idle: 2s}");
    let mut client = site.connect();
    client.send(get("/", ""));
    client.head();
    for _ in 0..8 {
        sleep(ms(300));
        assert_eq!(client.take(LENGTH / 8).expect("more").len(), LENGTH / 8);
    }
    assert_eq!(client.ask(get("/", "")).body.len(), LENGTH, "the connection lives on");
}

/// The last of an answer still lies in the server when the backend is done; the client takes its time, more of it than a
/// connection may be idle.
#[test]
fn rule_8_a_client_that_rests_before_the_end_gets_the_end() {
    let backend = Backend::answering(|request| {
        let length: usize = request.header("x-length").and_then(|l| l.parse().ok()).expect("a length");
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + length, b'x');
        answer
    });
    let site = builder(&backend, "").root("client: {keep_alive: 200ms}\n").start();
    // What the kernel holds for a client that does not read is not known; what is a little more lies in the server.
    let (mut fits, mut too_much) = (256 * 1024, 12 * 1024 * 1024);
    let mut resting = Vec::new();
    while too_much - fits > 32 * 1024 {
        let length = usize::midpoint(fits, too_much);
        let mut client = site.connect();
        client.send(get("/", &format!("X-Length: {length}\r\n")));
        client.head();
        let done = (0..10).any(|_| {
            sleep(ms(10));
            site.version("app-001")["in_flight"] == 0
        });
        if done {
            fits = length;
            resting.push((client, length));
        } else {
            too_much = length;
            drop(client);
            eventually("the lease's return", || (site.version("app-001")["in_flight"] == 0).then_some(()));
        }
    }
    sleep(ms(500));
    for (mut client, length) in resting {
        assert_eq!(client.take(length).map(|body| body.len()).ok(), Some(length));
    }
}

#[test]
fn rule_8_a_connection_has_to_be_made_in_time() {
    // A listener whose queue is full: the kernel drops what more would connect.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
    socket.listen(0).expect("listen");
    let full = socket.local_addr().expect("an address").as_socket().expect("IPv4");
    let _queued: Vec<_> = (0..4).map(|_| std::net::TcpStream::connect_timeout(&full, ms(50))).collect();
    let yaml = format!("timeouts: {{connect: 200ms}}\nversions: {{app-001: {{urls: [\"http://{full}\"]}}}}\n");
    let site = Site::new().service("app", &yaml).start();
    let (answer, took) = timed(|| site.connect().ask(get("/", "")));
    assert_eq!(answer.status(), 504);
    assert_eq!(answer.header("proxy-status"), Some("tidegate; error=connection_timeout; fault=upstream"));
    assert!(took >= ms(200) && took < SOON, "{took:?}");
}

#[test]
fn a_held_request_ends_with_the_start_timeout() {
    let site = Site::new()
        .service(
            "app",
            "versions: {app-001: {command: [sleep, \"60\"], start: {timeout: 300ms}, stop: {grace: 100ms}}}\n",
        )
        .start();
    let mut client = site.connect();
    let answer = client.ask(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    assert!(matches!(answer.status(), 503 | 504), "{}", answer.status());
    let status = answer.header("proxy-status");
    assert_eq!(status, Some("tidegate; error=destination_unavailable; fault=wake"));
}
