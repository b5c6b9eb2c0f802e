//! What tidegate says of itself agrees with what its clients did: the access log, the metrics, the status, the log.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::support::backend::{Backend, Fleet, ok};
use crate::support::eventually;
use crate::support::ports::own_address;
use crate::support::raw::Raw;
use crate::support::site::{Metrics, Site, replace, tidegate};

/// Answers with the status that the path names, and its own name.
fn by_status(name: &'static str) -> Backend {
    Backend::answering(move |request| {
        let status = request.start.split(['/', ' ', '?']).nth(2).filter(|status| status.len() == 3).unwrap_or("200");
        ok(name)
            .strip_prefix(b"HTTP/1.1 200")
            .map(|rest| [format!("HTTP/1.1 {status}").as_bytes(), rest].concat())
            .expect("a 200")
    })
}

/// A scrape of the admin port, as Prometheus would do it.
fn scrape(address: SocketAddr) -> Metrics {
    let answer = Raw::connect(address).get_with(&address.to_string(), "/metrics", &["Connection: close"]);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let content_type = answer.header("content-type").expect("a content type");
    assert!(content_type.starts_with("application/openmetrics-text"), "{content_type}");
    Metrics::new(answer.text())
}

/// The lines of an access log, once there are so many.
fn lines(path: &Path, count: usize) -> Vec<Value> {
    eventually("the lines of the access log", || {
        let text = fs::read_to_string(path).unwrap_or_default();
        let whole = text.lines().count() >= count && text.ends_with('\n');
        whole.then(|| text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
    })
}

#[test]
fn the_metrics_count_what_the_clients_did() {
    let (one, two, admin) = (by_status("one"), by_status("two"), own_address());
    let yaml = format!(
        "weights: {{shop-001: 75, shop-002: 25}}\nversions:\n  shop-001: {{urls: [\"{}\"]}}\n  shop-002: {{urls: [\"{}\"]}}\n",
        one.url(),
        two.url()
    );
    let closed = "redirect: {to: \"https://new.example\"}\n";
    let site = Site::new().root(&format!("admin: {admin}\n")).service("shop", &yaml).service("old", closed).start();
    let mut open = site.connect();
    let mut sent: BTreeMap<(String, &str), f64> = BTreeMap::new();
    let mut bytes = BTreeMap::from([("one".to_owned(), 0.0), ("two".to_owned(), 0.0)]);
    for status in ["200", "204", "302", "404", "500", "503", "200", "418", "200", "307", "201", "502"] {
        if status == "204" {
            continue; // a 204 has no body to name the version
        }
        open.send(format!("POST /{status} HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 5\r\n\r\nhello"));
        let answer = open.response();
        assert_eq!(answer.status().to_string(), status);
        let class = ["", "1xx", "2xx", "3xx", "4xx", "5xx"][usize::from(answer.status() / 100)];
        *sent.entry((answer.text(), class)).or_default() += 1.0;
        *bytes.get_mut(&answer.text()).expect("one of two") += 5.0;
    }
    for host in ["old.localhost", "old.localhost", "nobody.localhost"] {
        open.get(host, "/");
    }
    let metrics = eventually("the counts", || {
        let metrics = scrape(admin);
        (metrics.get("tidegate_unrouted_requests_total{reason=\"unknown_host\"}") == 1.0).then_some(metrics)
    });
    for (name, version) in [("one", "shop-001"), ("two", "shop-002")] {
        let labels = format!("service=\"shop\",version=\"{version}\"");
        let mut total = 0.0;
        for class in ["1xx", "2xx", "3xx", "4xx", "5xx", "aborted"] {
            let expected = sent.get(&(name.to_owned(), class)).copied().unwrap_or_default();
            assert_eq!(
                metrics.get(&format!("tidegate_requests_total{{{labels},class=\"{class}\"}}")),
                expected,
                "{class}"
            );
            total += expected;
        }
        assert!(total > 0.0);
        assert_eq!(metrics.get(&format!("tidegate_request_duration_seconds_count{{{labels}}}")), total);
        assert_eq!(metrics.get(&format!("tidegate_request_duration_seconds_bucket{{le=\"+Inf\",{labels}}}")), total);
        let sum = metrics.get(&format!("tidegate_request_duration_seconds_sum{{{labels}}}"));
        assert!(sum > 0.0 && sum < 60.0, "{sum}");
        assert_eq!(metrics.get(&format!("tidegate_request_body_bytes_total{{{labels}}}")), bytes[name]);
        assert_eq!(metrics.get(&format!("tidegate_response_body_bytes_total{{{labels}}}")), total * 3.0);
        assert_eq!(metrics.get(&format!("tidegate_requests_in_flight{{{labels}}}")), 0.0);
        assert_eq!(metrics.get(&format!("tidegate_instances{{{labels},state=\"normal\"}}")), 1.0);
    }
    assert_eq!(metrics.get("tidegate_version_weight_percent{service=\"shop\",version=\"shop-002\"}"), 25.0);
    assert_eq!(metrics.get("tidegate_requests_total{service=\"old\",version=\"\",class=\"3xx\"}"), 2.0);
    assert_eq!(metrics.get("tidegate_connections_total"), 1.0);
    assert_eq!(metrics.get("tidegate_connections_open"), 1.0);
    assert!(metrics.text().ends_with("# EOF\n"));

    // The same is in the status.
    let status = site.version("shop-001");
    let count = |name: &str, class: Option<&str>| -> f64 {
        sent.iter()
            .filter(|((n, c), _)| n == name && class.is_none_or(|class| class == *c))
            .map(|(_, count)| count)
            .sum()
    };
    assert_eq!(status["requests"].as_f64(), Some(count("one", None)));
    assert_eq!(status["errors_5xx"].as_f64(), Some(count("one", Some("5xx"))));
}

#[test]
fn the_metrics_count_edits() {
    let (fleet, admin) = (Fleet::of("shop", 2), own_address());
    let site = Site::new().root(&format!("admin: {admin}\n")).service("shop", &fleet.file(&[100.0, 0.0])).start();
    let figures = || {
        let metrics = scrape(admin);
        [
            "config_generation",
            "config_reloads_total{result=\"accepted\"}",
            "config_reloads_total{result=\"rejected\"}",
            "config_rejected",
        ]
        .map(|name| metrics.get(&format!("tidegate_{name}")))
    };
    assert_eq!(figures(), [1.0, 1.0, 0.0, 0.0]);
    site.edit_service("shop", &fleet.file(&[50.0, 50.0]));
    assert_eq!(figures(), [2.0, 2.0, 0.0, 0.0]);
    site.write_service("shop", &fleet.file(&[50.0, 51.0]));
    eventually("the rejection", || (figures() == [2.0, 2.0, 1.0, 1.0]).then_some(()));
    // Reading the same broken file again is no other edit.
    site.reload();
    assert_eq!(figures(), [2.0, 2.0, 1.0, 1.0]);
    site.edit_service("shop", &fleet.file(&[49.0, 51.0]));
    assert_eq!(figures(), [3.0, 3.0, 1.0, 0.0]);
    eventually("one snapshot", || (scrape(admin).get("tidegate_config_snapshots") == 1.0).then_some(()));
}

#[test]
fn what_is_on_its_way_is_in_flight_until_it_is_over() {
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let backend = Backend::answering(move |_| {
        released.lock().expect("no panic").recv().expect("the test releases it");
        ok("done")
    });
    let site = Site::new().service("shop", &backend.as_only_version("shop")).start();
    let in_flight = "tidegate_requests_in_flight{service=\"shop\",version=\"shop-001\"}";
    let mut clients: Vec<Raw> = (0..3).map(|_| site.connect()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n");
    }
    eventually("three on their way", || (site.metrics().get(in_flight) == 3.0).then_some(()));
    let version = site.version("shop-001");
    assert_eq!((&version["in_flight"], &version["requests"]), (&json!(3), &json!(0)));
    assert_eq!(version["instances"][0]["in_flight"], 3);
    assert_eq!(site.status()["connections"], 3);
    // One leaves, the others wait for their answers.
    drop(clients.pop());
    let aborted = "tidegate_requests_total{service=\"shop\",version=\"shop-001\",class=\"aborted\"}";
    eventually("its end", || (site.metrics().get(aborted) == 1.0).then_some(()));
    assert_eq!(site.metrics().get(in_flight), 2.0);
    (0..3).for_each(|_| release.send(()).expect("the backend waits"));
    clients.iter_mut().for_each(|client| assert_eq!(client.response().text(), "done"));
    eventually("all over", || (site.metrics().get(in_flight) == 0.0).then_some(()));
    drop(clients);
    eventually("the connections' end", || (site.metrics().get("tidegate_connections_open") == 0.0).then_some(()));
}

#[test]
fn counters_outlive_edits() {
    let fleet = Fleet::of("shop", 2);
    let site = Site::new().service("shop", &fleet.file(&[100.0, 0.0])).start();
    let mut open = site.connect();
    for weights in [[0.0, 100.0], [50.0, 50.0], [100.0, 0.0]] {
        open.get("shop.localhost", "/");
        site.edit_service("shop", &fleet.file(&weights));
    }
    let total = |metrics: &Metrics, number: usize| {
        metrics.get(&format!("tidegate_requests_total{{service=\"shop\",version=\"shop-{number:03}\",class=\"2xx\"}}"))
    };
    // An answer is counted after it was sent.
    eventually("three", || {
        let metrics = site.metrics();
        (total(&metrics, 1) + total(&metrics, 2) == 3.0).then_some(())
    });
}

#[test]
fn the_admin_port_reads_for_all_and_writes_for_the_token() {
    let (fleet, admin) = (Fleet::of("shop", 1), own_address());
    let _site = Site::new()
        .root(&format!("admin: {admin}\nadmin_token_file: token\n"))
        .arranged(|root| {
            use std::os::unix::fs::PermissionsExt as _;
            let token = root.join("token");
            fs::write(&token, "0123456789abcdef0123456789abcdef\n").expect("write");
            fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("a mode");
        })
        .service("shop", &fleet.versions())
        .start();
    let mut raw = Raw::connect(admin);
    let host = admin.to_string();
    let status = raw.get(&host, "/status");
    assert_eq!(status.status(), 200);
    let status: Value = serde_json::from_slice(&status.body).expect("JSON");
    assert_eq!(status["services"][0]["name"], "shop");
    let post_to = |path: &str, headers: &str| {
        let mut raw = Raw::connect(admin);
        raw.send(format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n{headers}\r\n"
        ));
        raw.response().status()
    };
    let post = |headers: &str| post_to("/reload", headers);
    assert_eq!(post(""), 401);
    assert_eq!(["/sleep", "/wake"].map(|path| post_to(&format!("{path}?version=shop-001"), "")), [401, 401]);
    assert_eq!(post("Authorization: Bearer wrong\r\n"), 401);
    assert_eq!(post("Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n"), 200);
    assert_eq!(raw.get("evil.example", "/status").status(), 403, "a name that resolves to us is not us");
}

#[test]
fn every_request_is_a_line_of_the_access_log() {
    let fleet = Fleet::of("shop", 2);
    let dead = crate::support::backend::Refusing::new();
    let yaml = format!("rules: [{{path: /two, version: shop-002}}]\n{}", fleet.file(&[100.0, 0.0]));
    let site = Site::new()
        .root("access_log: logs/access.log\ntrusted_proxies: [127.0.0.5/32]\n")
        .arranged(|root| fs::create_dir(root.join("logs")).expect("a folder"))
        .service("shop", &yaml)
        .service("user", &format!("sticky: {{header: x-user}}\n{}", Fleet::of("user", 1).versions()))
        .service("dead", &format!("versions: {{dead-001: {{urls: [\"{}\"]}}}}\n", dead.url()))
        .service("old", "maintenance: true\n")
        .start();
    let mut open = site.connect();
    open.send("POST /a%20b/../c?x=%22 HTTP/1.1\r\nHost: SHOP.localhost:80\r\n");
    open.send("User-Agent: a \"b\"\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(open.response().text(), "shop-001");
    open.get("shop.localhost", "/two");
    open.get("shop-002.localhost", "/");
    open.get("nobody.localhost", "/");
    open.get("dead.localhost", "/");
    open.get("old.localhost", "/");
    open.send("GET / HTTP/1.0\r\nHost: shop.localhost\r\n\r\n");
    assert_eq!(open.response().status(), 200);
    Raw::connect_from([127, 0, 0, 5], site.http()).get_with("shop.localhost", "/", &["X-Forwarded-For: 203.0.113.9"]);
    let all = lines(&site.path().join("logs/access.log"), 8);
    assert_eq!(all.len(), 8);
    let keys = [
        "ts",
        "client",
        "protocol",
        "method",
        "host",
        "path",
        "query",
        "status",
        "bytes_in",
        "bytes_out",
        "duration_ms",
        "service",
        "version",
        "choice",
        "instance",
        "error",
        "user_agent",
    ];
    for line in &all {
        let found: Vec<&String> = line.as_object().expect("an object").keys().collect();
        assert_eq!(found.len(), keys.len(), "{found:?}");
        assert!(keys.iter().all(|key| line.get(key).is_some()), "{line}");
        assert!(line["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{line}");
        let ts = line["ts"].as_str().expect("a time");
        assert!(ts.starts_with("20") && ts.ends_with('Z'), "{ts}");
    }
    // Each data thread's lines are in order, and no more is promised.
    let first = all.iter().find(|line| line["path"] == "/c").expect("the first request");
    let expected = json!({
        "client": "127.0.0.1", "protocol": "HTTP/1.1", "method": "POST", "host": "shop.localhost", "path": "/c",
        "query": "x=%22", "status": 200, "bytes_in": 3, "bytes_out": 8, "service": "shop", "version": "shop-001",
        "choice": "weight", "instance": fleet.backend(1).address().to_string(), "error": null, "user_agent": "a \"b\"",
    });
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(&first[key], value, "{key}");
    }
    let find = |key: &str, value: &Value| all.iter().find(|line| line[key] == *value).expect("a line").clone();
    let pick = |line: &Value, keys: &[&str]| keys.iter().map(|key| line[key].clone()).collect::<Vec<_>>();
    assert_eq!(pick(&find("path", &json!("/two")), &["version", "choice"]), [json!("shop-002"), json!("rule")]);
    let preview = find("host", &json!("shop-002.localhost"));
    assert_eq!(pick(&preview, &["service", "version", "choice"]), [json!("shop"), json!("shop-002"), json!("preview")]);
    let nobody = find("host", &json!("nobody.localhost"));
    let nothing = [json!(404), Value::Null, Value::Null, json!("-"), Value::Null];
    assert_eq!(pick(&nobody, &["status", "service", "version", "choice", "instance"]), nothing);
    assert_eq!(nobody["error"], json!({"fault": "client", "kind": "destination_not_found"}));
    let failed = find("service", &json!("dead"));
    assert_eq!(pick(&failed, &["status", "version"]), [json!(502), json!("dead-001")]);
    assert_eq!(failed["error"], json!({"fault": "upstream", "kind": "connection_refused"}));
    let closed = find("service", &json!("old"));
    assert_eq!(pick(&closed, &["status", "version", "choice"]), [json!(503), Value::Null, json!("-")]);
    assert_eq!(closed["error"]["fault"], "proxy");
    assert_eq!(find("protocol", &json!("HTTP/1.0"))["status"], 200);
    assert_eq!(find("client", &json!("203.0.113.9"))["status"], 200);
}

#[test]
fn the_access_log_says_who_left_and_what_was_sticky() {
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let backend = Backend::answering(move |_| {
        // Fails when the test is over.
        let _over = released.lock().expect("no panic").recv();
        ok("done")
    });
    let yaml = format!("sticky: {{header: x-user}}\n{}", backend.as_only_version("shop"));
    let site = Site::new().root("access_log: access.log\n").service("shop", &yaml).start();
    let mut leaves = site.connect();
    leaves.send("GET /left HTTP/1.1\r\nHost: shop.localhost\r\nX-User: ann\r\n\r\n");
    eventually("the request at the backend", || (backend.connections() == 1).then_some(()));
    drop(leaves);
    let all = lines(&site.path().join("access.log"), 1);
    assert_eq!(all[0]["choice"], "sticky");
    assert_eq!(all[0]["status"], Value::Null);
    assert_eq!(all[0]["error"], json!({"fault": "client", "kind": "connection_terminated"}));
    drop(release);
}

#[test]
fn a_rotated_access_log_is_opened_anew() {
    let fleet = Fleet::of("shop", 1);
    let site = Site::new().root("access_log: access.log\n").service("shop", &fleet.versions()).start();
    let (log, old) = (site.path().join("access.log"), site.path().join("access.log.1"));
    let mut open = site.connect();
    open.get("shop.localhost", "/before");
    lines(&log, 1);
    fs::rename(&log, &old).expect("rename");
    open.get("shop.localhost", "/meanwhile");
    lines(&old, 2);
    site.signal("HUP");
    eventually("the new file", || log.exists().then_some(()));
    open.get("shop.localhost", "/after");
    assert_eq!(lines(&log, 1)[0]["path"], "/after");
    assert_eq!(lines(&old, 2).len(), 2);
    assert_eq!(site.metrics().get("tidegate_access_log_dropped_total"), 0.0);
}

#[test]
fn nothing_is_logged_of_requests_unless_asked() {
    let fleet = Fleet::of("shop", 1);
    let site = Site::new().service("shop", &fleet.versions()).start();
    let mut open = site.connect();
    open.get("shop.localhost", "/secret");
    site.edit_root("access_log: \"-\"\n");
    open.get("shop.localhost", "/seen");
    eventually("the line on standard output", || site.log().contains("\"path\":\"/seen\"").then_some(()));
    assert!(!site.log().contains("/secret"), "{}", site.log());
}

#[test]
fn the_log_can_be_json() {
    let fleet = Fleet::of("shop", 1);
    let site = Site::new().root("log: {format: json, level: info}\n").service("shop", &fleet.versions()).start();
    site.write_service("shop", "wieghts: {}\n");
    eventually("the error", || site.log().contains("wieghts").then_some(()));
    for line in site.log().lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line.is_object());
    }
}

#[test]
fn the_level_of_the_log_follows_the_file() {
    let fleet = Fleet::of("shop", 1);
    let site = Site::new().root("log: {level: error}\n").service("shop", &fleet.versions()).start();
    assert_eq!(site.log(), "");
    site.edit_root("log: {level: debug}\n");
    replace(&site.service("shop"), &format!("max_body: 1MiB\n{}", fleet.versions()));
    eventually("a word at that level", || site.log().contains("DEBUG").then_some(()));
    assert_eq!(site.status()["notices"], json!([]), "it is in force already");
}

#[test]
fn the_status_reads_like_this() {
    let fleet = Fleet::of("shop", 2);
    let yaml = fleet.file(&[90.0, 10.0]).replace("{urls", "{remark: first, urls");
    let site = Site::new().service("shop", &yaml).start();
    for _ in 0..10 {
        site.get("shop.localhost", "/");
    }
    // An answer is counted after it was sent.
    let requests = |version: &str| site.version(version)["requests"].clone();
    eventually("ten", || (requests("shop-001") == 9 && requests("shop-002") == 1).then_some(()));
    site.write_service("blog", "domains: example.com\n");
    eventually("the error", || (!site.rejected().is_empty()).then_some(()));
    let output = tidegate().arg("status").arg("--config").arg(site.root()).output().expect("run");
    let text = String::from_utf8(output.stdout).expect("text");
    let rest = text.strip_prefix("REJECTED: these edits are not in force.\n").unwrap_or_else(|| panic!("{text}"));
    assert!(rest.contains("services/blog.yaml:1:10: "), "{text}");
    let version = |name: &str| {
        let line = text.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(version("shop-001"), ["shop-001", "90%", "normal", "1", "0", "0", "9", "0", "first"]);
    assert_eq!(version("shop-002"), ["shop-002", "10%", "normal", "1", "0", "0", "1", "0", "first"]);
    assert!(text.contains(&format!("http://{}: ", site.http())), "{text}");
    let status = site.status();
    assert_eq!(status["pid"], site.pid());
    assert_eq!(status["config"], site.root().display().to_string());
    assert_eq!(status["threads"], 2);
    assert_eq!(status["services"][0]["hosts"], json!(["shop.localhost"]));
}

#[test]
fn an_end_says_what_it_waits_for() {
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let backend = Backend::answering(move |_| {
        released.lock().expect("no panic").recv().expect("the test releases it");
        ok("done")
    });
    let mut site = Site::new().service("shop", &backend.as_only_version("shop")).start();
    assert_eq!(site.status()["ending"], false);
    let mut open = site.connect();
    open.send("GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n");
    eventually("the request at the backend", || (site.version("shop-001")["in_flight"] == 1).then_some(()));
    site.signal("TERM");
    eventually("the drain", || (site.status()["ending"] == true).then_some(()));
    let output = tidegate().arg("status").arg("-c").arg(site.root()).output().expect("run");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.lines().any(|line| line.starts_with("ending: waits for 1 request (at most ")), "{text}");
    release.send(()).expect("the backend waits");
    assert_eq!(open.response().text(), "done");
    assert_eq!(site.wait(), Some(0));
}

#[test]
fn what_the_start_fails_by_is_said_with_its_cure() {
    use std::io::{Error, ErrorKind};
    use tidegate::app::AppError;
    use tidegate::reload::reloader::ListenError;
    let folder = tempfile::tempdir().expect("writable");
    let root = folder.path().join("tidegate.yaml");
    fs::create_dir(folder.path().join("services")).expect("writable");
    let serve = |yaml: &str| {
        fs::write(&root, format!("listen: {{http: [\"127.0.0.1:0\"]}}\n{yaml}\n")).expect("writable");
        let output = tidegate().arg("serve").arg(&root).output().expect("run");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).expect("text")
    };
    let said = serve("access_log: services");
    let log = format!("cannot open the access log {}: ", folder.path().join("services").display());
    assert!(said.contains(&log), "{said}");
    let said = serve("socket: /proc/tidegate.sock");
    assert!(said.contains("/proc/tidegate.sock") && said.contains("put it elsewhere with `socket: PATH`"), "{said}");
    let listen = |kind: ErrorKind| {
        let address = "127.0.0.1:80".parse().expect("an address");
        AppError::from(ListenError { address, source: Error::from(kind) }).to_string()
    };
    assert!(listen(ErrorKind::PermissionDenied).contains("ports below 1024 need root or CAP_NET_BIND_SERVICE"));
    assert!(listen(ErrorKind::AddrInUse).contains("is another server there?"));
}

#[test]
fn a_reader_that_has_left_is_no_failure() {
    let fleet = Fleet::of("shop", 1);
    let site = Site::new().service("shop", &fleet.versions()).start();
    for json in [&["--json"][..], &[]] {
        let mut status = tidegate();
        status.arg("status").args(json).arg("-c").arg(site.root());
        let mut child = status.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("spawn");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
}

#[test]
fn a_version_that_cannot_start_says_why() {
    let yaml = "versions: {shop-001: {command: [sh, -c, \"echo no such table >&2; exit 3\"]}}\n";
    let site = Site::new().service("shop", yaml).start();
    assert_eq!(site.get("shop.localhost", "/").status(), 503, "told as soon as it is known");
    // It is so until it may be tried again.
    let failed = eventually("the failure", || {
        assert_eq!(site.get("shop.localhost", "/").status(), 503);
        Some(site.version("shop-001")).filter(|v| v["state"] == "failed")
    });
    let why = failed["why"].as_str().expect("a reason");
    assert!(why.contains("no such table"), "{why}");
    assert!(site.log().contains("no such table"));
    let answer = site.get("shop.localhost", "/");
    assert_eq!(answer.status(), 503);
    assert!(answer.header("retry-after").is_some());
    assert!(answer.text().contains("version shop-001 of this service could not be started"), "{}", answer.text());
    assert!(!answer.text().contains("table"), "clients see no internals");
    assert_eq!(answer.header("proxy-status"), Some("tidegate; error=destination_unavailable; fault=wake"));
}
