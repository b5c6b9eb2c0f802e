//! Containers of a real engine under a stream of requests, with a ledger at both ends: sleeps and wakes, deployments and rollbacks lose
//! nothing and double nothing.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use crate::support::docker::Containers;
use crate::support::eventually;
use crate::support::ledger::Ledger;
use crate::support::raw::{Message, Raw};
use crate::support::site::Site;

/// Sleeps of each of the two versions.
const ROUNDS: usize = 100;

/// Connections per service that send one request after the other.
const CLIENTS: usize = 4;

fn ask(raw: &mut Raw, host: &str, kind: &str, id: &str) -> io::Result<Option<Message>> {
    let head = format!("Host: {host}\r\nX-Id: {id}\r\n");
    let request = match kind {
        "get" => format!("GET / HTTP/1.1\r\n{head}\r\n"),
        // Never sent twice by anybody: one that is lost stays lost.
        _ => format!("POST / HTTP/1.1\r\n{head}Content-Length: 5\r\n\r\nhello"),
    };
    raw.stream.write_all(request.as_bytes())?;
    let Some(mut answer) = raw.try_head()? else { return Ok(None) };
    raw.body(&mut answer, false)?;
    Ok(Some(answer))
}

/// Requests for one host until all is done; what was answered goes to `seen`.
fn client(site: &Site, host: &str, ledger: &Ledger, kind: &str, seen: impl Fn(&str)) {
    let mut raw = site.connect();
    while !ledger.is_done() {
        let id = ledger.id(kind);
        let outcome = match ask(&mut raw, host, kind, &id) {
            Ok(Some(answer)) if answer.status() == 200 => {
                seen(&answer.text());
                Ok(())
            }
            Ok(Some(answer)) => Err(format!("{} {}", answer.status(), answer.text())),
            Ok(None) => Err("the connection was closed".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        if outcome.is_err() {
            raw = site.connect();
        }
        ledger.answer(id, outcome);
    }
}

fn received(ledger: &Ledger, folder: &Path) {
    for id in fs::read_to_string(folder.join("ledger")).expect("it ran").lines() {
        ledger.receive(id, "a container");
    }
}

fn wakes(site: &Site, service: &str) -> f64 {
    let series = format!("tidegate_wakes_total{{service=\"{service}\",version=\"{service}-001\",outcome=\"ready\"}}");
    site.metrics().get(&series)
}

/// Two hundred sleeps: half of a version that is stopped and ends when it is asked to, half of one whose first process ignores that; and
/// in between the latter is paused, which takes no order.
#[test]
fn two_hundred_sleeps_of_containers_lose_nothing_and_double_nothing() {
    let (Some(polite), Some(stubborn)) = (Containers::new(), Containers::new()) else { return };
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let service = |containers: &Containers, folder: &Path, more: &str| {
        format!(
            "versions:\n  {}:\n    image: {}\n    volumes: [\"{}:/ledger\"]\n    start: {{timeout: 60s}}\n    {more}\n",
            containers.version(1),
            containers.image(),
            folder.display()
        )
    };
    let site = Site::new()
        .service(polite.name(), &service(&polite, folders[0].path(), "env: {LEDGER: /ledger/ledger}"))
        .service(
            stubborn.name(),
            &service(
                &stubborn,
                folders[1].path(),
                "env: {LEDGER: /ledger/ledger, IGNORE_TERM: 1}\n    stop: {signal: INT, grace: 20ms}\n    sleep: {pause_after: 60ms, stop_after: 1h}",
            ),
        )
        .start();
    std::thread::scope(|scope| {
        for (containers, folder) in [&polite, &stubborn].into_iter().zip(&folders) {
            let site = &site;
            scope.spawn(move || {
                let ledger = Ledger::default();
                sleeps(site, containers, &ledger);
                received(&ledger, folder.path());
                ledger.assert_balanced();
            });
        }
    });
    for containers in [&polite, &stubborn] {
        assert!(wakes(&site, containers.name()) >= ROUNDS as f64, "{}", site.log());
        assert_eq!(
            containers.names(),
            [format!("{}-1", containers.version(1))],
            "one container, started again and again"
        );
    }
    assert!(site.log().contains("did not stop within 20ms"), "{}", site.log());
}

fn sleeps(site: &Site, containers: &Containers, ledger: &Ledger) {
    let (host, version) = (containers.host(), containers.version(1));
    std::thread::scope(|scope| {
        let _done = ledger.until_dropped();
        for number in 0..CLIENTS {
            let kind = if number % 2 == 0 { "get" } else { "post" };
            let host = &host;
            scope.spawn(move || client(site, host, ledger, kind, |_| {}));
        }
        for round in 0..ROUNDS {
            let answers = ledger.answers();
            let more = if round % 3 == 0 { 1 } else { CLIENTS * 4 };
            eventually("some answers", || (ledger.answers() >= answers + more || ledger.has_failed()).then_some(()));
            if ledger.has_failed() {
                return;
            }
            let before = wakes(site, containers.name());
            let path = format!("/sleep?version={version}");
            eventually("sleep", || {
                let slept = site.admin().post_json::<serde_json::Value>(&path, &());
                let refused = slept.as_ref().err().map(ToString::to_string);
                // While it is waking for those who wait, it is not put to sleep.
                assert!(refused.is_none_or(|error| error.contains("is starting")), "{slept:?}");
                slept.ok().map(drop).or_else(|| ledger.has_failed().then_some(()))
            });
            eventually("a wake", || (wakes(site, containers.name()) > before || ledger.has_failed()).then_some(()));
        }
    });
}

/// From 001 to 002 and back, by steps, under a stream of requests: none fails, and in each step every version has its share to within one
/// choice.
#[test]
fn a_deployment_and_its_rollback_fail_no_request_and_keep_to_the_shares() {
    let Some(containers) = Containers::new() else { return };
    let name = containers.name();
    let (first, second) = (containers.version(1), containers.version(2));
    let image = containers.image();
    let versions = format!(
        "versions:\n  {first}: {{image: {image}, env: {{MARK: one}}}}\n  {second}: {{image: {image}, env: {{MARK: two}}}}\n"
    );
    let site = Site::new().service(name, &format!("weights: {{{first}: 100}}\n{versions}")).start();
    let host = containers.host();
    for share in [10, 50, 100, 50, 0] {
        site.edit_service(name, &format!("weights: {{{first}: {}, {second}: {share}}}\n{versions}", 100 - share));
        let counts = Mutex::new(HashMap::<String, u32>::new());
        let ledger = Ledger::default();
        let began = Instant::now();
        std::thread::scope(|scope| {
            let _done = ledger.until_dropped();
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    client(&site, &host, &ledger, "get", |text| {
                        let mark = text.split_whitespace().next_back().expect("a mark").to_owned();
                        *counts.lock().expect("no panic").entry(mark).or_default() += 1;
                    });
                });
            }
            eventually("many answers", || (ledger.answers() >= 2_000 || ledger.has_failed()).then_some(()));
        });
        let failed: Vec<_> =
            ledger.answered.lock().expect("no panic").values().filter_map(|outcome| outcome.clone().err()).collect();
        assert_eq!(failed, Vec::<String>::new(), "at {share}, after {:?}", began.elapsed());
        let counts = counts.lock().expect("no panic");
        let all: u32 = counts.values().sum();
        let two = f64::from(counts.get("two").copied().unwrap_or(0));
        let due = f64::from(all) * f64::from(share) / 100.0;
        assert!((two - due).abs() <= 1.0, "{two} of {all} at {share}");
    }
}
