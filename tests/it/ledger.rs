//! Two hundred reloads under load, and a ledger at both ends: every id is sent once, received once and answered once.
//!
//! With the feature `seeded-fault` this has to fail; `.ci/seeded-fault` says whether it does.

use std::fs;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use crate::support::backend::Backend;
use crate::support::eventually;
use crate::support::ledger::Ledger;
use crate::support::process::{command, is_alive};
use crate::support::raw::{Message, Raw};
use crate::support::site::Site;

const RELOADS: usize = 200;
/// Pieces of a stream, and bytes of a piece.
const PIECES: usize = 20;
const PIECE: usize = 4096;

/// A stream takes a while; nothing is waited for here.
fn pace() {
    std::thread::sleep(Duration::from_millis(3));
}

/// Notes each id when its head has come and answers with the id, after a moment in which a reload can happen.
fn backend(name: &'static str, ledger: &Arc<Ledger>) -> Backend {
    let ledger = Arc::clone(ledger);
    Backend::serving(move |mut raw, _| {
        while let Ok(Some(mut request)) = raw.try_head() {
            let id = request.header("x-id").unwrap_or_default().to_owned();
            ledger.receive(&id, name);
            if raw.body(&mut request, false).and_then(|()| answer(&mut raw.stream, &id, &request)).is_err() {
                return;
            }
        }
    })
}

fn answer(stream: &mut impl io::Write, id: &str, request: &Message) -> io::Result<()> {
    pace();
    if !id.starts_with("download") {
        let length = if id.starts_with("upload") { format!("{}", request.body.len()) } else { String::new() };
        let body = format!("{id} {length}");
        return stream.write_all(&crate::support::backend::ok(&body));
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    for _ in 0..PIECES {
        stream.write_all(format!("{PIECE:x}\r\n{}\r\n", "d".repeat(PIECE)).as_bytes())?;
        pace();
    }
    stream.write_all(format!("{:x}\r\n{id}\r\n0\r\n\r\n", id.len()).as_bytes())
}

/// One request on an open connection; what it came to.
fn exchange(raw: &mut Raw, kind: &str, id: &str) -> io::Result<Result<(), String>> {
    let head = format!("Host: shop.localhost\r\nX-Id: {id}\r\n");
    let stream = &mut raw.stream;
    match kind {
        "get" => stream.write_all(format!("GET /a HTTP/1.1\r\n{head}\r\n").as_bytes())?,
        "post" => stream.write_all(format!("POST /a HTTP/1.1\r\n{head}Content-Length: 5\r\n\r\nhello").as_bytes())?,
        "download" => stream.write_all(format!("GET /stream HTTP/1.1\r\n{head}\r\n").as_bytes())?,
        _ => {
            stream.write_all(
                format!("POST /upload HTTP/1.1\r\n{head}Content-Length: {}\r\n\r\n", PIECES * PIECE).as_bytes(),
            )?;
            for _ in 0..PIECES {
                stream.write_all(&[b'u'; PIECE])?;
                pace();
            }
        }
    }
    let mut answer = raw.try_head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    raw.body(&mut answer, true)?;
    let text = answer.text();
    let whole = match kind {
        "download" => text.len() == PIECES * PIECE + id.len() && text.ends_with(id),
        // A version that is a process says the id alone.
        "upload" => text == format!("{id} {}", PIECES * PIECE) || text == id,
        _ => text.trim_end() == id,
    };
    let problem = || format!("{} with {:?}", answer.start, text.chars().take(200).collect::<String>());
    Ok(if answer.status() == 200 && whole { Ok(()) } else { Err(problem()) })
}

/// Sends requests of these kinds one after the other, on one connection for as long as it lasts.
fn client(site: &Site, ledger: &Ledger, kinds: &[&str]) {
    let mut connection: Option<Raw> = None;
    for kind in kinds.iter().cycle() {
        if ledger.is_done() {
            return;
        }
        let raw = connection.get_or_insert_with(|| site.connect());
        let id = ledger.id(kind);
        let outcome = exchange(raw, kind, &id).unwrap_or_else(|error| {
            // No reload may close a connection, so this is an error too.
            connection = None;
            Err(error.to_string())
        });
        ledger.answer(id, outcome);
    }
}

/// A backend that takes every upgrade and answers each line `ping N` with `pong N`.
fn chat(ledger: &Arc<Ledger>) -> Backend {
    let ledger = Arc::clone(ledger);
    Backend::serving(move |mut raw, _| {
        let Ok(Some(_)) = raw.try_head() else { return };
        raw.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        while let Ok(line) = raw.line() {
            ledger.receive(&line, "chat");
            if raw.stream.write_all(format!("{line}\r\n").as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// One tunnel, through all reloads.
fn talk(site: &Site, ledger: &Ledger) {
    let mut raw = site.connect();
    raw.send(
        "GET /chat HTTP/1.1\r\nHost: chat.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!(raw.head().status(), 101);
    while !ledger.is_done() {
        let id = ledger.id("ping");
        let outcome = raw.stream.write_all(format!("{id}\r\n").as_bytes()).and_then(|()| raw.line());
        let outcome = match outcome {
            Ok(pong) if pong == id => Ok(()),
            Ok(pong) => Err(format!("answered {pong}")),
            Err(error) => Err(error.to_string()),
        };
        let broken = outcome.is_err();
        ledger.answer(id, outcome);
        if broken {
            return;
        }
        pace();
    }
}

/// The edits, one after the other: versions come and go, weights and routes change.
struct Edits {
    backends: Vec<Backend>,
    command: String,
    ledger_file: String,
}

impl Edits {
    /// The shop's file in this round. Versions 1 to 4 are urls, 5 is a process.
    fn shop(&self, round: usize) -> String {
        // Some of the versions, never none; each set differs from the one before it.
        let mut present: Vec<usize> = (0..4).filter(|index| (round * 7 + 1) >> index & 1 == 1).map(|i| i + 1).collect();
        if present.is_empty() {
            present.push(1 + round % 4);
        }
        if round % 20 < 10 {
            present.push(5);
        }
        let each = 100 / present.len();
        let weight = |(at, number): (usize, &usize)| {
            let weight = if at == 0 { 100 - each * (present.len() - 1) } else { each };
            format!("shop-{number:03}: {weight}")
        };
        let weights: Vec<String> = present.iter().enumerate().map(weight).collect();
        let versions: String = present
            .iter()
            .map(|number| match self.backends.get(number - 1) {
                Some(backend) => format!("  shop-{number:03}: {{urls: [\"{}\"]}}\n", backend.url()),
                None => {
                    let (command, file) = (&self.command, &self.ledger_file);
                    format!("  shop-{number:03}: {{command: {command}, env: {{LEDGER: {file:?}}}}}\n")
                }
            })
            .collect();
        // What is streamed goes to a version that can stream; the rules change with the versions.
        let streams = present[0];
        format!(
            "domains: [shop-{round}.example.com]\nrules: [{{path: /stream, version: shop-{streams:03}}}]\n\
             weights: {{{}}}\nversions:\n{versions}",
            weights.join(", ")
        )
    }
}

#[test]
fn two_hundred_reloads_lose_nothing_and_double_nothing() {
    let ledger = Arc::new(Ledger::default());
    let chat = chat(&ledger);
    let folder = tempfile::tempdir().expect("a folder");
    let ledger_file = folder.path().join("ledger");
    let edits = Edits {
        backends: ["one", "two", "three", "four"].map(|name| backend(name, &ledger)).into(),
        command: command(),
        ledger_file: ledger_file.display().to_string(),
    };
    let chats = |round: usize| format!("domains: [chat-{round}.example.com]\n{}", chat.as_only_version("chat"));
    let site = Site::new().service("shop", &edits.shop(0)).service("chat", &chats(0)).start();

    std::thread::scope(|scope| {
        let (site, ledger) = (&site, &*ledger);
        // Ends the clients also where this thread panics.
        let _done = ledger.until_dropped();
        for kinds in [
            &["get", "post"][..],
            &["post", "get"],
            &["get"],
            &["post"],
            &["download"],
            &["download"],
            &["upload"],
            &["upload"],
        ] {
            scope.spawn(move || client(site, ledger, kinds));
        }
        scope.spawn(move || talk(site, ledger));
        for round in 1..=RELOADS {
            let answers = ledger.answers();
            site.write_service("shop", &edits.shop(round));
            if round % 5 == 0 {
                site.write_service("chat", &chats(round));
            }
            if round % 50 == 0 {
                site.write_root(&format!("listen: {{http: 127.0.0.1:0}}\nthreads: 2\nmax_connections: {round}\n"));
            }
            if round % 2 == 0 {
                site.reload();
            } else {
                let host = format!("shop-{round}.example.com");
                let routed = || site.status()["services"].to_string().contains(&host).then_some(());
                eventually("the edit in force, by itself", routed);
            }
            // The load goes on between two reloads.
            eventually("an answer", || (ledger.answers() > answers + 8).then_some(()));
        }
    });

    // What the processes received is in their file.
    for id in fs::read_to_string(&ledger_file).expect("processes ran").lines() {
        ledger.receive(id, "the process");
    }
    ledger.assert_balanced();
    for kind in ["get", "post", "download", "upload", "ping"] {
        let answered = ledger.answered.lock().expect("no panic");
        let count = answered.keys().filter(|id| id.starts_with(kind)).count();
        assert!(count > 10, "only {count} of kind {kind}");
    }
    let generation = site.generation();
    assert!(generation > RELOADS as u64, "{generation} generations");
    assert_eq!(site.rejected(), Vec::<String>::new());
    eventually("one snapshot", || (site.metrics().get("tidegate_config_snapshots") == 1.0).then_some(()));
    assert_eq!(site.metrics().get("tidegate_tunnels_total"), 1.0, "one tunnel, all along");
    assert!(is_alive(site.pid()));
}
