//! Tunnels that tidegate ends: both sides are told, each behind the frame that is under way to it.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::backend::Backend;
use crate::support::front::{HOST, before, builder};
use crate::support::raw::Raw;
use crate::support::site::{Site, tidegate};
use crate::support::tls;
use crate::support::websocket::{BINARY, CLOSE, SWITCH, TEXT, frame, handshake, open, read, read_masked, server_frame};
use crate::support::{PATIENCE, eventually};

const SOON: Duration = Duration::from_secs(30);

/// Far beyond anything that a test waits for.
const LONG_DRAIN: &str = "drain: {timeout: 300s, linger: 100ms}\n";

/// What one side got: an opcode and a payload.
type Got = (u8, Vec<u8>);

/// 1001.
fn going_away() -> Got {
    (CLOSE, 1001_u16.to_be_bytes().to_vec())
}

/// A WebSocket that sends back what it gets, closes with what it is closed with, and says what it got.
fn echo() -> (Backend, mpsc::Receiver<Got>) {
    served_by(|mut raw, told| {
        while let Ok((opcode, payload)) = read_masked(&mut raw) {
            told((opcode, payload.clone()));
            if !raw.try_send(&server_frame(opcode, &payload)) || opcode == CLOSE {
                return;
            }
        }
    })
}

/// A WebSocket that does this, once it is open.
fn served_by(serve: impl Fn(Raw, &dyn Fn(Got)) + Send + Sync + 'static) -> (Backend, mpsc::Receiver<Got>) {
    let (sender, got) = mpsc::channel();
    let backend = Backend::serving(move |mut raw, _| {
        raw.head();
        raw.send(SWITCH);
        serve(raw, &|frame| sender.send(frame).expect("the test waits"));
    });
    (backend, got)
}

fn echoes(client: &mut Raw, text: &str) {
    client.send(frame(TEXT, text.as_bytes()));
    assert_eq!(read(client).expect("an echo"), (TEXT, text.as_bytes().to_vec()));
}

/// Gets the close frame, answers it, and sees the end.
fn takes_leave(mut client: Raw) {
    assert_eq!(read(&mut client).expect("a close frame"), going_away());
    client.send(frame(CLOSE, &going_away().1));
    assert!(client.is_closed_within(SOON));
}

fn soon(got: &mpsc::Receiver<Got>) -> Got {
    got.recv_timeout(SOON).expect("a frame at the backend")
}

/// Waits for the server's end, which must not be that of its patience.
fn ends(site: &mut Site, began: Instant) {
    assert_eq!(site.wait(), Some(0));
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

#[test]
fn at_the_servers_end_both_sides_are_told_and_it_ends() {
    let (backend, got) = echo();
    let mut site = builder(&backend, "").root(LONG_DRAIN).start();
    let (mut busy, silent) = (open(site.http(), HOST, "/"), open(site.http(), HOST, "/"));
    echoes(&mut busy, "hello");
    assert_eq!(soon(&got), (TEXT, b"hello".to_vec()));
    let began = Instant::now();
    site.signal("TERM");
    takes_leave(busy);
    takes_leave(silent);
    assert_eq!([soon(&got), soon(&got)], [going_away(), going_away()]);
    ends(&mut site, began);
}

#[test]
fn a_real_application_and_its_client_part_in_order() {
    let versions = format!("versions: {{app-001: {{command: [{:?}, demo]}}}}\n", env!("CARGO_BIN_EXE_tidegate"));
    let mut site = Site::new().root(LONG_DRAIN).service("app", &versions).start();
    let mut client = open(site.http(), HOST, "/ws");
    echoes(&mut client, "hello");
    let began = Instant::now();
    site.signal("TERM");
    takes_leave(client);
    ends(&mut site, began);
}

#[test]
fn a_removed_version_takes_its_tunnels_along_and_no_other() {
    let ((old, at_old), (new, at_new), (other, _at_other)) = (echo(), echo(), echo());
    let both = format!(
        "weights: {{app-001: 100, app-002: 0}}\nversions:\n  app-001: {{urls: [{:?}]}}\n  app-002: {{urls: [{:?}]}}\n",
        old.url(),
        new.url()
    );
    let only_new = format!("versions:\n  app-002: {{urls: [{:?}]}}\n", new.url());
    let site =
        Site::new().root(LONG_DRAIN).service("app", &both).service("other", &other.as_only_version("other")).start();
    let mut leaving = open(site.http(), HOST, "/");
    let mut staying = open(site.http(), "app-002.localhost", "/");
    let mut elsewhere = open(site.http(), "other.localhost", "/");
    for client in [&mut leaving, &mut staying, &mut elsewhere] {
        echoes(client, "hello");
    }
    assert_eq!((soon(&at_old).0, soon(&at_new).0), (TEXT, TEXT));
    site.edit_service("app", &only_new);
    takes_leave(leaving);
    assert_eq!(soon(&at_old), going_away());
    site.edit_service("app", &format!("max_body: 1MiB\n{only_new}"));
    for client in [&mut staying, &mut elsewhere] {
        echoes(client, "still here");
    }
    assert_eq!(soon(&at_new), (TEXT, b"still here".to_vec()));
    assert_eq!(site.status()["tunnels"], 2);
}

#[test]
fn a_removed_process_stops_once_its_tunnel_has_ended() {
    let (new, _got) = echo();
    let new = format!("  app-002: {{urls: [{:?}]}}\n", new.url());
    let old = format!("  app-001: {{command: [{:?}, demo]}}\n", env!("CARGO_BIN_EXE_tidegate"));
    let both = format!("weights: {{app-001: 100, app-002: 0}}\nversions:\n{old}{new}");
    let site = Site::new().root(LONG_DRAIN).service("app", &both).start();
    let mut client = open(site.http(), HOST, "/ws");
    echoes(&mut client, "hello");
    site.edit_service("app", &format!("versions:\n{new}"));
    takes_leave(client);
    eventually("the process' end", || site.log().contains("the version is stopped").then_some(()));
}

#[test]
fn only_its_bytes_keep_a_version_awake_and_sleep_ends_it() {
    let versions = format!("versions: {{app-001: {{command: [{:?}, demo]}}}}\n", env!("CARGO_BIN_EXE_tidegate"));
    let site = Site::new().root(LONG_DRAIN).service("app", &versions).start();
    let mut client = open(site.http(), HOST, "/ws");
    let sleeps_in = || site.version("app-001")["awake"]["sleeps_in"].as_u64();
    eventually("some silence", || sleeps_in().is_some_and(|seconds| seconds <= 3_597).then_some(()));
    let awake = site.version("app-001")["awake"].clone();
    assert_eq!((&awake["because"], &awake["tunnels"]), (&"tunnels".into(), &1.into()));
    echoes(&mut client, "hello");
    eventually("a sign of life", || sleeps_in().is_some_and(|seconds| seconds >= 3_598).then_some(()));
    let mut sleep = tidegate().args(["sleep", "app-001", "-c"]).arg(site.root()).spawn().expect("run");
    takes_leave(client);
    assert!(sleep.wait().expect("an end").success());
    assert_eq!(site.version("app-001")["state"], "asleep");
}

#[test]
fn a_frame_of_the_backends_is_finished_first() {
    let (backend, got) = served_by(|mut raw, told| {
        let message = server_frame(BINARY, &[7; 1_000]);
        let (first, second) = message.split_at(300);
        raw.send(first);
        told(read_masked(&mut raw).expect("a close frame"));
        raw.send(second).send(server_frame(TEXT, b"too late")).send(server_frame(CLOSE, b""));
    });
    let mut site = builder(&backend, "").root(LONG_DRAIN).start();
    let mut client = open(site.http(), HOST, "/");
    let first = client.take(300).expect("the first part");
    let began = Instant::now();
    site.signal("TERM");
    assert_eq!(soon(&got), going_away(), "nothing was under way to the backend");
    let second = client.take(704).expect("the second part");
    assert!([first, second].concat() == server_frame(BINARY, &[7; 1_000]));
    takes_leave(client);
    ends(&mut site, began);
}

#[test]
fn a_frame_of_the_clients_is_finished_first() {
    const FIRST: usize = 30_000;
    let message = frame(BINARY, &[7; 70_000]);
    let expected = message.clone();
    let (backend, got) = served_by(move |mut raw, told| {
        let first = raw.take(FIRST).expect("the first part");
        told((BINARY, Vec::new()));
        let second = raw.take(expected.len() - FIRST).expect("the second part");
        assert!([first, second].concat() == expected);
        told(read_masked(&mut raw).expect("a close frame"));
        raw.send(server_frame(CLOSE, b""));
    });
    let mut site = builder(&backend, "").root(LONG_DRAIN).start();
    let mut client = open(site.http(), HOST, "/");
    let (first, second) = message.split_at(FIRST);
    client.send(first);
    assert_eq!(soon(&got).0, BINARY, "it is under way");
    let began = Instant::now();
    site.signal("TERM");
    assert_eq!(read(&mut client).expect("a close frame"), going_away(), "nothing was under way to the client");
    // Behind the frame comes one that is too late, and then the answer.
    client.send([second, &frame(TEXT, b"too late"), &frame(CLOSE, b"")].concat());
    assert!(client.is_closed_within(SOON));
    assert_eq!(soon(&got), going_away());
    ends(&mut site, began);
}

#[test]
fn a_backend_that_sends_all_the_time_is_cut_between_two_frames() {
    let message = || (b'a'..=b'z').cycle().take(5_000).collect::<Vec<u8>>();
    let (backend, got) = served_by(move |mut raw, told| {
        let mut sending = raw.twin();
        let (stop, stopped) = mpsc::channel::<()>();
        let sender = std::thread::spawn(move || {
            while stopped.try_recv().is_err() {
                sending.send(server_frame(BINARY, &message()));
            }
            sending.send(server_frame(CLOSE, b""));
        });
        told(read_masked(&mut raw).expect("a close frame"));
        stop.send(()).expect("it sends");
        sender.join().expect("everything was read");
    });
    let mut site = builder(&backend, "").root(LONG_DRAIN).start();
    let mut client = open(site.http(), HOST, "/");
    let began = Instant::now();
    site.signal("TERM");
    let mut count = 0;
    let last = loop {
        match read(&mut client).expect("a frame") {
            (BINARY, payload) => assert!(payload == message(), "frame {count}"),
            other => break other,
        }
        count += 1;
    };
    assert_eq!((last, soon(&got)), (going_away(), going_away()), "after {count} frames");
    client.send(frame(CLOSE, b""));
    assert!(client.is_closed_within(SOON), "nothing comes behind a close frame");
    ends(&mut site, began);
}

#[test]
fn those_who_part_by_themselves_get_their_own_close_frames() {
    let (backend, got) = echo();
    let site = before(&backend, "");
    let mut client = open(site.http(), HOST, "/");
    client.send(frame(CLOSE, b"\x03\xe8bye"));
    assert_eq!(read(&mut client).expect("the echo"), (CLOSE, b"\x03\xe8bye".to_vec()));
    assert!(client.is_closed_within(SOON));
    assert_eq!(soon(&got), (CLOSE, b"\x03\xe8bye".to_vec()));
    drop(client);
    eventually("the lease's return", || (site.version("app-001")["in_flight"] == 0).then_some(()));
}

#[test]
fn over_tls_the_close_frame_and_the_end_arrive_too() {
    let (backend, got) = echo();
    let pair = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name);
        std::fs::read_to_string(path).expect("a fixture")
    };
    let yaml = format!("tls: {{certificate: ../shop.pem, key: ../shop.key}}\n{}", backend.as_only_version("shop"));
    let site = Site::new().file("shop.pem", &pair("shop.pem")).file("shop.key", &pair("shop.key"));
    let mut site = site.service("shop", &yaml).start();
    site.write_root(&format!("listen: {{http: 127.0.0.1:0, https: 127.0.0.2:0}}\nthreads: 2\n{LONG_DRAIN}"));
    let https = eventually("the listener", || {
        let urls = site.listen();
        urls.iter().find_map(|url| url.strip_prefix("https://")?.parse().ok())
    });
    let mut client = tls::connect(https, "shop.localhost").expect("a connection");
    client.write_all(handshake("shop.localhost", "/").as_bytes()).expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("a head");
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    // More than a TLS record holds, and than a buffer.
    let much: Vec<u8> = (0..=u8::MAX).cycle().take(100_000).collect();
    client.write_all(&frame(BINARY, &much)).expect("sent");
    let mut echo = vec![0; much.len() + 10];
    client.read_exact(&mut echo).expect("an echo");
    assert!(echo == server_frame(BINARY, &much) && soon(&got).1 == much);
    let began = Instant::now();
    site.signal("TERM");
    let mut close = [0; 4];
    client.read_exact(&mut close).expect("a close frame");
    assert_eq!(close, [0x88, 2, 0x03, 0xe9]);
    client.write_all(&frame(CLOSE, &going_away().1)).expect("sent");
    // Fails where TLS is not closed in order.
    assert_eq!(client.read(&mut close).expect("an end"), 0);
    assert_eq!(soon(&got), going_away());
    ends(&mut site, began);
}

#[test]
fn one_that_is_silent_or_old_is_ended_like_in_a_drain() {
    let (backend, got) = echo();
    let site = before(&backend, "timeouts: {tunnel_idle: 700ms, tunnel_total: 3s}");
    let mut busy = open(site.http(), HOST, "/");
    let (silent, began) = (open(site.http(), HOST, "/"), Instant::now());
    while began.elapsed() < Duration::from_millis(1500) {
        echoes(&mut busy, "hello");
        std::thread::sleep(Duration::from_millis(100));
    }
    takes_leave(silent);
    while began.elapsed() < Duration::from_millis(2500) {
        echoes(&mut busy, "hello");
        std::thread::sleep(Duration::from_millis(100));
    }
    let left = loop {
        busy.send(frame(TEXT, b"x"));
        match read(&mut busy).expect("a frame") {
            (CLOSE, payload) => break payload,
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    assert_eq!(left, going_away().1);
    assert!(began.elapsed() >= Duration::from_millis(2900), "{:?}", began.elapsed());
    assert!(got.iter().take(3).count() == 3);
}
