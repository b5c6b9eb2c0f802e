//! HTTP/2 from clients, to backends that speak HTTP/1.1 (HTTP_PITFALLS 1, 3, 4, 6 to 9 and 13).

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue};

use crate::support::backend::{Backend, ok};
use crate::support::eventually;
use crate::support::front::{HOST, before, builder};
use crate::support::h2::{
    ACK, CONTINUATION, Client, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, block, collect, get_block, request, send_all,
};
use crate::support::site::Site;

fn echo() -> Backend {
    Backend::answering(|request| ok(&format!("{}|{}", request.start, request.text())))
}

/// A site with TLS for `app.localhost`, and its address.
fn tls_site(backend: &Backend) -> (Site, std::net::SocketAddr) {
    let pair = |dir: &Path| {
        for name in ["shop.pem", "shop.key"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name);
            fs::copy(from, dir.join(name)).expect("copy");
        }
    };
    let yaml = format!("tls: {{certificate: ../shop.pem, key: ../shop.key}}\n{}", backend.as_only_version("shop"));
    let site = Site::new().arranged(pair).root("access_log: access.log\n").service("shop", &yaml).start();
    let http = site.http();
    site.write_root(&format!("listen: {{http: \"{http}\", https: 127.0.0.1:0}}\nthreads: 2\naccess_log: access.log\n"));
    let https = eventually("HTTPS", || site.listen().iter().find_map(|url| url.strip_prefix("https://")?.parse().ok()));
    (site, https)
}

#[test]
fn by_tls_and_in_clear_text_many_requests_share_a_connection() {
    let backend = echo();
    let (site, https) = tls_site(&backend);
    for tls in [true, false] {
        let client = if tls { Client::connect_tls(https, "shop.localhost") } else { Client::connect(site.http()) };
        let answer = client.get("shop.localhost", "/one?x=y");
        assert_eq!((answer.status, answer.text()), (200, "GET /one?x=y HTTP/1.1|".to_owned()));
        let large = "x".repeat(3_000_000);
        let answer = client.send(request("POST", "shop.localhost", "/two"), large.as_bytes(), None);
        assert_eq!(answer.text(), format!("POST /two HTTP/1.1|{large}"));
        let status = site.status();
        assert_eq!(status["http2_connections"], 1);
        client.run(|sender| async move {
            let asks = (0..300).map(|number| {
                let mut sender = sender.clone();
                tokio::spawn(async move {
                    sender = sender.ready().await.expect("ready");
                    let ask = request("GET", "shop.localhost", &format!("/{number}"));
                    let answer = collect(sender.send_request(ask, true).expect("sent").0.await.expect("a head")).await;
                    assert_eq!(answer.text(), format!("GET /{number} HTTP/1.1|"));
                })
            });
            for ask in asks.collect::<Vec<_>>() {
                ask.await.expect("no panic");
            }
        });
        drop(client);
        eventually("no more connections", || (site.status()["http2_connections"] == 0).then_some(()));
    }
    assert_eq!(site.metrics().get("tidegate_http2_connections_total"), 2.0);
    let log = eventually("the access log", || {
        fs::read_to_string(site.path().join("access.log")).ok().filter(|log| log.lines().count() >= 604)
    });
    assert!(log.lines().all(|line| line.contains(r#""HTTP/2""#)), "{log}");
}

#[test]
fn what_begins_like_http2_may_still_be_http1() {
    let backend = echo();
    let site = before(&backend, "");
    let mut raw = site.connect();
    raw.send("P");
    std::thread::sleep(Duration::from_millis(50));
    raw.send(format!("OST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\nhi"));
    assert_eq!(raw.response().text(), "POST / HTTP/1.1|hi");
    let mut frames = Frames::bare(site.http());
    for byte in PREFACE {
        frames.write(&[*byte]);
        std::thread::sleep(Duration::from_millis(2));
    }
    frames.send(SETTINGS, 0, 0, b"");
    assert_eq!(frames.next().expect("settings").kind, SETTINGS);
    // Once HTTP/1.1 is spoken, the preface is nothing but a mistake.
    let mut raw = site.connect();
    assert_eq!(raw.get(HOST, "/").status(), 200);
    raw.send(PREFACE);
    assert!(raw.is_closed_within(Duration::from_secs(30)));
}

#[test]
fn the_first_bytes_may_not_take_for_ever() {
    let backend = echo();
    let site = builder(&backend, "").root("client: {request_head: 300ms}\n").start();
    let mut raw = site.connect();
    raw.send("PRI * HTTP/2.0\r\n");
    assert!(raw.is_closed_within(Duration::from_secs(30)));
}

#[test]
fn requests_are_translated() {
    let backend = echo();
    let site = before(&backend, "");
    let client = Client::connect(site.http());
    let mut ask = request("GET", "APP.localhost.:80", "/a/../b?q");
    let headers = ask.headers_mut();
    for cookie in ["a=1", "b=2; c=3", "d=4"] {
        headers.append("cookie", HeaderValue::from_static(cookie));
    }
    headers.insert("te", HeaderValue::from_static("trailers"));
    headers.insert("host", HeaderValue::from_static("app.localhost:80"));
    headers.insert("x-forwarded-for", HeaderValue::from_static("6.6.6.6"));
    headers.insert("x-mine", HeaderValue::from_static("yes"));
    assert_eq!(client.send(ask, b"", None).status, 200);
    let got = &backend.requests()[0];
    assert_eq!(got.start, "GET /b?q HTTP/1.1");
    assert_eq!(got.headers_named("host"), ["app.localhost:80"]);
    assert_eq!(got.headers_named("cookie"), ["a=1; b=2; c=3; d=4"]);
    assert_eq!(got.headers_named("te"), ["trailers"]);
    assert_eq!(got.headers_named("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(got.headers_named("x-mine"), ["yes"]);
    assert_eq!(got.header("content-length"), None);
    assert_eq!(got.header("transfer-encoding"), None);
    let mut ask = request("GET", HOST, "/");
    ask.headers_mut().insert("host", HeaderValue::from_static("other.localhost"));
    assert_eq!(client.send(ask, b"", None).status, 400);
    let answer = client.send(
        http::Request::builder()
            .method("CONNECT")
            .uri(HOST)
            .version(http::Version::HTTP_2)
            .body(())
            .expect("a request"),
        b"",
        None,
    );
    assert_eq!(answer.status, 405);
    assert_eq!(client.get("nobody.localhost", "/").status, 404);
    assert_eq!(client.get(HOST, "/again").status, 200, "the connection goes on");
}

#[test]
fn a_host_header_does_for_an_authority() {
    let backend = echo();
    let site = before(&backend, "");
    let mut frames = Frames::connect(site.http());
    let own = [(":method", "GET"), (":scheme", "http"), (":path", "/")];
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[&own[..], &[("host", HOST)]].concat()));
    assert_eq!(frames.next_of(&[DATA]).expect("an answer").payload, b"GET / HTTP/1.1|");
    frames.send(HEADERS, END_HEADERS | END_STREAM, 3, &block(&own));
    let body = frames.next_of(&[DATA]).expect("an answer").payload;
    assert!(String::from_utf8_lossy(&body).contains("no valid host"));
}

#[test]
fn trailers_pass_both_ways() {
    let backend = Backend::serving(|mut raw, _| {
        let request = raw.request();
        let seen = request.trailers.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",");
        raw.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nok\r\n");
        raw.send(format!("0\r\nx-sum: {seen}\r\ncontent-length: 9\r\n\r\n"));
    });
    let site = before(&backend, "");
    let client = Client::connect(site.http());
    let mut trailers = HeaderMap::new();
    trailers.insert("x-mine", HeaderValue::from_static("1"));
    trailers.insert("x-forwarded-for", HeaderValue::from_static("6.6.6.6"));
    let answer = client.send(request("POST", HOST, "/"), b"hello", Some(trailers));
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert_eq!(answer.trailer("x-sum"), Some("x-mine=1"));
    assert_eq!(answer.trailer("content-length"), None);
}

#[test]
fn a_truncated_answer_is_reset_and_never_ends_cleanly() {
    let backend = Backend::serving(|mut raw, _| {
        let request = raw.request();
        if request.start.contains("/length") {
            raw.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        } else {
            raw.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        }
    });
    let site = before(&backend, "");
    let client = Client::connect(site.http());
    for path in ["/length", "/chunked"] {
        let answer = client.get(HOST, path);
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{path}");
        assert_eq!(answer.reset, Some(Reason::INTERNAL_ERROR), "{path}");
    }
}

#[test]
fn an_answer_that_nobody_takes_is_held_back_and_in_the_end_reset() {
    let (told, sent) = mpsc::channel();
    let backend = Backend::serving(move |mut raw, _| {
        raw.request();
        raw.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        let mut count = 0_usize;
        while raw.try_send(&[7; 100_000]) {
            count += 100_000;
        }
        told.send(count).expect("the test waits");
    });
    let site = before(&backend, "timeouts: {idle: 500ms}");
    let mut frames = Frames::connect(site.http());
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &get_block(HOST, &[]));
    let mut got = 0;
    while got < 65_535 {
        got += frames.next_of(&[DATA]).expect("data").payload.len();
    }
    // The window is used up; the client is there, and does not take more.
    assert_eq!(frames.refusal(), Some((RST_STREAM, 8)), "CANCEL");
    let sent = sent.recv_timeout(Duration::from_secs(60)).expect("the backend is let go");
    assert!(sent < 20_000_000, "{sent} bytes were taken from the backend for nobody");
    frames.send(PING, 0, 0, &[1; 8]);
    assert_eq!(frames.next_of(&[PING]).expect("a pong").flags, ACK, "the connection goes on");
}

#[test]
fn an_upload_that_the_backend_does_not_take_is_held_back() {
    let backend = Backend::serving(|mut raw, _| {
        let mut request = raw.head();
        if request.start.contains("/quick") {
            raw.send(ok("quick"));
            return;
        }
        std::thread::sleep(Duration::from_secs(1));
        raw.body(&mut request, false).expect("a body");
        raw.send(ok(&request.body.len().to_string()));
    });
    let site = before(&backend, "");
    let client = Client::connect(site.http());
    client.run(|sender| async move {
        let mut sender = sender.ready().await.expect("ready");
        let (response, mut stream) = sender.send_request(request("POST", HOST, "/slow"), false).expect("sent");
        let upload = tokio::spawn(async move {
            send_all(&mut stream, Bytes::from(vec![7; 30_000_000]), None).await;
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!upload.is_finished(), "nobody has room for so much");
        let mut sender = sender.ready().await.expect("ready");
        let quick = sender.send_request(request("GET", HOST, "/quick"), true).expect("sent").0;
        assert_eq!(collect(quick.await.expect("a head")).await.text(), "quick", "others are not held up");
        assert_eq!(collect(response.await.expect("a head")).await.text(), "30000000");
    });
}

#[test]
fn a_request_that_is_cancelled_is_cancelled_at_the_backend() {
    let (told, heard) = mpsc::channel();
    let backend = Backend::serving(move |mut raw, _| {
        raw.request();
        told.send("asked").expect("the test waits");
        if raw.is_closed_within(Duration::from_secs(60)) {
            told.send("left").expect("the test waits");
        }
    });
    let site = before(&backend, "");
    let mut frames = Frames::connect(site.http());
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &get_block(HOST, &[]));
    assert_eq!(heard.recv_timeout(Duration::from_secs(60)), Ok("asked"));
    frames.send(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
    assert_eq!(heard.recv_timeout(Duration::from_secs(60)), Ok("left"));
    eventually("the lease is back", || (site.version("app-001")["in_flight"] == 0).then_some(()));
    let aborted = r#"tidegate_requests_total{service="app",version="app-001",class="aborted"}"#;
    assert_eq!(site.metrics().find(aborted), Some(1.0), "{}", site.metrics().text());
}

#[test]
fn an_early_answer_to_an_upload_arrives_whole() {
    let backend = echo();
    let site = before(&backend, "max_body: 1KiB");
    let client = Client::connect(site.http());
    for _ in 0..3 {
        let answer = client.send(request("POST", HOST, "/"), &vec![7; 5_000_000], None);
        assert_eq!(answer.status, 413);
        assert!(matches!(answer.reset, None | Some(Reason::NO_ERROR)), "{answer:?}");
    }
    assert_eq!(client.get(HOST, "/").status, 200);
}

#[test]
fn limits_are_told_and_kept() {
    let backend = Backend::serving(|mut raw, _| {
        while let Ok(Some(request)) = raw.try_head() {
            if request.start.contains("/slow") {
                std::thread::sleep(Duration::from_secs(60));
            }
            raw.send(ok("ok"));
        }
    });
    let yaml = "client: {max_head: 8KiB, http2: {max_streams: 3, max_resets: 5}}\n";
    let site = builder(&backend, "").root(yaml).start();
    let mut frames = Frames::connect(site.http());
    let settings = frames.next_of(&[SETTINGS]).expect("settings").payload;
    let told: Vec<(u16, u32)> = settings
        .chunks(6)
        .map(|one| (u16::from_be_bytes([one[0], one[1]]), u32::from_be_bytes([one[2], one[3], one[4], one[5]])))
        .collect();
    assert!(told.contains(&(3, 3)) && told.contains(&(6, 8192)), "{told:?}");
    let slow = block(&[(":method", "GET"), (":scheme", "http"), (":path", "/slow"), (":authority", HOST)]);
    for stream in [1, 3, 5, 7] {
        frames.send(HEADERS, END_HEADERS | END_STREAM, stream, &slow);
    }
    assert_eq!(frames.refusal(), Some((RST_STREAM, 7)), "REFUSED_STREAM for the fourth");
    // A head that is too large: 431, or a reset.
    let mut frames = Frames::connect(site.http());
    let value = "x".repeat(200);
    let many: Vec<(String, &str)> = (0..60).map(|number| (format!("x-{number}"), value.as_str())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &get_block(HOST, &many));
    let answer = frames.next_of(&[HEADERS, RST_STREAM, GOAWAY]).expect("a refusal");
    assert_ne!(answer.kind, GOAWAY, "the connection goes on");
    // Who begins requests and cancels them is cut off.
    let mut frames = Frames::connect(site.http());
    let cut = (0..2_000_u32).find(|number| {
        let stream = number * 2 + 1;
        std::thread::sleep(Duration::from_millis(5));
        !(frames.send(HEADERS, END_HEADERS | END_STREAM, stream, &slow)
            && frames.send(RST_STREAM, 0, stream, &8_u32.to_be_bytes()))
    });
    assert!(cut.is_some(), "2,000 requests were begun and cancelled");
    eventually("it is counted", || {
        (site.metrics().get("tidegate_http2_connections_abused_total") >= 1.0).then_some(())
    });
}

#[test]
fn who_waits_for_answers_may_cancel_now_and_then() {
    let backend = Backend::saying("ok");
    let site = builder(&backend, "").root("client: {http2: {max_resets: 5}}\n").start();
    let mut frames = Frames::connect(site.http());
    for number in 0..40_u32 {
        let stream = number * 4 + 1;
        assert!(frames.send(HEADERS, END_HEADERS, stream, &get_block(HOST, &[])));
        frames.send(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        assert!(frames.send(HEADERS, END_HEADERS | END_STREAM, stream + 2, &get_block(HOST, &[])));
        assert!(frames.next_of(&[DATA]).is_some(), "{number}");
    }
}

#[test]
fn an_idle_connection_and_an_old_one_are_ended_in_order() {
    let backend = Backend::saying("ok");
    let site = builder(&backend, "").root("client: {keep_alive: 500ms}\n").start();
    let client = Client::connect(site.http());
    assert_eq!(client.get(HOST, "/").status, 200);
    let began = Instant::now();
    client.end().expect("GOAWAY without an error");
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());

    let backend = Backend::answering(|_| {
        std::thread::sleep(Duration::from_millis(100));
        ok("ok")
    });
    let site = builder(&backend, "").root("client: {http2: {max_age: 1s}}\n").start();
    let client = Client::connect(site.http());
    let refused = client.run(|sender| async move {
        // Everything that is begun is answered, until no more can be begun.
        for count in 0.. {
            let Ok(mut sender) = sender.clone().ready().await else { return count };
            match sender.send_request(request("GET", HOST, "/"), true) {
                Ok((response, _)) => assert_eq!(collect(response.await.expect("a head")).await.text(), "ok"),
                Err(_) => return count,
            }
        }
        0
    });
    assert!(refused >= 5, "{refused}");
    client.end().expect("GOAWAY without an error");
}

#[test]
fn a_client_that_has_vanished_is_pinged_and_left() {
    let backend = Backend::saying("ok");
    let site = builder(&backend, "").root("client: {http2: {ping: 200ms}}\n").start();
    let mut frames = Frames::connect(site.http());
    let ping = frames.next_of(&[PING]).expect("a ping");
    frames.send(PING, ACK, 0, &ping.payload);
    assert_eq!(frames.next_of(&[PING]).expect("another").flags, 0);
}

#[test]
fn the_end_of_the_server_is_told_and_what_is_on_its_way_is_finished() {
    let (told, asked) = mpsc::channel();
    let backend = Backend::serving(move |mut raw, _| {
        while let Ok(Some(_)) = raw.try_head() {
            told.send(()).expect("the test waits");
            std::thread::sleep(Duration::from_secs(1));
            raw.send(ok("late"));
        }
    });
    let mut site = builder(&backend, "").root("drain: {timeout: 60s, linger: 100ms}\n").start();
    let (busy, idle) = (Client::connect(site.http()), Client::connect(site.http()));
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| busy.get(HOST, "/"));
        asked.recv_timeout(Duration::from_secs(60)).expect("a request at the backend");
        site.signal("TERM");
        assert_eq!(answer.join().expect("no panic").text(), "late");
    });
    busy.end().expect("GOAWAY without an error");
    idle.end().expect("GOAWAY without an error");
    assert_eq!(site.wait(), Some(0));
}

#[test]
fn a_listener_that_is_closed_sends_its_clients_elsewhere() {
    let backend = Backend::saying("ok");
    let site = before(&backend, "");
    let client = Client::connect(site.http());
    assert_eq!(client.get(HOST, "/").status, 200);
    let old = site.http().port();
    site.write_root("listen: {http: 127.0.0.2:0}\nthreads: 2\n");
    client.end().expect("GOAWAY without an error");
    assert!(site.listen().iter().all(|url| !url.ends_with(&format!("127.0.0.1:{old}"))));
}

#[test]
fn a_request_is_held_while_its_version_comes_up() {
    let yaml = "versions:\n  nap-001:\n    command: [tidegate, demo, --start-delay, 300ms]\n";
    let site = Site::new().service("nap", yaml).start();
    eventually("it was tried out and sleeps, or is up", || {
        let state = site.version("nap-001")["state"].clone();
        (state == "asleep" || state == "normal").then_some(())
    });
    let asleep = site.admin().post_json::<serde_json::Value>("/sleep?version=nap-001", &serde_json::json!({}));
    asleep.expect("asleep");
    let client = Client::connect(site.http());
    let answer = client.get("nap.localhost", "/");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.header("server-timing").is_some_and(|timing| timing.contains("start")));
}

/// What is malformed is refused, with the stream where it concerns that alone (RFC 9113, 8.1.1 and 8.2).
#[test]
fn malformed_requests_are_refused() {
    let backend = echo();
    let site = before(&backend, "");
    let own = |path| [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", HOST)];
    let get = own("/");
    let with = |more: &[(&'static str, &'static str)]| block(&[&get[..], more].concat());
    for (what, head) in [
        ("a connection header", with(&[("connection", "keep-alive")])),
        ("keep-alive", with(&[("keep-alive", "5")])),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("upgrade", with(&[("upgrade", "websocket")])),
        ("te other than trailers", with(&[("te", "gzip")])),
        ("capitals", with(&[("X-Mine", "1")])),
        ("a pseudo-header behind", block(&[&get[..3], &[("x-a", "b")], &get[3..]].concat())),
        ("a pseudo-header twice", with(&[(":path", "/other")])),
        ("an unknown pseudo-header", with(&[(":mine", "1")])),
        ("one for responses", with(&[(":status", "200")])),
        ("no method", block(&get[1..])),
        ("no path", block(&[get[0], get[1], get[3]])),
        ("an empty path", block(&own(""))),
        ("a length that is none", with(&[("content-length", "x")])),
        ("a body that has none", with(&[("content-length", "5")])),
        (
            "extended CONNECT, which was not offered",
            block(&[(":method", "CONNECT"), (":protocol", "websocket"), get[1], get[2], get[3]]),
        ),
        ("a line break in a value", with(&[("x-a", "b\r\nx-evil: 1")])),
    ] {
        let mut frames = Frames::connect(site.http());
        frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &head);
        let answer = frames.next_of(&[HEADERS, RST_STREAM, GOAWAY]).unwrap_or_else(|| panic!("{what}: no answer"));
        if answer.kind == HEADERS {
            let body = frames.next_of(&[DATA, RST_STREAM]).expect("a body").payload;
            let text = String::from_utf8_lossy(&body).into_owned();
            assert!(!text.contains("HTTP/1.1|"), "{what} came to the backend: {text}");
        } else {
            let code = &answer.payload[answer.payload.len().min(8) - 4..];
            assert_eq!(code, 1_u32.to_be_bytes(), "{what}: PROTOCOL_ERROR, not {answer:?}");
        }
    }
    // More, and less, than was announced.
    for (length, data) in [("3", &b"hello"[..]), ("7", b"hello")] {
        let mut frames = Frames::connect(site.http());
        let post = [(":method", "POST"), get[1], get[2], get[3], ("content-length", length)];
        frames.send(HEADERS, END_HEADERS, 1, &block(&post));
        frames.send(DATA, END_STREAM, 1, data);
        assert_eq!(frames.refusal(), Some((RST_STREAM, 1)), "{length}: PROTOCOL_ERROR");
    }
    assert!(backend.requests().is_empty(), "{:?}", backend.requests());
}

/// The most important of what h2spec asks of frames (RFC 9113, 4 to 6).
#[test]
fn frames_that_may_not_be_end_the_connection() {
    const FRAME_SIZE: u32 = 6;
    let backend = echo();
    let site = before(&backend, "");
    let get = get_block(HOST, &[]);
    type Wrong<'a> = &'a dyn Fn(&mut Frames) -> bool;
    let cases: [(&str, u32, Wrong<'_>); 17] = [
        ("DATA on stream 0", 1, &|frames| frames.send(DATA, 0, 0, b"x")),
        ("HEADERS on stream 0", 1, &|frames| frames.send(HEADERS, END_HEADERS | END_STREAM, 0, &get)),
        ("an even stream", 1, &|frames| frames.send(HEADERS, END_HEADERS | END_STREAM, 2, &get)),
        ("DATA on an idle stream", 1, &|frames| frames.send(DATA, END_STREAM, 1, b"x")),
        ("RST_STREAM of an idle stream", 1, &|frames| frames.send(RST_STREAM, 0, 1, &[0; 4])),
        ("WINDOW_UPDATE of an idle stream", 1, &|frames| frames.send(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("WINDOW_UPDATE by nothing", 1, &|frames| frames.send(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("a window above 2^31-1", 3, &|frames| frames.send(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes())),
        ("PING of 4 bytes", FRAME_SIZE, &|frames| frames.send(PING, 0, 0, &[0; 4])),
        ("PING on a stream", 1, &|frames| frames.send(PING, 0, 1, &[0; 8])),
        ("SETTINGS of 5 bytes", FRAME_SIZE, &|frames| frames.send(SETTINGS, 0, 0, &[0; 5])),
        ("SETTINGS on a stream", 1, &|frames| frames.send(SETTINGS, 0, 1, b"")),
        ("ACK of SETTINGS with a payload", FRAME_SIZE, &|frames| frames.send(SETTINGS, ACK, 0, &[0; 6])),
        ("ENABLE_PUSH of 2", 1, &|frames| frames.send(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2])),
        ("a frame of 16 KiB and a byte", FRAME_SIZE, &|frames| frames.send(HEADERS, END_HEADERS, 1, &[0; 16385])),
        ("CONTINUATION of nothing", 1, &|frames| frames.send(CONTINUATION, END_HEADERS, 1, &get)),
        ("a frame between HEADERS and CONTINUATION", 1, &|frames| {
            frames.send(HEADERS, END_STREAM, 1, &get) && frames.send(PING, 0, 0, &[0; 8])
        }),
    ];
    for (what, code, wrong) in cases {
        let mut frames = Frames::connect(site.http());
        // It may have been cut off in the middle of it.
        let _sent = wrong(&mut frames);
        match frames.refusal() {
            // The h2 crate does not tell some wrong sizes from other mistakes.
            Some((GOAWAY, got)) => assert!(got == code || (code == FRAME_SIZE && got == 1), "{what}: {got}"),
            other => panic!("{what}: {other:?}"),
        }
        assert!(frames.next_of(&[]).is_none(), "{what}: the connection ends");
    }
    // A block that cannot be decoded.
    let mut frames = Frames::connect(site.http());
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80]);
    assert!(matches!(frames.refusal(), Some((GOAWAY, 1 | 9))));
    // Unknown kinds of frames are passed over, whatever they say.
    let mut frames = Frames::connect(site.http());
    frames.send(0xb5, 0xff, 77, b"whatever");
    frames.send(PING, 0, 0, b"12345678");
    let pong = frames.next_of(&[PING]).expect("a pong");
    assert_eq!((pong.flags, &pong.payload[..]), (ACK, &b"12345678"[..]));
    assert_eq!(backend.requests().len(), 0);
}
