//! How many instances come up at a time over the host, restarts, and scaling by processor time.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use serde_json::Value;

use crate::support::docker::Containers;
use crate::support::eventually;
use crate::support::ledger::until_dropped;
use crate::support::process::{Said, command};
use crate::support::site::Site;

/// A version that comes up once a file is there.
fn gated(file: &Path) -> String {
    let words = command();
    let program = words.trim_start_matches('[').split(", ").next().expect("a program").to_owned();
    let rest: Vec<&str> = words.trim_end_matches(']').split(", ").skip(1).collect();
    let script = format!("until [ -e {} ]; do sleep 0.01; done; exec \\\"$@\\\"", file.display());
    format!("{{command: [sh, -c, \"{script}\", sh, {program}, {}], start: {{timeout: 60s}}}}", rest.join(", "))
}

#[test]
fn only_so_many_come_up_at_a_time_and_the_others_are_shown_in_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = [folder.path().join("one"), folder.path().join("two")];
    let site = Site::new()
        .root("max_starts: 1\n")
        .service("one", &format!("versions:\n  one-001: {}\n", gated(&files[0])))
        .service("two", &format!("versions:\n  two-001: {}\n", gated(&files[1])))
        .start();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| site.get("one.localhost", "/"));
        eventually("the first start", || (site.status()["starts"]["now"] == 1).then_some(()));
        let second = scope.spawn(|| site.get("two.localhost", "/"));
        let status: Value = eventually("the line", || {
            let status = site.status();
            (status["starts"]["waiting"] == 1).then_some(status)
        });
        assert_eq!((&status["starts"]["max"], &status["starts"]["now"]), (&1.into(), &1.into()));
        assert_eq!(site.version("two-001")["why"], "waits for its turn to start (max_starts)");
        assert_eq!(site.metrics().get("tidegate_starts_waiting"), 1.0);
        // The second could come up by now, and may not.
        std::fs::write(&files[1], "").expect("written");
        assert_eq!(site.version("two-001")["state"], "starting");
        std::fs::write(&files[0], "").expect("written");
        assert_eq!(first.join().expect("no panic").status(), 200);
        assert_eq!(second.join().expect("no panic").status(), 200);
    });
    assert_eq!(site.status()["starts"]["waiting"], 0);
}

#[test]
fn a_restart_has_another_process_serve_also_where_a_minimum_always_runs() {
    let site = Site::new()
        .service("shop", &format!("versions:\n  shop-001: {{command: {}, replicas: 1}}\n", command()))
        .start();
    let pid = || Said::parse(&site.get("shop.localhost", "/").text()).pid;
    let before = pid();
    let refused = site.admin().post_json::<Value>("/sleep?version=shop-001", &()).expect_err("it has a minimum");
    assert!(refused.to_string().contains("minimum of 1"), "{refused}");
    let up: Value = site.admin().post_json("/restart?version=shop-001", &()).expect("restarted");
    assert_eq!(up["version"], "shop-001");
    assert_ne!(pid(), before);
}

#[test]
fn a_container_that_is_busy_gets_a_second_one() {
    let Some(containers) = Containers::new() else { return };
    let version = containers.version(1);
    let service = format!(
        "versions:\n  {version}:\n    image: {}\n    resources: {{cpu: 0.2}}\n    replicas: {{min: 1, max: 2}}\n    scale: {{on: cpu, target: 30}}\n",
        containers.image()
    );
    let site = Site::new().service(containers.name(), &service).start();
    let (host, done) = (containers.host(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _done = until_dropped(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let mut raw = site.connect();
                raw.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-Burn-Ms: 100\r\nConnection: close\r\n\r\n"));
                assert_eq!(raw.response().status(), 200);
            }
        });
        eventually("a second", || {
            (site.version(&version)["instances"].as_array().map(Vec::len) == Some(2)).then_some(())
        });
    });
    assert_eq!(containers.names().len(), 2);
}
