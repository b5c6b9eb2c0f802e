//! A thousand sleeps under a stream of requests, and a ledger at both ends: every id is sent once, received once, answered once.
//!
//! With the feature `seeded-fault` this has to fail; `.ci/seeded-fault` says whether it does.

use std::fs;
use std::io::{self, Write as _};

use crate::support::eventually;
use crate::support::ledger::Ledger;
use crate::support::process::command;
use crate::support::raw::Raw;
use crate::support::site::Site;

const ROUNDS: usize = 1_000;
/// Wakes in so many rounds.
const ENOUGH: f64 = 900.0;
const WAKES: &str = "tidegate_wakes_total{service=\"shop\",version=\"shop-001\",outcome=\"ready\"}";

/// Connections that send one request after the other.
const CLIENTS: usize = 8;

/// What the requests of one connection come to, until all is done.
fn client(site: &Site, ledger: &Ledger, kind: &str) {
    let mut raw = site.connect();
    while !ledger.is_done() {
        let id = ledger.id(kind);
        let outcome = ask(&mut raw, kind, &id).unwrap_or_else(|error| Err(error.to_string()));
        if outcome.is_err() {
            raw = site.connect();
        }
        ledger.answer(id, outcome);
    }
}

fn ask(raw: &mut Raw, kind: &str, id: &str) -> io::Result<Result<(), String>> {
    let head = format!("Host: shop.localhost\r\nX-Id: {id}\r\n");
    let request = match kind {
        "get" => format!("GET / HTTP/1.1\r\n{head}\r\n"),
        // Never sent twice by anybody: one that is lost stays lost.
        _ => format!("POST / HTTP/1.1\r\n{head}Content-Length: 5\r\n\r\nhello"),
    };
    raw.stream.write_all(request.as_bytes())?;
    let Some(mut answer) = raw.try_head()? else { return Ok(Err("the connection was closed".to_owned())) };
    raw.body(&mut answer, false)?;
    let as_sent = answer.status() == 200 && answer.text() == id;
    Ok(if as_sent { Ok(()) } else { Err(format!("{} {}", answer.status(), answer.text())) })
}

#[test]
fn a_thousand_sleeps_lose_nothing_and_double_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let received = folder.path().join("ledger");
    let service = format!(
        "versions:\n  shop-001: {{command: {}, env: {{LEDGER: {received:?}}}, start: {{timeout: 60s}}}}\n",
        command()
    );
    let site = Site::new().service("shop", &service).start();
    let ledger = Ledger::default();
    std::thread::scope(|scope| {
        let (site, ledger) = (&site, &ledger);
        let _done = ledger.until_dropped();
        for client_number in 0..CLIENTS {
            let kind = if client_number % 2 == 0 { "get" } else { "post" };
            scope.spawn(move || client(site, ledger, kind));
        }
        // A sleep of what sleeps already is none: then nobody had come meanwhile.
        let wakes = || site.metrics().get(WAKES);
        for round in (0..3 * ROUNDS).take_while(|round| *round < ROUNDS || round % 10 != 0 || wakes() < ENOUGH) {
            let answers = ledger.answers();
            // Some sleeps come while the version is still waking, most while the requests that were held are on their way.
            let more = match round % 10 {
                9 => 0,
                even if even % 2 == 0 => CLIENTS,
                _ => 1,
            };
            while ledger.answers() < answers + more && !ledger.has_failed() {
                std::thread::yield_now();
            }
            if ledger.has_failed() {
                return;
            }
            // While it is waking for those who wait, it is not put to sleep.
            eventually("sleep", || {
                let slept = site.admin().post_json::<serde_json::Value>("/sleep?version=shop-001", &());
                assert!(
                    slept.as_ref().map_or_else(|error| error.to_string().contains("is starting"), |_| true),
                    "{slept:?}"
                );
                slept.ok().map(drop).or_else(|| ledger.has_failed().then_some(()))
            });
        }
    });
    for id in fs::read_to_string(&received).expect("it ran").lines() {
        ledger.receive(id, "the process");
    }
    ledger.assert_balanced();
    let wakes = site.metrics().get(WAKES);
    assert!(wakes >= ENOUGH, "{wakes} wakes");
}
