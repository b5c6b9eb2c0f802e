//! Sticky choices: a client stays where it is for as long as the weights allow.

use std::collections::HashMap;

use crate::support::backend::Fleet;
use crate::support::raw::{Message, Raw};
use crate::support::site::Site;

fn cookie(answer: &Message) -> Option<&str> {
    answer.header("set-cookie")
}

#[test]
fn a_cookie_is_set_once_and_keeps_the_client_there() {
    let fleet = Fleet::of("shop", 3);
    let yaml = format!("sticky: {{cookie: gate, ttl: 1d}}\n{}", fleet.file(&[50.0, 30.0, 20.0]));
    let site = Site::new().service("shop", &yaml).start();
    let mut seen = HashMap::new();
    for _ in 0..40 {
        let mut open = site.connect();
        let first = open.get_with("shop.localhost", "/", &["Cookie: other=1; gate="]);
        let set = cookie(&first).expect("a cookie").to_owned();
        let (pair, attributes) = set.split_once("; ").expect("attributes");
        assert_eq!(attributes, "Path=/; Max-Age=86400; HttpOnly; SameSite=Lax");
        let (name, key) = pair.split_once('=').expect("a pair");
        assert_eq!(name, "gate");
        assert!(key.len() == 16 && key.bytes().all(|b| b.is_ascii_hexdigit()), "{key}");
        for header in [format!("Cookie: {pair}"), format!("Cookie: a=b; {pair}; c"), format!("Cookie: gate=\"{key}\"")]
        {
            let again = open.get_with("shop.localhost", "/", &[&header]);
            assert_eq!(again.text(), first.text());
            assert_eq!(cookie(&again), None, "the client has it already");
            let elsewhere = Raw::connect_from([127, 0, 0, 9], site.http()).get_with("shop.localhost", "/", &[&header]);
            assert_eq!(elsewhere.text(), first.text());
        }
        seen.insert(key.to_owned(), first.text());
    }
    assert_eq!(seen.len(), 40, "every client has a key of its own");
    assert!(seen.values().collect::<std::collections::BTreeSet<_>>().len() > 1);
    // An edit that leaves the weights alone moves nobody; neither does one and its undoing.
    site.edit_service("shop", &format!("max_body: 1KiB\n{yaml}"));
    site.edit_service("shop", &yaml.replace("shop-001: 50", "shop-001: 80").replace("shop-002: 30", "shop-002: 0"));
    site.edit_service("shop", &yaml);
    let mut open = site.connect();
    for (key, version) in &seen {
        assert_eq!(open.get_with("shop.localhost", "/", &[&format!("Cookie: gate={key}")]).text(), *version);
    }
}

#[test]
fn the_cookie_goes_through_to_the_backend_and_stays_beside_its_own() {
    let backend = crate::support::backend::Backend::answering(|_| {
        b"HTTP/1.1 200 OK\r\nSet-Cookie: own=1\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    let yaml = format!("sticky: {{cookie: gate}}\n{}", backend.as_only_version("shop"));
    let site = Site::new().service("shop", &yaml).start();
    let mut open = site.connect();
    let first = open.get("shop.localhost", "/");
    let set = first.headers_named("set-cookie");
    assert_eq!(set.len(), 2);
    assert_eq!(set[0], "own=1");
    assert!(set[1].starts_with("gate=") && !set[1].contains("Max-Age"), "{set:?}");
    open.get_with("shop.localhost", "/", &["Cookie: gate=0123"]);
    assert_eq!(backend.requests()[1].header("cookie"), Some("gate=0123"));
}

#[test]
fn no_cookie_is_set_where_something_else_decides() {
    let fleet = Fleet::of("shop", 2);
    let yaml = format!(
        "sticky: {{cookie: gate, ttl: 1h}}\nrules: [{{path: /two, version: shop-002}}]\n{}",
        fleet.file(&[100.0, 0.0])
    );
    let site = Site::new().service("shop", &yaml).start();
    let mut open = site.connect();
    for (host, path) in [("shop.localhost", "/two"), ("shop-002.localhost", "/"), ("nobody.localhost", "/")] {
        assert_eq!(cookie(&open.get(host, path)), None, "{host}{path}");
    }
    assert!(cookie(&open.get("shop.localhost", "/")).is_some());
}

#[test]
fn moving_weight_moves_that_share_of_the_clients_and_no_other() {
    let fleet = Fleet::of("shop", 2);
    let yaml = |weights: &[f64]| format!("sticky: {{header: X-User}}\n{}", fleet.file(weights));
    let site = Site::new().service("shop", &yaml(&[80.0, 20.0])).start();
    let mut open = site.connect();
    let mut all = || -> Vec<String> {
        let user = |number: usize| format!("x-user: user-{number}");
        (0..600).map(|number| open.get_with("shop.localhost", "/", &[&user(number)]).text()).collect()
    };
    let before = all();
    assert_eq!(before, all());
    site.edit_service("shop", &yaml(&[60.0, 40.0]));
    let after = all();
    let moved: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
    assert!(moved.iter().all(|(from, to)| *from == "shop-001" && *to == "shop-002"), "somebody moved the wrong way");
    // 600 keys: three standard deviations of a share of 0.2 are 0.049.
    let share = moved.len() as f64 / 600.0;
    assert!((share - 0.2).abs() < 0.05, "{share} of the clients moved, not 0.2");
    site.edit_service("shop", &yaml(&[0.0, 100.0]));
    assert!(all().iter().all(|version| version == "shop-002"), "weight 0 keeps nobody");
    site.edit_service("shop", &yaml(&[80.0, 20.0]));
    assert_eq!(all(), before, "restoring a table restores every user");
}

#[test]
fn requests_without_the_header_go_by_the_weights() {
    let fleet = Fleet::of("shop", 2);
    let yaml = format!("sticky: {{header: x-user}}\n{}", fleet.file(&[50.0, 50.0]));
    let site = Site::new().service("shop", &yaml).start();
    let mut open = site.connect();
    let answers: Vec<String> = (0..6).map(|_| open.get("shop.localhost", "/").text()).collect();
    assert_eq!(answers.iter().filter(|version| *version == "shop-001").count(), 3);
    let empty = open.get_with("shop.localhost", "/", &["X-User:"]).text();
    assert_ne!(empty, answers[5], "an empty key is no key");
}

#[test]
fn a_client_is_known_by_its_address() {
    let fleet = Fleet::of("shop", 2);
    let yaml = format!("sticky: {{client: true}}\n{}", fleet.file(&[50.0, 50.0]));
    let site = Site::new().root("trusted_proxies: [127.0.0.250/32]\n").service("shop", &yaml).start();
    let mut proxy = Raw::connect_from([127, 0, 0, 250], site.http());
    let mut seen = std::collections::BTreeSet::new();
    for last in 2..20 {
        let first = Raw::connect_from([127, 0, 0, last], site.http()).get("shop.localhost", "/").text();
        let again = Raw::connect_from([127, 0, 0, last], site.http()).get("shop.localhost", "/x").text();
        assert_eq!(first, again);
        let through = [&*format!("X-Forwarded-For: 127.0.0.{last}")];
        assert_eq!(proxy.get_with("shop.localhost", "/", &through).text(), first, "through a trusted proxy");
        seen.insert(first);
    }
    assert_eq!(seen.len(), 2);
}

#[test]
fn without_any_weight_a_key_helps_nobody() {
    let fleet = Fleet::of("shop", 2);
    let yaml = format!("sticky: {{cookie: gate}}\n{}", fleet.file(&[0.0, 0.0]));
    let site = Site::new().service("shop", &yaml).start();
    let answer = site.get("shop.localhost", "/");
    assert_eq!((answer.status(), cookie(&answer)), (503, None));
}
