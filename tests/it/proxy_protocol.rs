//! The PROXY protocol, from a load balancer that is trusted: who the client is, in headers, rules and logs.

use std::time::Duration;

use crate::support::backend::{Backend, ok};
use crate::support::eventually;
use crate::support::front::{HOST, builder};
use crate::support::h2::Frames;
use crate::support::raw::Raw;

fn seen() -> Backend {
    Backend::answering(|request| ok(request.header("x-forwarded-for").unwrap_or("-")))
}

const V4: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x12\xc0\0\x02\x01\x7f\0\0\x01\x12\x34\0\x50\x04\0\x03xyz";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

#[test]
fn the_client_is_who_the_balancer_says() {
    let backend = seen();
    let root = "access_log: access.log\n";
    let site = builder(&backend, "allow: [192.0.2.0/24, 2001:db8::/32, 127.0.0.0/8]").root(root).start();
    let port = site.http();
    let trust = format!("listen: {{http: \"{port}\", proxy_protocol: [127.0.0.1/32]}}\nthreads: 2\n{root}");
    let before = site.generation();
    site.write_root(&trust);
    eventually("the edit in force", || (site.generation() > before).then_some(()));
    for (header, client) in [
        (&b"PROXY TCP4 192.0.2.1 127.0.0.1 4660 80\r\n"[..], "192.0.2.1"),
        (b"PROXY TCP6 2001:db8::1 ::1 4660 80\r\n", "2001:db8::1"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (V4, "192.0.2.1"),
        (LOCAL, "127.0.0.1"),
    ] {
        let mut raw = site.connect();
        let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
        // All at once, and byte by byte.
        assert_eq!(raw.ask([header, request.as_bytes()].concat()).text(), client);
        assert_eq!(raw.get(HOST, "/").text(), client, "for the whole connection");
        let mut raw = site.connect();
        for byte in header {
            raw.send([*byte]);
        }
        assert_eq!(raw.get(HOST, "/").text(), client);
    }
    let mut raw = site.connect();
    assert_eq!(
        raw.send("PROXY TCP4 198.51.100.1 127.0.0.1 4660 80\r\n").get(HOST, "/").status(),
        403,
        "by its address"
    );
    // HTTP/2 behind it.
    let mut frames = Frames::bare(site.http());
    frames.write(b"PROXY TCP4 192.0.2.1 127.0.0.1 4660 80\r\n");
    frames.write(crate::support::h2::PREFACE);
    frames.send(crate::support::h2::SETTINGS, 0, 0, b"");
    let block = crate::support::h2::get_block(HOST, &[]);
    frames.send(crate::support::h2::HEADERS, 5, 1, &block);
    assert_eq!(frames.next_of(&[crate::support::h2::DATA]).expect("an answer").payload, b"192.0.2.1");
    // Who is not trusted may not say who it is, and need not.
    let mut other = Raw::connect_from([127, 0, 0, 2], site.http());
    assert_eq!(other.get(HOST, "/").text(), "127.0.0.2");
    let mut other = Raw::connect_from([127, 0, 0, 2], site.http());
    let refused = other.ask("PROXY TCP4 192.0.2.1 127.0.0.1 4660 80\r\n\r\n");
    assert_eq!(refused.status(), 400);
    let log = eventually("the access log", || {
        std::fs::read_to_string(site.path().join("access.log")).ok().filter(|log| log.lines().count() >= 17)
    });
    assert!(
        log.contains("\"192.0.2.1\"") && log.contains("\"2001:db8::1\"") && log.contains("\"198.51.100.1\""),
        "{log}"
    );
}

#[test]
fn who_is_trusted_has_to_say_it_and_in_time() {
    let backend = seen();
    let site = builder(&backend, "").root("client: {request_head: 300ms}\n").start();
    let before = site.generation();
    let listen = format!("listen: {{http: \"{}\", proxy_protocol: [127.0.0.0/8]}}\n", site.http());
    site.write_root(&format!("{listen}threads: 2\nclient: {{request_head: 300ms}}\n"));
    eventually("the edit in force", || (site.generation() > before).then_some(()));
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\0",
        // Not to their end.
        b"",
        b"PROXY TCP4 192.0.2.1",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0",
    ] {
        let mut raw = site.connect();
        raw.send(bytes);
        assert!(raw.is_closed_within(Duration::from_secs(30)), "{bytes:?}");
    }
    assert!(backend.requests().is_empty());
}
