//! Verbs with a tidegate that runs: versions are woken before they get traffic, and one that does not come up gets none.

use std::fs;
use std::io::Read as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::backend::Fleet;
use crate::support::eventually;
use crate::support::process::{Said, command, is_alive};
use crate::support::site::{Site, tidegate};

const TIDEGATE: &str = env!("CARGO_BIN_EXE_tidegate");

/// The exit code, and what was printed, first on standard output.
fn say(site: &Site, arguments: &[&str]) -> (Option<i32>, String) {
    let (verb, rest) = arguments.split_at(1);
    let output = tidegate().args(verb).arg("-c").arg(site.root()).args(rest).output().expect("run");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("text"))
}

fn good(site: &Site, arguments: &[&str]) -> String {
    let (code, said) = say(site, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    said
}

fn answers(site: &Site) -> String {
    let answer = site.get("shop.localhost", "/");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.text()
}

#[test]
fn ctrl_c_ends_a_deploy_that_waits_for_its_version_and_the_traffic_stays() {
    let site = Site::new().start();
    good(&site, &deploy(&[], &program()));
    let before = answers(&site);
    let mut deploying = tidegate()
        .args(["deploy", "shop", "-c"])
        .arg(site.root())
        .args(["--traffic", "100", "--command", "--", "sleep", "60"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("run");
    eventually("the start", || site.status()["services"].to_string().contains("\"starting\"").then_some(()));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(deploying.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("running");
    let ended = eventually("its end", || deploying.try_wait().expect("ours"));
    assert!(!ended.success(), "{ended}");
    let mut said = String::new();
    deploying.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert!(said.contains("interrupted; `tidegate versions shop`"), "{said}");
    assert_eq!(Said::parse(&answers(&site)).pid, Said::parse(&before).pid);
    good(&site, &["delete", "shop-002"]);
}

/// What is behind `--` to run the backend of tests.
fn program() -> Vec<String> {
    let program = std::env::current_exe().expect("this program").to_string_lossy().into_owned();
    let rest = ["--exact", "support::process::serve", "--ignored", "--nocapture"].map(str::to_owned);
    [program].into_iter().chain(rest).collect()
}

fn deploy<'a>(more: &[&'a str], program: &'a [String]) -> Vec<&'a str> {
    let mut all = [&["deploy", "shop"], more, &["--command", "--"]].concat();
    all.extend(program.iter().map(String::as_str));
    all
}

#[test]
fn a_deploy_is_tried_out_before_it_gets_traffic() {
    let site = Site::new().start();
    let program = program();
    let said = good(&site, &deploy(&["--env", "MARK=one"], &program));
    assert!(said.starts_with("shop-001 is up, after "), "{said}");
    let first = Said::parse(&answers(&site));
    assert_eq!((first.version.as_str(), first.mark.as_str()), ("shop-001", "one"));

    let said = good(&site, &deploy(&["--traffic", "100", "--env", "MARK=two", "--json"], &program));
    let json: Value = serde_json::from_str(&said[..said.rfind('}').expect("JSON") + 1]).expect("JSON");
    assert_eq!((&json["version"], &json["tried"]), (&json!("shop-002"), &json!(true)));
    assert_eq!(Said::parse(&answers(&site)).mark, "two", "in force when the command is done");
    good(&site, &["rollback", "shop"]);
    assert_eq!(Said::parse(&answers(&site)).mark, "one");
    let shown = good(&site, &["versions", "shop"]);
    assert!(shown.contains("shop-001    100%  normal  127.0.0.1:"), "{shown}");

    let before = fs::read_to_string(site.service("shop")).expect("text");
    let (code, said) =
        say(&site, &["deploy", "shop", "--traffic", "50", "--command", "--", "sh", "-c", "echo no such table; exit 3"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("`shop-003` did not come up") && said.contains("exit code 3"), "{said}");
    assert!(said.contains("no such table") && said.contains("the traffic stays as it was"), "{said}");
    assert!(said.contains("tidegate delete shop-003"), "{said}");
    assert_eq!(Said::parse(&answers(&site)).mark, "one");
    good(&site, &["delete", "shop-003"]);
    let after = fs::read_to_string(site.service("shop")).expect("text");
    assert_eq!(after, before.replace("last_version: 2", "last_version: 3"));
    let rest = good(&site, &["restart", "shop-001"]);
    assert!(rest.starts_with("shop-001 is up again, after "), "{rest}");
    assert!(!is_alive(first.pid));
    assert_ne!(Said::parse(&answers(&site)).pid, first.pid);
}

#[test]
fn traffic_wakes_who_gets_more_and_moves_nothing_if_that_fails() {
    let fails = format!("[ -e mended ] || exit 3; exec {TIDEGATE} demo");
    let yaml = format!(
        "versions:\n  shop-001: {{command: {}}}\n  shop-002: {{command: [sh, -c, {fails:?}], cwd: ..}}\nweights: {{shop-001: 100}}\n",
        command()
    );
    let site = Site::new().service("shop", &yaml).start();
    let (code, said) = say(&site, &["traffic", "shop", "2=100"]);
    assert!(code == Some(1) && said.contains("the traffic stays as it was: `shop-002` did not come up"), "{said}");
    assert_eq!(fs::read_to_string(site.service("shop")).expect("text"), yaml);
    good(&site, &["traffic", "shop", "2=100", "--no-wake"]);
    assert_eq!(site.version("shop-002")["weight"], 100.0);
    good(&site, &["rollback", "shop"]);
    fs::write(site.path().join("mended"), "").expect("write");
    good(&site, &["traffic", "shop", "2=50", "1=50"]);
    assert_eq!(site.version("shop-002")["state"], "normal");
}

#[test]
fn an_edit_that_the_server_holds_back_says_so() {
    let fleet = Fleet::of("shop", 2);
    let site = Site::new().service("shop", &fleet.file(&[100.0, 0.0])).start();
    site.write_root("listen: {http: 127.0.0.1:0}\nlsiten: {}\n");
    let (code, said) = say(&site, &["traffic", "shop", "2=100"]);
    assert!(code == Some(1) && said.contains("did you mean `listen`"), "{said}");
    site.write_root("listen: {http: 127.0.0.1:0}\nthreads: 2\n");
    // Another service claims the host that the edit adds.
    site.write_service("blog", "routes: [{host: x.example}]\nredirect: https://y.example\n");
    eventually("the edit in force", || site.status()["services"].as_array().filter(|all| all.len() == 2).map(|_| ()));
    let yaml = fs::read_to_string(site.service("shop")).expect("text");
    site.write_service("shop", &format!("routes: [{{host: x.example}}]\n{yaml}"));
    eventually("the conflict", || (!site.rejected().is_empty()).then_some(()));
    let (code, said) = say(&site, &["traffic", "shop", "2=100"]);
    assert!(code == Some(1) && said.contains("holds it back") && said.contains("x.example"), "{said}");
}

#[test]
fn a_service_and_its_processes_go_with_its_file() {
    let yaml = format!("versions: {{shop-001: {{command: {}, keep: true}}}}\n", command());
    let site = Site::new().service("shop", &yaml).start();
    let said = Said::parse(&answers(&site));
    good(&site, &["service", "delete", "shop", "--force"]);
    eventually("the end of its process", || (!is_alive(said.pid)).then_some(()));
    assert_eq!(site.get("shop.localhost", "/").status(), 404);
}

#[test]
fn a_version_that_is_being_made_is_shown_and_one_whose_deploy_was_killed_is_not() {
    let fleet = Fleet::of("shop", 1);
    let site = Site::new().service("shop", &fleet.versions()).start();
    let mut lock = std::process::Command::new("flock");
    let marker = site.path().join("services/.shop-002.building");
    fs::write(&marker, r#"{"version": "shop-002", "what": "shop:2", "since": "2026-01-31T00:00:00Z"}"#).expect("write");
    let shown = good(&site, &["versions", "shop"]);
    assert!(!shown.contains("building"), "{shown}");
    let held = lock.arg(&marker).args(["-c", "echo held; exec sleep 60"]).stdout(Stdio::piped()).spawn();
    let Ok(mut held) = held else { return crate::support::skip("flock", "install util-linux") };
    let shown = eventually("the marker's lock", || {
        Some(good(&site, &["versions", "shop"])).filter(|shown| shown.contains("building"))
    });
    assert!(shown.contains("shop-002      0%  building  -                shop:2"), "{shown}");
    held.kill().and_then(|()| held.wait()).expect("killed");
}
