//! Versions fall asleep by themselves, stay awake where they should, and cost nothing while they sleep.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::eventually;
use crate::support::process::{Said, command, is_alive};
use crate::support::site::Site;

fn ask(site: &Site, host: &str) -> Said {
    let answer = site.get(host, "/");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    Said::parse(&answer.text())
}

fn falls_asleep(site: &Site, version: &str) {
    eventually("sleep", || (site.version(version)["state"] == "asleep").then_some(()));
}

#[test]
fn a_version_without_traffic_sleeps_never_early_and_wakes_for_the_next_request() {
    let stop_after = Duration::from_millis(1500);
    let yaml = format!("versions: {{shop-001: {{command: {}, sleep: {{stop_after: 1500ms}}}}}}\n", command());
    let site = Site::new().service("shop", &yaml).start();
    let mut before = ask(&site, "shop.localhost");
    for _ in 0..2 {
        // Traffic keeps it awake for longer than it could be idle.
        let busy_until = Instant::now() + stop_after * 3 / 2;
        let mut last = Instant::now();
        while Instant::now() < busy_until {
            // Before it is sent, for what comes back may be looked at late.
            last = Instant::now();
            assert_eq!(ask(&site, "shop.localhost").pid, before.pid, "it did not sleep meanwhile");
        }
        eventually("the end of the process", || (!is_alive(before.pid)).then_some(()));
        assert!(last.elapsed() >= stop_after, "it slept after {:?}", last.elapsed());
        falls_asleep(&site, "shop-001");
        let next = ask(&site, "shop.localhost");
        assert_ne!(next.pid, before.pid);
        before = next;
    }
    assert!(site.log().contains("no traffic for 1.5s: going to sleep"), "{}", site.log());
}

#[test]
fn a_minimum_holds_while_there_is_weight_and_keep_holds_always() {
    let yaml = |weights: &str| {
        let version = format!("command: {}, sleep: {{stop_after: 100ms}}", command());
        format!(
            "weights: {{{weights}}}\nversions:\n  shop-001: {{{version}, replicas: {{min: 1}}}}\n  shop-002: {{{version}, keep: true}}\n  \
             shop-003: {{{version}}}\n"
        )
    };
    let site = Site::new().service("shop", &yaml("shop-001: 100")).start();
    for kept in ["shop-001", "shop-002"] {
        eventually("the minimum, without a request", || (site.version(kept)["state"] == "normal").then_some(()));
    }
    assert_eq!(site.version("shop-003")["state"], "asleep");
    let (first, kept) = (ask(&site, "shop-001.localhost"), ask(&site, "shop-002.localhost"));
    assert_eq!(site.version("shop-001")["awake"]["because"], "min");
    assert_eq!(site.version("shop-002")["awake"]["because"], "keep");
    let refused = site.admin().post_json::<Value>("/sleep?version=shop-001", &()).expect_err("its minimum holds");
    assert!(refused.to_string().contains("minimum of 1"), "{refused}");
    // Without weight the minimum holds no more, and the idle clock of another second shows that the kept one stays.
    site.edit_service("shop", &yaml("shop-003: 100"));
    falls_asleep(&site, "shop-001");
    assert!(!is_alive(first.pid) && is_alive(kept.pid));
    site.edit_service("shop", &yaml("shop-001: 100"));
    eventually("the minimum again", || (site.version("shop-001")["state"] == "normal").then_some(()));
}

#[test]
fn what_is_new_is_tried_out_and_its_faults_show_without_a_request() {
    let yaml = |versions: &str| {
        format!("weights: {{shop-001: 100}}\nversions:\n  shop-001: {{command: {}}}\n{versions}", command())
    };
    let site = Site::new().service("shop", &yaml("")).start();
    assert_eq!(site.version("shop-001")["state"], "asleep", "what was there before the start of tidegate is not");
    site.edit_service("shop", &yaml("  shop-002: {command: [sh, -c, \"echo no database; exit 3\"]}\n"));
    let failed =
        eventually("the failure", || Some(site.version("shop-002")).filter(|v| v["wakes"][0]["failed"].is_string()));
    assert!(failed["wakes"][0]["failed"].as_str().expect("a reason").contains("no database"), "{failed}");
}

#[test]
fn a_crash_turns_nobody_away_and_the_next_in_a_row_does() {
    let yaml = format!("versions: {{shop-001: {{command: {}}}}}\n", command());
    let site = Site::new().service("shop", &yaml).start();
    let crash = |pid: u32| {
        let killed = Command::new("kill").args(["-KILL", &pid.to_string()]).status().expect("kill");
        assert!(killed.success());
        eventually("the end of the process", || (!is_alive(pid)).then_some(()));
        eventually("its end being known", || Some(site.version("shop-001")).filter(|v| v["state"] != "normal"))
    };
    let first = ask(&site, "shop.localhost");
    let ended = crash(first.pid);
    let why = ended["why"].as_str().unwrap_or_default();
    assert!(why.starts_with("the last run ended: it exited"), "{why}");
    let second = ask(&site, "shop.localhost");
    assert_ne!(second.pid, first.pid);
    let (mut failed, mut pause) = (crash(second.pid), 500);
    // Where the pause was over before anybody looked, the next one is twice as long.
    while failed["state"] != "failed" && pause < 8_000 {
        (failed, pause) = (crash(ask(&site, "shop.localhost").pid), pause * 2);
    }
    assert_eq!((&failed["state"], &failed["backoff_ms"]), (&"failed".into(), &pause.into()), "{failed}");
}

/// How often the threads of a process have given up the processor by themselves: each timer that goes off is one more.
fn switches(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let of = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:").map(str::trim).map(str::to_owned));
        line.and_then(|number| number.parse::<u64>().ok()).unwrap_or_default()
    };
    tasks.flatten().map(of).sum()
}

#[test]
fn sleeping_costs_no_thread_no_descriptor_and_no_timer() {
    let threads = |pid: u32| fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").count();
    let files = |pid: u32| fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count();
    // Ten versions that have run, and ninety that have not.
    let mut site = Site::new();
    for service in 0..10 {
        let versions: String = (1..=10).map(|n| format!("  s{service}-{n:03}: {{command: {}}}\n", command())).collect();
        site =
            site.service(&format!("s{service}"), &format!("weights: {{s{service}-001: 100}}\nversions:\n{versions}"));
    }
    let site = site.start();
    let pid = site.pid();
    let before = (threads(pid), files(pid));
    for service in 0..10 {
        ask(&site, &format!("s{service}.localhost"));
    }
    assert!(files(pid) > before.1, "processes have pipes");
    for service in 0..10 {
        let slept = site.admin().post_json::<Value>(&format!("/sleep?version=s{service}-001"), &());
        assert!(slept.is_ok(), "{slept:?}");
    }
    let no_more = || threads(pid) <= before.0 && files(pid) <= before.1;
    eventually("nothing more than before", || no_more().then_some(()));
    // The evictor of idle connections and the last lines of the log have their turn; then there is silence.
    let silent = eventually("silence", || {
        let (at, seen) = (Instant::now(), switches(pid));
        while at.elapsed() < Duration::from_secs(1) {
            std::thread::park_timeout(Duration::from_millis(100));
        }
        Some(switches(pid) - seen).filter(|woken| *woken <= 3)
    });
    assert!(silent <= 3, "a hundred timers would have gone off");
}
