//! Sleep and wake as people see them: the commands, the status, the metrics.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::backend::Fleet;
use crate::support::process::{Said, command, is_alive};
use crate::support::raw::Raw;
use crate::support::site::{Metrics, Site, tidegate};
use crate::support::{PATIENCE, eventually};

const TIDEGATE: &str = env!("CARGO_BIN_EXE_tidegate");

/// The exit code, and what was printed.
fn say(site: &Site, verb: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = tidegate().arg(verb).args(arguments).arg("-c").arg(site.root()).output().expect("run");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("text"))
}

/// The line of `tidegate status` about a version.
fn line(site: &Site, version: &str) -> String {
    let (_, text) = say(site, "status", &[]);
    let found = text.lines().find(|line| line.trim_start().starts_with(version));
    found.unwrap_or_else(|| panic!("no {version} in {text}")).to_owned()
}

fn ask(site: &Site) -> Said {
    let answer = site.get("shop.localhost", "/");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    Said::parse(&answer.text())
}

/// Of `shop-001`.
fn figure(metrics: &Metrics, name: &str, label: &str) -> f64 {
    metrics.get(&format!("tidegate_{name}{{service=\"shop\",version=\"shop-001\"{label}}}"))
}

fn states(metrics: &Metrics) -> Vec<&'static str> {
    let all = ["asleep", "starting", "normal", "draining", "failed", "stopped"];
    all.into_iter().filter(|state| figure(metrics, "version_state", &format!(",state=\"{state}\"")) == 1.0).collect()
}

/// A version that runs a script of the shell in the folder of tidegate.yaml.
fn script(script: &str) -> String {
    let script = serde_json::to_string(script).expect("JSON is YAML");
    format!("versions:\n  shop-001:\n    command: [sh, -c, {script}]\n    cwd: ..\n")
}

#[test]
fn a_version_sleeps_wakes_for_a_request_and_sleeps_when_told_to() {
    let site = Site::new().service("shop", &format!("versions: {{shop-001: {{command: {}}}}}\n", command())).start();
    let asleep = site.version("shop-001");
    assert_eq!((&asleep["state"], &asleep["instances"], &asleep["wakes"]), (&json!("asleep"), &json!([]), &json!([])));
    assert_eq!(asleep["awake"], Value::Null);
    assert_eq!(asleep["replicas"], json!({"min": 0, "max": 1, "wanted": null, "at_max": false}));
    let metrics = site.metrics();
    assert_eq!(states(&metrics), ["asleep"]);
    assert_eq!(figure(&metrics, "replicas_wanted", ""), 0.0);
    assert!(!site.log().contains("the version is up"), "nothing has been started: {}", site.log());

    let first = ask(&site);
    assert!(is_alive(first.pid));
    let up = site.version("shop-001");
    assert_eq!((&up["state"], &up["instances"][0]["state"]), (&json!("normal"), &json!("normal")));
    let wake = &up["wakes"][0];
    assert_eq!((&wake["waited"], &wake["failed"]), (&json!(1), &Value::Null));
    let asked = wake["asked"].as_str().expect("a time");
    assert!(asked.starts_with("20") && asked.ends_with('Z'), "{asked}");
    let parts = wake["start_ms"].as_u64().expect("a start") + wake["probe_ms"].as_u64().expect("probes");
    assert!(up["typical_start_ms"].as_u64().expect("a time").abs_diff(parts) <= 2, "{up}");
    let awake =
        eventually("idleness", || Some(site.version("shop-001")["awake"].clone()).filter(|a| a["because"] == "idle"));
    let left = awake["sleeps_in"].as_u64().expect("a time");
    assert!((3_500..=3_600).contains(&left), "an hour: {left}");
    assert!(line(&site, "shop-001").contains("  sleeps in "), "{}", line(&site, "shop-001"));
    assert_eq!(say(&site, "wake", &["shop-001"]), (Some(0), "shop-001 is up already\n".to_owned()));

    let (code, said) = say(&site, "sleep", &["shop-001"]);
    assert!(code == Some(0) && said.starts_with("shop-001 sleeps, after "), "{said}");
    assert!(!is_alive(first.pid), "answered when it sleeps");
    assert_eq!(site.version("shop-001")["state"], "asleep");
    assert_eq!(say(&site, "sleep", &["shop-001"]), (Some(0), "shop-001 sleeps already\n".to_owned()));

    let second = ask(&site);
    assert_ne!(second.pid, first.pid);
    say(&site, "sleep", &["shop-001"]);
    let (code, said) = say(&site, "wake", &["shop-001"]);
    assert!(code == Some(0) && said.starts_with("shop-001 is up, after "), "{said}");
    assert_eq!(site.version("shop-001")["wakes"][0]["waited"], 0);
    let metrics = site.metrics();
    assert_eq!(figure(&metrics, "request_held_seconds_count", ""), 2.0, "one of the wakes was a command");
    assert_eq!(figure(&metrics, "wakes_total", ",outcome=\"ready\""), 3.0);
    assert_eq!(figure(&metrics, "wakes_total", ",outcome=\"failed\""), 0.0);
    assert_eq!(figure(&metrics, "wake_duration_seconds_count", ""), 3.0);
    let seconds = figure(&metrics, "wake_duration_seconds_sum", "");
    assert!(seconds > 0.0 && seconds < 60.0, "{seconds}");
    assert_eq!((states(&metrics), figure(&metrics, "replicas_wanted", "")), (vec!["normal"], 1.0));
    assert_eq!((figure(&metrics, "replicas_min", ""), figure(&metrics, "replicas_max", "")), (0.0, 1.0));
}

#[test]
fn a_version_that_is_starting_says_for_how_long_and_for_how_many() {
    let yaml = script(&format!("while [ ! -e go ]; do sleep 0.01; done; exec {TIDEGATE} demo"));
    let site = Site::new().service("shop", &yaml).start();
    let mut clients: Vec<Raw> = (0..3).map(|_| site.connect()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n");
    }
    let starting = eventually("three that wait", || {
        Some(site.version("shop-001")).filter(|v| v["waiting"] == 3 && v["state"] == "starting")
    });
    assert_eq!((&starting["state"], &starting["why"]), (&json!("starting"), &json!("3 requests wait for it")));
    assert!(starting["starting_ms"].is_u64() && starting["typical_start_ms"].is_null(), "{starting}");
    assert_eq!(starting["in_flight"], 0);
    let shown = line(&site, "shop-001");
    let cells: Vec<&str> = shown.split_whitespace().collect();
    assert_eq!(cells[..9], ["shop-001", "100%", "starting", "0", "0", "3", "0", "0", "for"], "{shown}");
    let metrics = site.metrics();
    assert_eq!((states(&metrics), figure(&metrics, "requests_waiting", "")), (vec!["starting"], 3.0));
    fs::write(site.path().join("go"), "").expect("write");
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
    let up = site.version("shop-001");
    assert_eq!((&up["wakes"][0]["waited"], &up["waiting"], &up["starting_ms"]), (&json!(3), &json!(0), &Value::Null));
}

#[test]
fn sleep_lets_requests_finish_and_who_comes_meanwhile_wakes_it() {
    let site = Site::new().service("shop", &format!("versions: {{shop-001: {{command: {}}}}}\n", command())).start();
    let first = ask(&site);
    let mut slow = site.connect();
    slow.send("GET / HTTP/1.1\r\nHost: shop.localhost\r\nX-Pause-Ms: 4000\r\n\r\n");
    eventually("the request at the backend", || (site.version("shop-001")["in_flight"] == 1).then_some(()));
    assert!(line(&site, "shop-001").contains("awake for 1 request"));
    thread::scope(|scope| {
        let sleep = scope.spawn(|| say(&site, "sleep", &["shop-001"]));
        eventually("the drain", || (site.version("shop-001")["state"] == "draining").then_some(()));
        assert!(line(&site, "shop-001").ends_with("1 request in flight"), "{}", line(&site, "shop-001"));
        let late = scope.spawn(|| ask(&site));
        let old = slow.response();
        assert_eq!((old.status(), Said::parse(&old.text())), (200, Said::parse(&format!("shop-001 {} ", first.pid))));
        let (code, said) = sleep.join().expect("no panic");
        assert_eq!(code, Some(0));
        assert!(said.contains("woken at once by a request that waits"), "{said}");
        assert_ne!(late.join().expect("no panic").pid, first.pid);
    });
    assert!(!is_alive(first.pid));
}

#[test]
fn a_command_that_takes_long_says_what_it_waits_for() {
    let yaml = script(&format!("while [ ! -e go ]; do sleep 0.01; done; exec {TIDEGATE} demo"));
    let quick = format!("versions: {{blog-001: {{command: {}}}}}\n", command());
    let site = Site::new().service("shop", &yaml).service("blog", &quick).start();
    let told = |verb: &str, version: &str, until: &dyn Fn()| {
        let mut ask = tidegate();
        ask.arg(verb).arg(version).arg("-c").arg(site.root());
        let mut child = ask.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("spawn");
        let mut line = String::new();
        BufReader::new(child.stderr.take().expect("piped")).read_line(&mut line).expect("text");
        until();
        let output = child.wait_with_output().expect("run");
        assert!(output.status.success());
        (line, String::from_utf8(output.stdout).expect("text"))
    };
    let (line, said) = told("wake", "shop-001", &|| fs::write(site.path().join("go"), "").expect("write"));
    assert!(line.starts_with("waits for shop-001, which is starting for "), "{line}");
    assert!(said.starts_with("shop-001 is up, after "), "{said}");

    let mut slow = site.connect();
    slow.send("GET / HTTP/1.1\r\nHost: blog.localhost\r\nX-Pause-Ms: 6000\r\n\r\n");
    eventually("the request at the backend", || (site.version("blog-001")["in_flight"] == 1).then_some(()));
    let (line, said) = told("sleep", "blog-001", &|| ());
    assert_eq!(line, "waits for 1 request in flight\n");
    assert!(said.starts_with("blog-001 sleeps, after "), "{said}");
    assert_eq!(slow.response().status(), 200);
}

#[test]
fn wake_says_why_a_version_does_not_come_up_and_tries_it_again_when_asked() {
    let fails = "[ -e mended ] || { echo \"no such \\033[31mtable\" >&2; exit 3; }";
    let site = Site::new().service("shop", &script(&format!("{fails}; exec {TIDEGATE} demo"))).start();
    let began = Instant::now();
    for _ in 0..6 {
        let (code, said) = say(&site, "wake", &["shop-001"]);
        assert_eq!(code, Some(1));
        assert!(said.starts_with("tidegate: `shop-001` did not come up: exited before it was ready"), "{said}");
        assert!(said.contains("exit code 3") && said.contains("no such ") && !said.contains('\u{1b}'), "{said}");
    }
    // The pauses after five failures are 0.5, 1, 2, 4 and 8 seconds.
    assert!(began.elapsed() < Duration::from_millis(15_500), "each is tried at once: {:?}", began.elapsed());
    let failed = site.version("shop-001");
    assert_eq!((&failed["state"], &failed["backoff_ms"]), (&json!("failed"), &json!(16_000)));
    assert_eq!(failed["why"].as_str().expect("a reason"), failed["wakes"][4]["failed"]);
    let shown = line(&site, "shop-001");
    let why = "exited before it was ready: exit code 3 ... (not tried again for 16.0s)";
    assert!(shown.ends_with(why), "{shown}");
    let metrics = site.metrics();
    assert_eq!(figure(&metrics, "wakes_total", ",outcome=\"failed\""), 6.0);
    assert_eq!(figure(&metrics, "wake_duration_seconds_count", ""), 0.0);
    // Asleep, it still says what came of the last wake.
    say(&site, "sleep", &["shop-001"]);
    assert!(line(&site, "shop-001").contains("the last wake failed: exited"), "{}", line(&site, "shop-001"));

    fs::write(site.path().join("mended"), "").expect("write");
    let (code, said) = say(&site, "wake", &["shop-001"]);
    assert!(code == Some(0) && said.starts_with("shop-001 is up, after "), "{said}");
    assert!(line(&site, "shop-001").contains("sleeps in "), "{}", line(&site, "shop-001"));
}

#[test]
fn a_start_that_takes_too_long_is_a_timeout() {
    let stubborn = script("trap '' TERM; while :; do sleep 0.1; done");
    let yaml = stubborn + "    start: {timeout: 300ms}\n    stop: {grace: 300s}\n";
    let site = Site::new().service("shop", &yaml).start();
    let began = Instant::now();
    let (code, said) = say(&site, "wake", &["shop-001"]);
    assert!(began.elapsed() < PATIENCE, "told before it has been stopped: {:?}", began.elapsed());
    assert!(code == Some(1) && said.contains("not ready within 300ms"), "{said}");
    assert_eq!(figure(&site.metrics(), "wakes_total", ",outcome=\"timeout\""), 1.0);
    let wake = &site.version("shop-001")["wakes"][0];
    let [start, probe] = ["start_ms", "probe_ms"].map(|part| wake[part].as_u64().expect("both parts"));
    assert!(probe > 0 && (299..60_000).contains(&(start + probe)), "{wake}");
}

#[test]
fn what_cannot_sleep_and_what_is_not_there_is_said_with_the_cure() {
    let (fleet, other) = (Fleet::of("shop", 2), Fleet::of("blog", 1));
    let mut site = Site::new().service("shop", &fleet.file(&[100.0, 0.0])).service("blog", &other.versions()).start();
    let refused = |verb: &str, version: &str| {
        let (code, said) = say(&site, verb, &[version]);
        assert_eq!(code, Some(1), "{said}");
        said
    };
    assert!(refused("sleep", "shop-001").contains("has `urls`, which are not tidegate's to start or stop"));
    assert_eq!(say(&site, "wake", &["shop-001"]), (Some(0), "shop-001 is up already\n".to_owned()));
    let of_shop = "those of `shop` are: shop-001, shop-002\n";
    for (version, there_are) in
        [("shop-007", of_shop), ("shop", of_shop), ("shop 1&x", "those are: blog-001, shop-001, shop-002\n")]
    {
        let expected = format!("tidegate: there is no version `{version}`; {there_are}");
        assert_eq!(refused("sleep", version), expected);
        assert_eq!(refused("wake", version), expected);
    }
    let post = |path: &str| site.admin().post_json::<Value>(path, &json!({})).expect_err("no version").to_string();
    assert_eq!(post("/sleep"), "which version? such as /sleep?version=shop-001");
    site.signal("TERM");
    assert_eq!(site.wait(), Some(0));
    let (code, said) = say(&site, "wake", &["shop-001"]);
    assert!(code == Some(1) && said.contains("no tidegate is running here"), "{said}");
}

#[test]
fn every_verb_takes_its_config_by_the_same_option() {
    let fleet = Fleet::of("shop", 1);
    let site = Site::new().service("shop", &fleet.versions()).start();
    let (code, said) = say(&site, "check", &[]);
    assert!(code == Some(0) && said.contains("good, 1 service with 1 version"), "{said}");
    let (code, said) = say(&site, "explain", &["http://shop.localhost/a/../b?preview=new1"]);
    assert_eq!(code, Some(0));
    assert!(said.starts_with("request   shop.localhost/b?preview=new1\n"), "{said}");
    for verb in ["check", "serve"] {
        let (code, said) = say(&site, verb, &["other.yaml"]);
        assert!(code == Some(2) && said.contains("cannot be used with"), "one or the other: {said}");
    }
    site.write_root("lsiten: {}\n");
    let (code, said) = say(&site, "serve", &[]);
    assert!(code == Some(1) && said.contains("did you mean `listen`"), "{said}");
}
