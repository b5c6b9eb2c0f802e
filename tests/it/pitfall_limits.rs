//! HTTP_PITFALLS 9 and 18: bounds, and memory that does not grow with what others send or leave unread.

use std::sync::mpsc;
use std::time::Duration;

use crate::support::backend::{Backend, ok};
use crate::support::front::{HOST, before, builder, get, post};
use crate::support::raw::Raw;
use crate::support::site::Site;
use crate::support::{PATIENCE, eventually};

const MIB: usize = 1024 * 1024;

/// A GET with a header of so many bytes.
fn padded(length: usize) -> String {
    get("/", &format!("X-Padding: {}\r\n", "x".repeat(length)))
}

/// The status of what is answered, however much of the request was still unread.
fn status(site: &Site, request: &str) -> u16 {
    let mut client = site.connect();
    let mut writer = client.twin();
    let request = request.to_owned();
    let writing = std::thread::spawn(move || writer.try_send(request.as_bytes()));
    let answer = client.head();
    writing.join().expect("no panic");
    answer.status()
}

#[test]
fn rule_9_a_head_has_a_largest_size() {
    let backend = Backend::saying("ok");
    let site = builder(&backend, "").root("client: {max_head: 16KiB}\n").start();
    for _ in 0..3 {
        assert_eq!(status(&site, &padded(15 * 1024)), 200);
        assert_eq!(status(&site, &padded(17 * 1024)), 431);
        assert_eq!(status(&site, &padded(70 * 1024)), 431);
        assert_eq!(status(&site, &padded(2 * MIB)), 431);
    }
    let site = before(&backend, "");
    assert_eq!(status(&site, &padded(60 * 1024)), 200);
    assert_eq!(status(&site, &padded(70 * 1024)), 431);
    assert!(backend.requests().len() <= 4);
}

#[test]
fn rule_9_headers_have_a_largest_number() {
    let backend = Backend::saying("ok");
    let site = before(&backend, "");
    let request = |count: usize| get("/", &(1..count).map(|n| format!("X-{n}: {n}\r\n")).collect::<String>());
    assert_eq!(status(&site, &request(100)), 200);
    assert_eq!(status(&site, &request(101)), 431);
    assert_eq!(status(&site, &request(1000)), 431);
}

#[test]
fn rule_9_a_target_has_a_largest_length() {
    let backend = Backend::saying("ok");
    let site = builder(&backend, "").root("client: {max_head: 128KiB}\n").start();
    assert_eq!(status(&site, &get(&format!("/{}", "x".repeat(60_000)), "")), 200);
    assert_eq!(status(&site, &get(&format!("/{}", "x".repeat(70_000)), "")), 414);
}

#[test]
fn rule_9_a_backends_head_has_a_largest_size_too() {
    for (length, status) in [(200 * 1024, 200), (300 * 1024, 502)] {
        let backend = Backend::answering(move |_| {
            format!("HTTP/1.1 200 OK\r\nX-Padding: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(length)).into_bytes()
        });
        let site = before(&backend, "");
        assert_eq!(site.connect().ask(get("/", "")).status(), status, "{length}");
    }
}

#[test]
fn rule_9_an_endless_head_or_chunk_line_of_a_backend_is_cut_short() {
    for start in ["HTTP/1.1 200 OK\r\nX: ", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;"] {
        let backend = Backend::serving(move |mut raw, _| {
            raw.head();
            raw.send(start);
            while raw.try_send(&[b'x'; 64 * 1024]) {}
        });
        let site = before(&backend, "");
        let mut client = site.connect();
        client.send(get("/", ""));
        let mut answer = client.head();
        assert!(answer.status() == 502 || client.body(&mut answer, true).is_err(), "{start:?}");
    }
}

#[test]
fn rule_9_connections_have_a_largest_number() {
    let backend = Backend::saying("ok");
    let site = builder(&backend, "").root("max_connections: 2\n").start();
    let mut clients: Vec<Raw> = (0..3).map(|_| site.connect()).collect();
    for client in &mut clients[..2] {
        assert_eq!(client.ask(get("/", "")).status(), 200);
    }
    // The third waits in the kernel until there is a place.
    clients[2].send(get("/", ""));
    assert_eq!(site.status()["connections"], 2);
    drop(clients.remove(0));
    assert_eq!(clients[1].response().status(), 200);
}

/// Sends `total` bytes unless the other side stops taking them, and tells how many it took.
fn pour(raw: &mut Raw, total: usize) -> usize {
    raw.stream.set_write_timeout(Some(Duration::from_millis(250))).expect("timeout");
    let piece = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    while sent < total && raw.try_send(&piece) {
        sent += piece.len();
    }
    sent
}

#[test]
fn rule_18_a_download_that_nobody_reads_stays_with_the_backend() {
    for framing in ["Content-Length: 67108864\r\n", ""] {
        let (told, poured) = mpsc::channel();
        let backend = Backend::serving(move |mut raw, _| {
            if matches!(raw.try_head(), Ok(Some(_))) {
                raw.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n"));
                told.send(pour(&mut raw, 64 * MIB)).expect("the test waits");
            }
        });
        let site = before(&backend, "");
        let rss = site.memory_kib("RssAnon");
        let mut client = site.connect();
        client.send(get("/", ""));
        let poured = poured.recv_timeout(PATIENCE).expect("the backend's report");
        let grown = site.memory_kib("RssAnon").saturating_sub(rss);
        assert!(grown < 12 * 1024, "{grown} KiB more, {poured} bytes poured");
        // What the kernel's buffers on both ways hold, and no more.
        assert!(poured < 32 * MIB, "{poured}");
        drop(client);
    }
}

#[test]
fn rule_18_an_upload_that_the_backend_does_not_read_stays_with_the_client() {
    for framing in ["Content-Length: 67108864\r\n", "Transfer-Encoding: chunked\r\n"] {
        let (done, over) = mpsc::channel::<()>();
        let over = std::sync::Mutex::new(over);
        let backend = Backend::serving(move |mut raw, _| {
            if matches!(raw.try_head(), Ok(Some(_))) {
                over.lock().expect("no panic").recv().expect_err("dropped at the end");
            }
        });
        let site = before(&backend, "");
        let rss = site.memory_kib("RssAnon");
        let mut client = site.connect();
        client.send(post("/", framing));
        if framing.starts_with('T') {
            client.send("4000000\r\n");
        }
        let poured = pour(&mut client, 64 * MIB);
        let grown = site.memory_kib("RssAnon").saturating_sub(rss);
        assert!(grown < 12 * 1024, "{grown} KiB more, {poured} bytes poured");
        assert!(poured < 32 * MIB, "{poured}");
        drop(done);
    }
}

#[test]
fn a_tunnel_that_nobody_reads_stays_with_the_sender() {
    let (told, poured) = mpsc::channel();
    let backend = Backend::serving(move |mut raw, number| {
        if matches!(raw.try_head(), Ok(Some(_))) {
            raw.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
            if number < 2 {
                raw.send("x").take(1).expect("the end of the test");
            } else {
                told.send(pour(&mut raw, 64 * MIB)).expect("the test waits");
            }
        }
    });
    let site = before(&backend, "");
    let open = || {
        let mut client = site.connect();
        client.send(get("/", "Connection: upgrade\r\nUpgrade: websocket\r\n"));
        assert_eq!(client.head().status(), 101);
        client
    };
    // One on each of the two threads first, so that what is made once is not counted.
    let mut first = [open(), open()];
    first.iter_mut().for_each(|client| assert_eq!(client.take(1).expect("a byte"), b"x"));
    let rss = site.memory_kib("RssAnon");
    let _unread = open();
    let poured = poured.recv_timeout(PATIENCE).expect("the backend's report");
    let grown = site.memory_kib("RssAnon").saturating_sub(rss);
    assert!(grown < 4 * 1024 && poured < 32 * MIB, "{grown} KiB more, {poured} bytes poured");
    for client in &mut first {
        client.send("x");
    }
}

/// Whole bodies of any size pass, byte for byte.
#[test]
fn large_bodies_arrive_whole() {
    let backend = Backend::answering(|request| {
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len()).into_bytes();
        answer.extend(&request.body);
        answer
    });
    let site = before(&backend, "");
    let mut client = site.connect();
    let body: Vec<u8> = (0..3 * MIB).map(|n| (n / 7 % 251) as u8).collect();
    let mut writer = client.twin();
    let sending = std::thread::spawn({
        let body = body.clone();
        move || {
            writer.send(post("/", &format!("Content-Length: {}\r\n", body.len()))).send(&body);
            writer.send(post("/", "Transfer-Encoding: chunked\r\n"));
            for piece in body.chunks(100_000) {
                writer.send(format!("{:x}\r\n", piece.len())).send(piece).send("\r\n");
            }
            writer.send("0\r\n\r\n");
        }
    });
    assert!(client.response().body == body);
    assert!(client.response().body == body);
    sending.join().expect("no panic");
}

#[test]
fn rule_18_idle_connections_and_tunnels_cost_little() {
    const COUNT: u64 = 400;
    let backend = Backend::serving(|mut raw, _| {
        while let Ok(Some(request)) = raw.try_head() {
            let upgrade = request.header("upgrade").is_some();
            raw.send(if upgrade {
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".to_vec()
            } else {
                ok("ok")
            });
        }
    });
    let site = before(&backend, "");
    // Warm first, so that only connections are counted.
    site.get(HOST, "/");
    let connections = |headers: &str| -> u64 {
        let rss = site.memory_kib("RssAnon");
        let mut clients: Vec<Raw> = (0..COUNT).map(|_| site.connect()).collect();
        for client in &mut clients {
            client.send(get("/", headers));
            client.head();
        }
        eventually("all of them", || {
            let status = site.status();
            (["connections", "tunnels"].iter().any(|kind| status[kind].as_u64() == Some(COUNT))).then_some(())
        });
        let each = site.memory_kib("RssAnon").saturating_sub(rss) * 1024 / COUNT;
        drop(clients);
        eventually("the end of all", || {
            let status = site.status();
            (status["connections"] == 0 && status["tunnels"] == 0).then_some(())
        });
        each
    };
    let idle = connections("");
    // Unoptimised, futures are large: most of this is theirs and hyper's two buffers.
    assert!(idle < 40 * 1024, "{idle} bytes per idle connection");
    let tunnel = connections("Connection: upgrade\r\nUpgrade: websocket\r\n");
    assert!(tunnel < 64 * 1024, "{tunnel} bytes per tunnel");
}

/// Requests without end from one who reads no answers: neither of them piles up.
#[test]
fn rule_18_pipelined_requests_whose_answers_nobody_reads_stay_with_the_client() {
    let backend = Backend::answering(|_| ok(&"x".repeat(10_000)));
    let site = before(&backend, "");
    for host in [HOST, "nobody.localhost"] {
        for _ in 0..2 {
            site.get(host, "/");
        }
        let rss = site.memory_kib("RssAnon");
        let mut client = site.connect();
        client.stream.set_write_timeout(Some(Duration::from_millis(250))).expect("timeout");
        let many = format!("GET / HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\n\r\n").repeat(1000);
        let sent = (0..1000).take_while(|_| client.try_send(many.as_bytes())).count();
        let grown = site.memory_kib("RssAnon").saturating_sub(rss);
        assert!(grown < 16 * 1024 && sent < 1000, "{host}: {grown} KiB more, {sent} thousand requests");
        drop(client);
        eventually("the connection's end", || (site.status()["connections"] == 0).then_some(()));
    }
}

/// A client that sends everything before it reads, and a backend that answers meanwhile: neither waits for the other.
#[test]
fn rule_12_an_upload_goes_on_while_nobody_takes_the_answer() {
    const SIZE: usize = 16 * 1024 * 1024;
    let backend = Backend::serving(|mut raw, _| {
        raw.head();
        let mut writing = raw.twin();
        let writer = std::thread::spawn(move || {
            writing.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n")).send(vec![b'a'; SIZE - 1]);
        });
        assert_eq!(raw.take(SIZE).expect("the upload").len(), SIZE);
        writer.join().expect("the answer");
        // Only now, for an answer that is over ends the upload too.
        raw.send("a");
    });
    let site = before(&backend, "timeouts: {idle: 20s}");
    let mut client = site.connect();
    client.send(post("/", &format!("Content-Length: {SIZE}\r\n"))).send(vec![b'b'; SIZE]);
    let answer = client.response();
    assert_eq!((answer.status(), answer.body.len()), (200, SIZE));
}
