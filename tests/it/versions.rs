//! Versions come, go and never change.

use std::fs;

use crate::support::backend::{Backend, Fleet};
use crate::support::eventually;
use crate::support::process::{Said, command, is_alive};
use crate::support::raw::Raw;
use crate::support::site::{Site, replace};

#[test]
fn what_makes_a_version_never_changes() {
    let fleet = Fleet::of("shop", 2);
    let other = Backend::saying("other");
    let site = Site::new().service("shop", &format!("last_version: 7\n{}", fleet.file(&[100.0, 0.0]))).start();
    let changed = fleet.file(&[0.0, 100.0]).replace(&fleet.backend(1).url(), &other.url());
    site.write_service("shop", &format!("last_version: 7\n{changed}"));
    let error = eventually("the refusal", || site.rejected().into_iter().next());
    assert!(error.contains("shop.yaml:4:20: `urls` of shop-001 has changed"), "{error}");
    assert!(error.contains("as a new version `shop-008`"), "{error}");
    assert_eq!(site.get("shop.localhost", "/").text(), "shop-001", "weights of the same edit wait with it");
    let both = changed.replace("shop-001", "shop-008") + fleet.only(&[1]).trim_start_matches("versions:\n");
    site.edit_service("shop", &both);
    assert_eq!(site.get("shop-008.localhost", "/").text(), "other");
    assert_eq!(site.rejected(), Vec::<String>::new());
}

#[test]
fn versions_are_started_when_they_come_and_stopped_when_they_go() {
    let command = command();
    let yaml = |weights: &str, versions: &[(&str, &str)]| {
        let lines = versions.iter().map(|(name, mark)| {
            format!("  {name}: {{command: {command}, env: {{MARK: {mark}}}, stop: {{grace: 5s}}}}\n")
        });
        format!("weights: {{{weights}}}\nversions:\n{}", lines.collect::<String>())
    };
    let (one, two) = (("shop-001", "one"), ("shop-002", "two"));
    let site = Site::new().service("shop", &yaml("shop-001: 100", &[one])).start();
    let ask = |raw: &mut Raw| {
        let answer = raw.get("shop.localhost", "/");
        assert_eq!(answer.status(), 200, "{}", answer.text());
        Said::parse(&answer.text())
    };
    let mut open = site.connect();
    let first = ask(&mut open);
    assert_eq!((first.version.as_str(), first.mark.as_str()), ("shop-001", "one"));
    // Its other settings can be tuned without a new start.
    site.edit_service("shop", &yaml("shop-001: 100", &[one]).replace("grace: 5s", "grace: 6s"));
    assert_eq!(ask(&mut open), first);

    site.edit_service("shop", &yaml("shop-002: 100", &[one, two]));
    let second = ask(&mut open);
    assert_eq!(
        (second.version.as_str(), second.mark.as_str()),
        ("shop-002", "two"),
        "the request waited for the start"
    );
    assert!(is_alive(first.pid) && is_alive(second.pid));

    // A request on its way when its version is removed is answered by that version.
    let mut slow = site.connect();
    slow.send("GET / HTTP/1.1\r\nHost: shop-001.localhost\r\nX-Pause-Ms: 4000\r\n\r\n");
    eventually("the request on its way", || (site.version("shop-001")["in_flight"] == 1).then_some(()));
    site.edit_service("shop", &yaml("shop-002: 100", &[two]));
    assert!(is_alive(first.pid), "it drains");
    assert_eq!(Said::parse(&slow.response().text()), first);
    eventually("the process's end", || (!is_alive(first.pid)).then_some(()));
    assert_eq!(ask(&mut open), second);
    assert_eq!(site.get("shop-001.localhost", "/").status(), 404);
    eventually("the log of it", || site.log().contains("the version is stopped").then_some(()));

    // The name of a version that is gone may come back, as a new process.
    site.edit_service("shop", &yaml("shop-001: 100", &[one, two]));
    let again = ask(&mut open);
    assert_eq!(again.version, "shop-001");
    assert_ne!(again.pid, first.pid);
    fs::remove_file(site.service("shop")).expect("remove");
    eventually("both processes' end", || (!is_alive(again.pid) && !is_alive(second.pid)).then_some(()));
}

#[test]
fn an_environment_that_changed_is_a_version_that_changed() {
    let yaml = format!("versions:\n  shop-001: {{command: {}, env: {{A: b}}, env_file: shop.env}}\n", command());
    let site = Site::new().file("services/shop.env", "MARK=one\n").service("shop", &yaml).start();
    let said = Said::parse(&site.get("shop.localhost", "/").text());
    assert_eq!(said.mark, "one");
    replace(&site.path().join("services/shop.env"), "MARK=two\n");
    let error = eventually("the refusal", || site.rejected().into_iter().next());
    assert!(error.contains("`env` of shop-001 has changed") && error.contains("`shop-002`"), "{error}");
    assert!(!error.contains("two") && !site.log().contains("MARK"), "values are never shown");
    assert_eq!(Said::parse(&site.get("shop.localhost", "/").text()), said);
    replace(&site.path().join("services/shop.env"), "MARK=one\n");
    eventually("the mending", || site.rejected().is_empty().then_some(()));
    assert_eq!(Said::parse(&site.get("shop.localhost", "/").text()), said);
}

#[test]
fn a_request_that_waits_for_a_version_goes_elsewhere_when_that_is_removed() {
    let fleet = Fleet::of("shop", 1);
    // Never ready, and deaf to its signal.
    let deaf = "{command: [sh, -c, \"trap '' TERM; sleep 600 & wait; wait\"], stop: {grace: 300s}}";
    let yaml = format!("weights: {{shop-002: 100}}\n{}  shop-002: {deaf}\n", fleet.versions());
    let site = Site::new().service("shop", &yaml).start();
    let mut waits = site.connect();
    waits.send("POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 4\r\n\r\nbody");
    eventually("the wait", || site.version("shop-002")["why"].as_str().map(|why| assert!(why.contains("for it"))));
    assert_eq!(site.version("shop-002")["state"], "starting");
    site.edit_service("shop", &fleet.versions());
    assert_eq!(waits.response().text(), "shop-001");
    assert_eq!(String::from_utf8_lossy(&fleet.backend(1).requests()[0].body), "body");
    assert!(!site.log().contains("the version is stopped"), "it did not wait for the stop either");
}

#[test]
fn at_the_end_all_processes_end() {
    let yaml = format!("versions: {{shop-001: {{command: {}, env: {{MARK: \"${{WORD}}\"}}}}}}\n", command());
    let mut site = Site::new().root("drain: {linger: 100ms}\n").env("WORD", "known").service("shop", &yaml).start();
    let said = Said::parse(&site.get("shop.localhost", "/").text());
    assert_eq!(said.mark, "known");
    let mut slow = site.connect();
    slow.send("GET / HTTP/1.1\r\nHost: shop.localhost\r\nX-Pause-Ms: 3000\r\n\r\n");
    eventually("the request on its way", || (site.version("shop-001")["in_flight"] == 1).then_some(()));
    site.signal("TERM");
    assert_eq!(Said::parse(&slow.response().text()), said);
    assert_eq!(site.wait(), Some(0));
    assert!(!is_alive(said.pid));
    assert!(!site.path().join("tidegate.sock").exists());
}

/// tidegate raises its own limit on open files; its versions keep the one that it was started with.
#[test]
fn a_process_has_the_limit_on_open_files_that_tidegate_was_given() {
    let site = Site::new()
        .service(
            "app",
            "versions:\n  app-001:\n    command: [sh, -c, \"ulimit -Sn; exec sleep 60\"]\n    start: {timeout: 60s}\n",
        )
        .start();
    let mut waits = site.connect();
    waits.send("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n");
    let own = std::process::Command::new("sh").args(["-c", "ulimit -Sn"]).output().expect("run").stdout;
    let own = String::from_utf8(own).expect("a number");
    let line = eventually("the limit in the log", || {
        site.log().lines().find(|line| line.contains("stream=\"stdout\"")).map(str::to_owned)
    });
    assert!(line.contains(&format!(" {} ", own.trim())), "{line}, not {own}");
}

#[test]
fn what_never_came_up_is_mended_under_its_name_and_what_has_run_is_not() {
    let broken = "versions: {shop-001: {command: [sh, -c, \"exit 3\"]}}\n";
    let site = Site::new().service("shop", broken).start();
    assert_eq!(site.get("shop.localhost", "/").status(), 503);
    site.write_service("shop", &format!("versions: {{shop-001: {{command: {}}}}}\n", command()));
    eventually("the mended version", || (site.get("shop.localhost", "/").status() == 200).then_some(()));
    site.write_service("shop", broken);
    let rejected = eventually("the refusal", || site.status()["rejected"].as_array()?.first().cloned());
    assert!(rejected["message"].as_str().expect("a text").contains("shop-001 has run"), "{rejected}");
    assert_eq!(site.get("shop.localhost", "/").status(), 200);
}
