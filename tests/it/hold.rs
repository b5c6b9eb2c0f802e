//! Requests that wait for a version to come up, on the wire. The version is this very test program; it listens when the test says so.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::front::{get, post};
use crate::support::raw::{Message, Raw};
use crate::support::site::{Site, SiteBuilder};

/// For `command: ...`.
fn command() -> String {
    let program = std::env::current_exe().expect("this program");
    format!("[{program:?}, --exact, \"hold::serve\", --ignored, --nocapture]")
}

/// A sum that changes with every byte and with its place.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
}

fn said(body: &[u8]) -> String {
    format!("{} {}", body.len(), sum(body))
}

#[test]
#[ignore = "a backend for other tests"]
fn serve() {
    let Ok(port) = std::env::var("PORT") else { return };
    while !fs::exists("go").expect("a folder") {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!fs::exists("fail").expect("a folder"), "told to fail");
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).expect("bind");
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || {
            let mut raw = Raw::new(stream);
            while let Ok(Some(mut request)) = raw.try_head() {
                let mut ledger = fs::OpenOptions::new().create(true).append(true).open("ledger").expect("a ledger");
                ledger.write_all(format!("{}\n", request.start).as_bytes()).expect("write");
                if raw.body(&mut request, false).is_err() {
                    return;
                }
                if let Some(pause) = request.header("x-pause-ms").and_then(|pause| pause.parse().ok()) {
                    std::thread::sleep(Duration::from_millis(pause));
                }
                let framing = if request.header("transfer-encoding").is_some() { "chunked" } else { "length" };
                let text = said(&request.body);
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nServer-Timing: app;dur=1\r\nX-Framing: {framing}\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                );
                if raw.stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        });
    }
}

/// A tidegate with the version asleep; `service` and `version` are more lines of the file.
fn site_of(service: &str, version: &str) -> SiteBuilder {
    let file = format!("{service}\nversions:\n  app-001:\n    command: {}\n    cwd: ..\n{version}", command());
    Site::new().service("app", &file)
}

fn site(service: &str, version: &str) -> Site {
    site_of(service, version).start()
}

fn waiting(site: &Site, count: u64) {
    eventually("the line", || (site.version("app-001")["waiting"] == count).then_some(()));
}

fn go(site: &Site) {
    fs::write(site.path().join("go"), "").expect("write");
}

/// What has reached the version, in order.
fn ledger(site: &Site) -> Vec<String> {
    let text = fs::read_to_string(site.path().join("ledger")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n % 251).to_le_bytes()[0]).collect()
}

fn with_length(body: &[u8]) -> Vec<u8> {
    let mut request = post("/post", &format!("Content-Length: {}\r\n", body.len())).into_bytes();
    request.extend_from_slice(body);
    request
}

fn in_chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut request = post("/post", "Transfer-Encoding: chunked\r\n").into_bytes();
    for chunk in body.chunks(size) {
        request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

/// The names in `Server-Timing`, over all its lines.
fn timing(answer: &Message) -> Vec<String> {
    let all = answer.headers_named("server-timing").join(", ");
    all.split(", ").filter_map(|part| part.split(';').next()).map(str::to_owned).collect()
}

/// Sends from a thread of its own, for a large request does not go out before somebody reads it.
fn sends(site: &Site, request: Vec<u8>) -> std::thread::JoinHandle<Message> {
    let mut client = site.connect();
    std::thread::spawn(move || client.ask(request))
}

#[test]
fn bodies_are_held_whole_or_in_part_and_arrive_as_they_were_sent() {
    const ALL: [&str; 4] = ["start", "probe", "connect", "response"];
    let site = site("", "");
    let (small, large) = (bytes(20_000), bytes(6_000_000));
    let requests = [
        (with_length(&small), &small, "length"),
        (with_length(&large), &large, "length"),
        (in_chunks(&small, 7), &small, "chunked"),
        (in_chunks(&large, 100_000), &large, "chunked"),
    ];
    let clients: Vec<_> = requests.map(|(request, body, framing)| (sends(&site, request), body, framing)).into();
    waiting(&site, 4);
    // What is read is bounded, and what is read of small pieces does not pin buffers.
    assert!(site.memory_kib("VmHWM") < 100_000);
    go(&site);
    let mut most = 0;
    for (client, body, framing) in clients {
        let answer = client.join().expect("an answer");
        assert_eq!((answer.status(), answer.text()), (200, said(body)), "{framing}");
        assert_eq!(answer.header("x-framing"), Some(framing));
        let timing = timing(&answer);
        assert_eq!((timing[0].as_str(), timing[1].as_str()), ("app", "queue"), "{timing:?}");
        // Whoever comes when it has been started already does not wait for that, and may find the connection of another who is done.
        let parts = timing[2..].to_vec();
        let may_lack = |part: &str| part == "start" || part == "connect";
        let expected = ALL.iter().filter(|part| !may_lack(part) || parts.iter().any(|one| one == *part));
        assert!(expected.eq(parts.iter()), "{timing:?}");
        most = most.max(parts.len());
    }
    assert_eq!(most, ALL.len(), "the first waits for all of it");
    let warm = site.connect().ask(with_length(&small));
    assert_eq!((warm.text(), timing(&warm)), (said(&small), vec!["app".to_owned()]), "nothing was waited for");
}

#[test]
fn a_body_with_expect_is_not_asked_for_while_its_request_waits() {
    let site = site("", "");
    let mut client = site.connect();
    client.send(post("/post", "Content-Length: 5\r\nExpect: 100-continue\r\n"));
    waiting(&site, 1);
    assert!(!client.is_closed_within(Duration::from_millis(300)));
    go(&site);
    assert_eq!(client.head().status(), 100);
    client.send("hello");
    let answer = client.response();
    assert_eq!((answer.status(), answer.text()), (200, said(b"hello")));
}

/// hyper does not read while it holds what nobody has taken yet, and so does not hear of an end. The kernel does, unless it holds
/// back what comes before: a larger body is seen to be broken off only when it is read.
#[test]
fn nothing_is_forwarded_for_a_client_that_has_left() {
    let more_than_is_held = with_length(&bytes(1024 * 1024 + 400 * 1024));
    let mut behind_a_second = with_length(b"hello");
    behind_a_second.extend_from_slice(get("/second", "").as_bytes());
    for (what, request) in [("more than is held", more_than_is_held), ("a second request", behind_a_second)] {
        let site = site("", "");
        let mut client = site.connect();
        client.send(request);
        waiting(&site, 1);
        drop(client);
        go(&site);
        assert_eq!(site.get("app.localhost", "/after").status(), 200);
        eventually("the end", || (site.version("app-001")["in_flight"] == 0).then_some(()));
        assert_eq!(ledger(&site), ["GET /after HTTP/1.1"], "{what}");
        eventually("the connection's end", || (site.status()["connections"] == 0).then_some(()));
    }
}

#[test]
fn a_client_that_leaves_frees_its_place_at_once() {
    let site = site("", "");
    for request in [get("/left", "").into_bytes(), with_length(&bytes(1000)), {
        let mut part = with_length(&bytes(1000));
        part.truncate(500);
        part
    }] {
        let mut client = site.connect();
        client.send(request);
        waiting(&site, 1);
        drop(client);
        waiting(&site, 0);
    }
    go(&site);
    assert_eq!(site.get("app.localhost", "/after").status(), 200);
    assert_eq!(ledger(&site), ["GET /after HTTP/1.1"]);
}

#[test]
fn a_version_that_fails_says_so_at_once_and_when_to_come_again() {
    let site = site_of("", "").file("fail", "").file("go", "").start();
    let answer = site.connect().ask(get("/", ""));
    assert_eq!(answer.status(), 503, "{}", answer.text());
    assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u64>().is_ok_and(|s| s >= 1)));
    assert_eq!(answer.header("proxy-status"), Some("tidegate; error=destination_unavailable; fault=wake"));
    assert_eq!(timing(&answer)[..2], ["queue", "start"], "it has waited");
    assert!(!answer.text().contains("told to fail"), "what is inside is not the client's");
}

#[test]
fn a_version_that_does_not_come_up_in_time_is_a_504() {
    let site = site("", "    start: {timeout: 400ms}\n    stop: {grace: 100ms}\n");
    let answer = site.connect().ask(with_length(b"hello"));
    assert_eq!(answer.status(), 504, "{}", answer.text());
    assert_eq!(answer.header("proxy-status"), Some("tidegate; error=destination_unavailable; fault=wake"));
}

/// A request that has to wait once more does not begin anew: it has one deadline.
#[test]
fn a_request_waits_no_longer_altogether_than_a_start_may_take() {
    let version = |name: &str| {
        let start = "start: {timeout: 8s}, stop: {grace: 100ms}";
        format!("versions:\n  {name}: {{command: {}, cwd: .., {start}}}\n", command())
    };
    let site = Site::new().service("app", &version("app-001")).start();
    let mut client = site.connect();
    let began = Instant::now();
    client.send(get("/", ""));
    eventually("half of the time", || (began.elapsed() > Duration::from_secs(4)).then_some(()));
    site.edit_service("app", &version("app-002"));
    let answer = client.response();
    assert_eq!(answer.status(), 504, "{}", answer.text());
    assert!(answer.text().contains("app-002"), "it went on to the other one: {}", answer.text());
    assert!(began.elapsed() < Duration::from_millis(11_500), "not 8 s once more: {:?}", began.elapsed());
}

#[test]
fn a_client_that_stops_within_its_body_is_not_waited_for() {
    let site = site("timeouts: {idle: 2s}", "");
    let mut client = site.connect();
    let answer = client.ask(post("/post", "Content-Length: 5\r\n") + "hel");
    assert_eq!(answer.status(), 408, "{}", answer.text());
    waiting(&site, 0);
    // Whoever sent what is read ahead is not late, however long that takes.
    let large = bytes(6_000_000);
    let client = sends(&site, with_length(&large));
    waiting(&site, 1);
    std::thread::sleep(Duration::from_millis(3500));
    go(&site);
    let answer = client.join().expect("an answer");
    assert_eq!((answer.status(), answer.text()), (200, said(&large)));
}

#[test]
fn a_body_above_the_limit_is_refused_while_it_waits() {
    let site = site("max_body: 1000B", "");
    let answer = site.connect().ask(in_chunks(&bytes(2000), 100));
    assert_eq!(answer.status(), 413);
}

/// Of all bodies together no more is held than there may be; what is sent on makes room.
#[test]
fn bodies_that_are_held_are_bounded_over_all() {
    let site = site_of("", "").root("queue: {max_bodies: 100KiB}\n").start();
    let body = bytes(80_000);
    let first = sends(&site, with_length(&body));
    waiting(&site, 1);
    let refused = site.connect().ask(with_length(&body));
    assert_eq!(refused.status(), 503, "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.header("proxy-status"), Some("tidegate; error=proxy_internal_error; fault=proxy"));
    // Without a body there is nothing to hold, and who is refused or leaves gives back what was held.
    let without = sends(&site, get("/", "").into());
    waiting(&site, 2);
    let mut leaves = site.connect();
    leaves.send(with_length(&bytes(20_000)));
    waiting(&site, 3);
    drop(leaves);
    waiting(&site, 2);
    let second = sends(&site, with_length(&bytes(20_000)));
    waiting(&site, 3);
    go(&site);
    for (client, body) in [(first, &body[..]), (without, &[]), (second, &bytes(20_000))] {
        assert_eq!(client.join().expect("an answer").text(), said(body));
    }
}

#[test]
fn who_finds_the_line_full_is_told_when_to_come_again() {
    let site = site("", "    queue: {max_waiting: 1}\n");
    let first = sends(&site, get("/first", "").into());
    waiting(&site, 1);
    let refused = site.connect().ask(get("/second", ""));
    assert_eq!(refused.status(), 503);
    assert!(refused.header("retry-after").is_some());
    go(&site);
    assert_eq!(first.join().expect("an answer").status(), 200);
    assert_eq!(ledger(&site), ["GET /first HTTP/1.1"]);
}

/// A version that is up and has its hands full is no version that did not start.
#[test]
fn a_turn_that_does_not_come_in_time_is_a_503() {
    let site = site("", "    max_concurrency: 1\n    start: {timeout: 6s}\n");
    go(&site);
    assert_eq!(site.connect().ask(get("/", "")).status(), 200);
    let first = sends(&site, get("/long", "X-Pause-Ms: 10000\r\n").into());
    eventually("the first", || (ledger(&site).len() == 2).then_some(()));
    let second = site.connect().ask(get("/waits", ""));
    assert_eq!(second.status(), 503, "{}", second.text());
    assert_eq!(second.header("proxy-status"), Some("tidegate; error=connection_limit_reached; fault=upstream"));
    assert!(second.header("retry-after").is_some());
    assert_eq!(timing(&second), ["queue"]);
    assert_eq!(first.join().expect("an answer").status(), 200);
    // In time, it gets its turn, and says how long it waited for it.
    let first = sends(&site, get("/short", "X-Pause-Ms: 3000\r\n").into());
    eventually("the first", || (ledger(&site).len() == 3).then_some(()));
    let second = site.connect().ask(get("/waits", ""));
    assert_eq!((second.status(), &timing(&second)[..2]), (200, &["app".to_owned(), "queue".to_owned()][..]));
    assert_eq!(first.join().expect("an answer").status(), 200);
}

const IGNORE: &str =
    "    sleep: {stop_after: 4s, ignore: {paths: [/healthz], user_agents: [\"*Robot*\"], status: 204}}\n";

#[test]
fn what_is_ignored_neither_wakes_a_version_nor_keeps_it_awake() {
    let site = site("", IGNORE);
    go(&site);
    let mut client = site.connect();
    for request in [get("/healthz", ""), get("/", "User-Agent: UptimeRobot/2.0\r\n"), get("/a/../healthz", "")] {
        assert_eq!(client.ask(request).status(), 204);
    }
    assert_eq!((site.version("app-001")["state"].as_str(), ledger(&site).len()), (Some("asleep"), 0));
    assert_eq!(client.ask(get("/", "User-Agent: Mozilla\r\n")).status(), 200);
    // Awake, it answers itself; and falls asleep under such requests all the same.
    let answer = client.ask(get("/healthz", ""));
    assert_eq!((answer.status(), answer.text()), (200, said(b"")));
    eventually("sleep", || {
        assert!(matches!(client.ask(get("/healthz", "")).status(), 200 | 204));
        (site.version("app-001")["state"] == "asleep").then_some(())
    });
}

#[test]
fn a_browser_sees_a_page_while_a_version_comes_up_and_others_wait() {
    let site = site("waiting_page: {title: \"Shop & more\"}", "");
    let html = "Accept: text/html,*/*;q=0.8\r\n";
    let mut browser = site.connect();
    let page = browser.ask(get("/", html));
    assert_eq!(page.status(), 503);
    assert!(page.text().contains("<h1>Shop &amp; more</h1>"), "{}", page.text());
    let shown = |name| page.header(name).map(str::to_owned);
    assert_eq!(shown("cache-control").as_deref(), Some("no-store"));
    assert_eq!(shown("content-type").as_deref(), Some("text/html; charset=utf-8"));
    assert_eq!((shown("refresh"), shown("retry-after")), (Some("1".to_owned()), Some("1".to_owned())));
    assert_eq!(site.version("app-001")["state"], "starting", "it was woken");
    let script = sends(&site, get("/api", &format!("{html}Sec-Fetch-Mode: cors\r\n")).into());
    let form = sends(&site, [post("/form", &format!("{html}Content-Length: 2\r\n")).as_bytes(), b"hi"].concat());
    waiting(&site, 2);
    browser.send(get("/", html).replacen("GET", "HEAD", 1));
    assert_eq!(browser.response_to_head().status(), 503);
    go(&site);
    for client in [script, form] {
        assert_eq!(client.join().expect("an answer").status(), 200);
    }
    let answer = browser.ask(get("/", html));
    assert_eq!((answer.status(), answer.text()), (200, said(b"")));
}
