//! Verbs that edit a service's file while no tidegate runs: what they write, what they leave alone, what they refuse.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::site::{replace, tidegate};

const SHOP: &str = concat!(
    "# The shop.\r\n",
    "domains:\r\n",
    "  - shop.example.com   # the main one\r\n",
    "weights: {shop-001: 90, shop-002: 10}  # since Monday\r\n",
    "\r\n",
    "rules:\r\n",
    "  - {query: {preview: new}, version: shop-002}\r\n",
    "versions:\r\n",
    "    shop-001: {urls: [\"http://127.0.0.1:1\"]}   # old\r\n",
    "    # the new one\r\n",
    "    shop-002:\r\n",
    "        command: [sleep, \"9\"]\r\n",
    "        remark: new\r\n",
    "    shop-004: {urls: [\"http://127.0.0.1:4\"]}\r\n",
);

struct Files(TempDir);

impl Files {
    fn with(text: &str) -> Self {
        let files = Self(tempfile::tempdir().expect("a folder"));
        fs::create_dir(files.0.path().join("services")).expect("a folder");
        fs::write(files.0.path().join("tidegate.yaml"), "listen: {http: 127.0.0.1:0}\n").expect("write");
        if !text.is_empty() {
            fs::write(files.shop(), text).expect("write");
        }
        files
    }

    fn shop(&self) -> PathBuf {
        self.0.path().join("services/shop.yaml")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.shop()).expect("a file")
    }

    /// The exit code, and what was printed, first on standard output.
    fn say(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let root = self.0.path().join("tidegate.yaml");
        // Before `--`, behind which nothing is an option.
        let (verb, rest) = arguments.split_at(1);
        let mut command = tidegate();
        command.args(verb).arg("--config").arg(root).args(rest).env("DOCKER_HOST", "unix:///nowhere");
        let output = command.current_dir(self.0.path()).output().expect("run");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("text"))
    }

    fn good(&self, arguments: &[&str]) -> String {
        let (code, said) = self.say(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        said
    }

    /// What is refused changes nothing.
    fn refused(&self, arguments: &[&str]) -> String {
        let before = fs::read_to_string(self.shop()).ok();
        let (code, said) = self.say(arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        assert_eq!(fs::read_to_string(self.shop()).ok(), before, "{arguments:?}");
        said
    }
}

#[test]
fn traffic_is_shown_moved_and_rolled_back_and_all_else_stays() {
    let files = Files::with(SHOP);
    let shown = files.good(&["traffic", "shop"]);
    assert_eq!(shown, "VERSION   WEIGHT\nshop-001     90%\nshop-002     10%\nshop-004      0%\n");
    let said = files.good(&["traffic", "shop", "2=33.33", "shop-001=66.67%"]);
    assert!(said.contains("shop-002  33.33%  was 10%") && said.contains("no tidegate is running here"), "{said}");
    let moved = SHOP.replace("{shop-001: 90, shop-002: 10}", "{shop-001: 66.67, shop-002: 33.33}");
    let previous = |weights: &str| format!("previous_weights: {weights}\r\n");
    assert_eq!(files.text(), moved + &previous("{shop-001: 90, shop-002: 10}"));
    files.good(&["rollback", "shop"]);
    assert_eq!(files.text(), SHOP.to_owned() + &previous("{shop-001: 66.67, shop-002: 33.33}"));
    files.good(&["traffic", "shop", "004=100"]);
    let all = SHOP.replace("{shop-001: 90, shop-002: 10}", "{shop-001: 0, shop-002: 0, shop-004: 100}");
    assert_eq!(files.text(), all + &previous("{shop-001: 90, shop-002: 10}"));
    let json: Value = serde_json::from_str(files.good(&["traffic", "shop", "--json"]).as_str()).expect("JSON");
    assert_eq!(json["weights"][2], json!({"version": "shop-004", "before": 100.0, "weight": 100.0}));
}

#[test]
fn traffic_that_makes_no_sense_is_refused_with_what_would() {
    let files = Files::with(SHOP);
    let said = files.refused(&["traffic", "shop", "4=5"]);
    assert!(said.ends_with("Did you mean: tidegate traffic shop shop-004=5 shop-001=95\n"), "{said}");
    assert!(files.refused(&["traffic", "shop", "1=60", "2=60"]).contains("sum to 120, not 100: take 20 off"));
    assert!(files.refused(&["traffic", "shop", "1=50", "001=50"]).contains("named twice"));
    assert!(files.refused(&["traffic", "shop", "7=100"]).contains("those of `shop` are: shop-001, shop-002, shop-004"));
    assert!(files.refused(&["traffic", "shp", "1=100"]).contains("did you mean `shop`?"));
    assert!(files.refused(&["traffic", "shop", "1=100", "--over", "5m"]).contains("`--over` is not supported yet"));
    assert!(files.refused(&["rollback", "shop"]).contains("nothing to return to"));
    assert_eq!(files.say(&["traffic", "shop", "1=1.234"]).0, Some(2));
    assert_eq!(files.say(&["traffic", "shop", "1"]).0, Some(2));
    fs::write(files.shop(), "versions: {shop-001: {urls: [\"http://127.0.0.1:1\"]}\n").expect("write");
    assert!(files.refused(&["traffic", "shop", "1=100"]).contains("which are to be mended first"));
}

#[test]
fn what_is_shared_by_an_alias_is_left_to_a_person() {
    let shared = "weights: &w {shop-001: 100}\nprevious_weights: *w\nversions:\n  shop-001: {urls: [\"http://127.0.0.1:1\"]}\n  shop-002: {urls: [\"http://127.0.0.1:2\"]}\n";
    let files = Files::with(shared);
    let said = files.refused(&["traffic", "shop", "2=100"]);
    assert!(said.contains("cannot be edited safely") && said.contains("write by hand:"), "{said}");
}

#[test]
fn a_version_is_deleted_from_all_that_names_it_and_its_number_never_comes_again() {
    let files = Files::with(SHOP);
    assert!(files.refused(&["delete", "shop-001"]).contains("has 90% of the traffic"));
    files.good(&["delete", "shop-004"]);
    assert_eq!(
        files.text(),
        SHOP.replace("    shop-004: {urls: [\"http://127.0.0.1:4\"]}\r\n", "") + "last_version: 4\r\n"
    );
    files.good(&["traffic", "shop", "1=100"]);
    assert!(files.refused(&["delete", "shop-002"]).contains("a rule of shop points at `shop-002`"));
    let said = files.good(&["delete", "shop-002", "--force", "--json"]);
    assert!(said.contains("\"rules\": 1"), "{said}");
    let text = files.text();
    assert!(!text.contains("shop-002") && text.contains("rules: []") && text.contains("# the new one"), "{text}");
    assert!(files.refused(&["delete", "shop-001", "--force"]).contains("the only version of shop"));
    assert!(files.refused(&["delete", "shop-002"]).contains("there is no version `shop-002`"));
    assert!(files.refused(&["delete", "2"]).contains("written like `shop-001`"));
    files.good(&["deploy", "shop", "--command", "--", "sleep", "9"]);
    assert!(files.text().contains("    shop-005:") && files.text().contains("last_version: 5"), "{}", files.text());
}

#[test]
fn a_share_that_is_taken_away_goes_to_the_others_in_proportion() {
    let files = Files::with(
        &SHOP.replace("shop-002: 10}", "shop-004: 10}").replace("new}, version: shop-002", "new}, version: shop-001"),
    );
    let said = files.good(&["delete", "shop-004", "--force"]);
    assert!(said.contains("shop-001 has 100% of the traffic, was 90%"), "{said}");
    assert!(files.text().contains("weights: {shop-001: 100}  # since Monday\r\n"), "{}", files.text());
}

#[test]
fn domains_come_and_go() {
    let files = Files::with(SHOP);
    files.good(&["domain", "add", "shop", "*.Shop.example.com"]);
    let line = "  - shop.example.com   # the main one\r\n";
    assert_eq!(files.text(), SHOP.replace(line, &format!("{line}  - \"*.shop.example.com\"\r\n")));
    assert!(files.good(&["domain", "add", "shop", "shop.example.com."]).contains("already"));
    fs::write(files.0.path().join("services/blog.yaml"), "redirect: https://x.example\n").expect("write");
    let (code, said) = files.say(&["domain", "add", "blog", "shop.example.com"]);
    assert!(code == Some(1) && said.contains("is a domain of service shop"), "{said}");
    files.good(&["domain", "remove", "shop", "*.shop.example.com"]);
    assert_eq!(files.text(), SHOP);
    assert!(files.refused(&["domain", "remove", "shop", "x.example"]).contains("those are: shop.example.com"));
    files.good(&["domain", "remove", "shop", "shop.example.com"]);
    assert!(!files.text().contains("domains") && !files.text().contains("the main one"));
    assert!(files.refused(&["domain", "add", "shop", "a b"]).contains("write a host like"));
}

#[test]
fn instances_are_bounded_where_there_are_some() {
    let files = Files::with(SHOP);
    files.good(&["scale", "shop-002", "--max", "3"]);
    assert!(files.text().contains("        remark: new\r\n        replicas: {min: 0, max: 3}\r\n"), "{}", files.text());
    files.good(&["scale", "shop-2", "--min", "2"]);
    assert!(files.text().contains("replicas: {min: 2, max: 3}"), "{}", files.text());
    assert!(
        files.refused(&["scale", "shop-002", "--min", "4"]).contains("try tidegate scale shop-002 --min 4 --max 4")
    );
    assert!(files.refused(&["scale", "shop-001", "--max", "4"]).contains("this would break the file"));
    assert_eq!(files.say(&["scale", "shop-002"]).0, Some(2), "one of both is needed");
}

#[test]
fn services_are_listed_and_removed() {
    let files = Files::with(SHOP);
    let shown = files.good(&["service", "list"]);
    assert!(
        shown.contains("shop     shop.localhost shop.example.com  shop-001=90% shop-002=10% shop-004=0%"),
        "{shown}"
    );
    let json: Value = serde_json::from_str(&files.good(&["service", "list", "--json"])).expect("JSON");
    assert_eq!(json[0]["versions"][1], json!({"name": "shop-002", "weight": 10.0}));
    assert!(files.refused(&["service", "delete", "shop"]).contains("`--force`"));
    assert!(
        files
            .good(&["service", "delete", "shop", "--force"])
            .starts_with("shop is gone with shop-001, shop-002, shop-004\n")
    );
    assert!(!files.shop().exists());
}

#[test]
fn versions_and_logs_say_what_is_known_without_a_server() {
    let files = Files::with(SHOP);
    let (_, said) = files.say(&["versions", "shop"]);
    assert!(said.contains("shop-002     10%  unknown  -          sleep 9"), "{said}");
    assert!(files.refused(&["logs", "shop-002"]).contains("is in tidegate's own log"));
    assert!(files.refused(&["logs", "shop-001"]).contains("not tidegate's"));
    assert!(files.refused(&["restart", "shop-002"]).contains("no tidegate is running here"));
    for shell in ["bash", "zsh", "fish"] {
        let output = tidegate().args(["completions", shell]).output().expect("run");
        assert!(String::from_utf8_lossy(&output.stdout).contains("rollback"), "{shell}");
    }
}

#[test]
fn a_first_deploy_makes_the_service_and_later_ones_share_the_traffic() {
    let files = Files::with("");
    let said = files.good(&[
        "deploy",
        "shop",
        "--env",
        "MODE=a b",
        "--min",
        "2",
        "--scale",
        "rps=50",
        "--remark",
        "first",
        "--command",
        "--",
        "./run",
        "-x",
    ]);
    assert!(said.contains("shop-001 is written") && said.contains("has not been tried out"), "{said}");
    let program = files.0.path().canonicalize().expect("a folder").join("run");
    let expected = format!(
        "weights: {{shop-001: 100}}\nlast_version: 1\nversions:\n  shop-001:\n    command: [{}, \"-x\"]\n    env: {{MODE: a b}}\n    replicas: {{min: 2, max: 2}}\n    scale: {{on: rps, target: 50}}\n    remark: first\n",
        program.display()
    );
    assert_eq!(files.text(), expected);
    let deploy = |more: &[&str]| files.good(&[&["deploy", "shop"], more, &["--command", "--", "sleep", "9"]].concat());
    deploy(&[]);
    assert!(files.text().starts_with("weights: {shop-001: 100, shop-002: 0}\n"));
    deploy(&["--traffic", "33.33"]);
    assert!(files.text().starts_with("weights: {shop-001: 66.67, shop-002: 0, shop-003: 33.33}\n"), "{}", files.text());
    let said = deploy(&["--traffic", "10", "--json"]);
    assert!(said.contains("\"tried\": false") && said.contains("\"version\": \"shop-004\""), "{said}");
    // 90 in the proportion of 6667 to 3333: 60.003 and 29.997.
    assert!(
        files.text().starts_with("weights: {shop-001: 60, shop-002: 0, shop-003: 30, shop-004: 10}\n"),
        "{}",
        files.text()
    );
    deploy(&["--traffic", "100"]);
    assert!(
        files.text().contains("\nprevious_weights: {shop-001: 60, shop-003: 30, shop-004: 10}\n"),
        "{}",
        files.text()
    );
    for _ in 6..=10 {
        deploy(&[]);
    }
    let said = files.refused(&["deploy", "shop", "--command", "--", "sleep", "9"]);
    assert!(
        said.contains("has 10 versions") && said.contains("without traffic are: shop-001, shop-002, shop-003"),
        "{said}"
    );
}

#[test]
fn what_is_not_said_of_a_version_is_as_it_was_in_the_one_before() {
    let files = Files::with(
        "weights: {shop-001: 100}\nversions:\n  shop-001:\n    command: [sleep, \"8\"]\n    env: {MODE: production, KEY: \"${HOME}\"}\n    replicas: {min: 0, max: 3}\n    start: {timeout: 5s}\n    remark: first\n  shop-002: {urls: [\"http://127.0.0.1:1\"]}\n",
    );
    let deploy = |more: &[&str]| files.good(&[&["deploy", "shop"], more, &["--command", "--", "sleep", "9"]].concat());
    let said = deploy(&["--env", "MODE=trial", "--max", "2"]);
    assert!(said.contains("shop-003 takes over from shop-001: env, replicas, start"), "{said}");
    let text = files.text();
    let written = text.split("shop-003:\n").nth(1).expect("the version").lines().collect::<Vec<_>>().join("\n");
    assert!(!written.contains("remark"), "{text}");
    for kept in ["sleep", "MODE: trial", "KEY: ${HOME}", "max: 2", "min: 0", "timeout: 5s"] {
        assert!(written.replace('"', "").contains(kept), "{kept} in {text}");
    }
    deploy(&["--fresh"]);
    let text = files.text();
    let written = text.split("shop-004:\n").nth(1).expect("the version");
    assert!(!written.contains("env") && !written.contains("replicas"), "{text}");
}

#[test]
fn a_deploy_that_makes_no_sense_writes_nothing() {
    let files = Files::with(SHOP);
    let command = ["--command", "--", "sleep", "9"];
    for (more, said) in [
        (&["--env", "A"][..], "--env 'A=${A}'"),
        (&["--env", "A=$x"], "write `$$` for a `$` itself"),
        (&["--env", "A=${NOT_THERE_4711}"], "`NOT_THERE_4711` is not defined"),
        (&["--env-file", "none"], "cannot be read: no such file"),
        (&["--port", "80"], "a process is told its port"),
        (&["--min", "3", "--max", "2"], "try `--min 3 --max 3`"),
        (&["--scale", "memory=5"], "not supported yet"),
        (&["--traffic", "101"], "is not a percentage"),
        (&["--over", "5m"], "`--over` is not supported yet"),
        (&["--user", "a b"], "is not a user"),
    ] {
        let refused = files.refused(&[&["deploy", "shop"], more, &command].concat());
        assert!(refused.contains(said), "{more:?}: {refused}");
    }
    assert!(files.refused(&["deploy", "Shop", "--command", "--", "x"]).contains("the character `S`"));
    assert!(files.refused(&["deploy", "shop", "--image", "http://x/y"]).contains("is a URL"));
    assert_eq!(files.say(&["deploy", "shop", "--image", "x", "--build", "."]).0, Some(2));
    assert_eq!(files.say(&["deploy", "shop"]).0, Some(2));
    let said = files.refused(&["deploy", "shop", "--image", "x:1"]);
    assert!(said.contains("unix:///nowhere"), "an image needs an engine: {said}");
    let only = "weights: {shop-001: 0}\nversions: {shop-001: {urls: [\"http://127.0.0.1:1\"]}}\n";
    fs::write(files.shop(), only).expect("write");
    let said = files.refused(&[&["deploy", "shop", "--traffic", "10"][..], &command].concat());
    assert!(said.contains("gets all or nothing"), "{said}");
}

#[test]
fn deploys_at_once_never_share_a_number_and_hand_edits_stay() {
    const EACH: usize = 3;
    let files = Files::with("# edits: 0\nversions: {shop-001: {urls: [\"http://127.0.0.1:1\"]}}\n");
    let edits = thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let files = &files;
                scope.spawn(move || {
                    for number in 0..EACH {
                        let remark = format!("{writer}-{number}");
                        let deploy = ["deploy", "shop", "--remark", &remark, "--command", "--", "sleep", "9"];
                        let (code, said) = files.say(&deploy);
                        // A person has just saved a text without it.
                        assert!(code == Some(0) || said.contains("there is no version"), "{said}");
                        files.good(&["domain", "add", "shop", &format!("d{remark}.example")]);
                    }
                })
            })
            .collect();
        let mut edits = 0;
        while !writers.iter().all(|writer| writer.is_finished()) {
            let before = files.text();
            let (first, rest) = before.split_once('\n').expect("lines");
            assert_eq!(first, format!("# edits: {edits}"), "a hand edit is lost");
            let new = format!("# edits: {}\n{rest}", edits + 1);
            // Nobody's save can be taken back, so this person looks right before.
            if files.text() == before {
                replace(&files.shop(), &new);
                edits += 1;
            }
            thread::sleep(Duration::from_millis(60));
        }
        writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
        edits
    });
    let text = files.text();
    assert!(text.starts_with(&format!("# edits: {edits}\n")), "a hand edit is lost: {text}");
    let remarks: Vec<String> =
        (0..3).flat_map(|writer| (0..EACH).map(move |number| format!("{writer}-{number}"))).collect();
    // A person who saves what was loaded before takes back what was written in between, as everywhere; the numbers stay apart.
    let versions: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("shop-0")).collect();
    let numbers: std::collections::BTreeSet<&str> = versions.iter().map(|line| &line[..2]).collect();
    assert_eq!(numbers.len(), versions.len(), "two versions share a number: {text}");
    assert!(edits > 0 && remarks.iter().filter(|remark| text.contains(remark.as_str())).count() > 0, "{text}");
}

#[test]
fn commands_at_once_lose_no_update() {
    let files = Files::with("versions: {shop-001: {urls: [\"http://127.0.0.1:1\"]}}\n");
    thread::scope(|scope| {
        for writer in 0..4 {
            let files = &files;
            scope.spawn(move || {
                for number in 0..3 {
                    files.good(&["domain", "add", "shop", &format!("d{writer}-{number}.example")]);
                    if writer < 3 {
                        files.good(&[
                            "deploy",
                            "shop",
                            "--remark",
                            &format!("{writer}-{number}"),
                            "--command",
                            "--",
                            "sleep",
                            "9",
                        ]);
                    }
                }
            });
        }
    });
    let text = files.text();
    for (writer, number) in (0..4).flat_map(|writer| (0..3).map(move |number| (writer, number))) {
        assert!(text.contains(&format!("d{writer}-{number}.example")), "{text}");
        assert!(writer == 3 || text.contains(&format!("remark: {writer}-{number}")), "{text}");
    }
    for number in 2..=10 {
        assert_eq!(
            text.matches(&format!("shop-{number:03}: {{command")).count()
                + text.matches(&format!("  shop-{number:03}:\n")).count(),
            1,
            "{text}"
        );
    }
    assert!(text.contains("last_version: 10"), "{text}");
    assert_eq!(fs::read_dir(files.0.path().join("services")).expect("list").count(), 2, "the file and the lock");
}
