//! Rules: targeted traffic, before the weights.

use crate::support::backend::Fleet;
use crate::support::site::Site;

/// Rules for `shop-002` to `shop-004`; all weight is with `shop-001`.
fn site(fleet: &Fleet, rules: &[&str]) -> Site {
    let rules: String = rules.iter().map(|rule| format!("  - {{{rule}}}\n")).collect();
    Site::new().service("shop", &format!("rules:\n{rules}{}", fleet.file(&[100.0]))).start()
}

/// Sends a request with these header lines; says which version answered.
fn ask(site: &Site, request: &str, headers: &[&str]) -> String {
    let (method, target) = request.split_once(' ').expect("METHOD TARGET");
    let mut raw = site.connect();
    let more: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    raw.send(format!("{method} {target} HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 0\r\n{more}\r\n"));
    let answer = raw.response();
    assert_eq!(answer.status(), 200);
    answer.text()
}

#[test]
fn every_kind_of_rule_exact_and_as_a_glob() {
    let fleet = Fleet::of("shop", 2);
    for (rule, held, not_held) in [
        ("query: {preview: new}", ("GET /?preview=new", ""), ("GET /?preview=new1", "")),
        ("query: {preview: \"new*\"}", ("GET /x?a&preview=new-1&b", ""), ("GET /?preview=anew", "")),
        ("query: {preview: \"new*\"}", ("GET /?pre%76iew=ne%77+one", ""), ("GET /?Preview=new", "")),
        ("query: {flag: \"\"}", ("GET /?flag", ""), ("GET /?flag=1", "")),
        ("query: {a: \"*\"}", ("GET /?a=", ""), ("GET /?b=1", "")),
        ("header: {x-beta: \"yes\"}", ("GET /", "X-BETA: yes"), ("GET /", "X-Beta: Yes")),
        ("header: {x-beta: \"*\"}", ("GET /", "X-Beta: anything"), ("GET /", "X-Gamma: anything")),
        (
            "header: {User-Agent: \"*Fire?ox*\"}",
            ("GET /", "User-Agent: Mozilla Firefox/1"),
            ("GET /", "User-Agent: Fireox"),
        ),
        ("cookie: {team: red}", ("GET /", "Cookie: a=b; team=red"), ("GET /", "Cookie: team=redder")),
        ("cookie: {team: \"r*\"}", ("GET /", "Cookie: team=\"rose\""), ("GET /", "Cookie: xteam=rose")),
        ("path: /admin", ("GET /admin", ""), ("GET /admin/", "")),
        ("path: \"/admin*\"", ("GET /x/../admin/y?z", ""), ("GET /Admin", "")),
        ("path: \"*.php\"", ("GET /a/b.php?x", ""), ("GET /a.phps", "")),
        ("path: \"/a\\\\*\"", ("GET /a*", ""), ("GET /ab", "")),
        ("method: POST", ("POST /", ""), ("GET /", "")),
        ("method: [PUT, DELETE]", ("DELETE /", ""), ("POST /", "")),
    ] {
        let site = site(&fleet, &[&format!("{rule}, version: shop-002")]);
        let ask = |(request, header): (&str, &str)| {
            let headers: Vec<&str> = [header].into_iter().filter(|header| !header.is_empty()).collect();
            ask(&site, request, &headers)
        };
        assert_eq!(ask(held), "shop-002", "{rule} on {held:?}");
        assert_eq!(ask(not_held), "shop-001", "{rule} on {not_held:?}");
    }
}

#[test]
fn all_conditions_of_a_rule_must_hold() {
    let fleet = Fleet::of("shop", 2);
    let site = site(&fleet, &["path: \"/x*\", method: [GET, PUT], header: {a: \"1\", b: \"2\"}, version: shop-002"]);
    assert_eq!(ask(&site, "GET /x1", &["A: 1", "B: 2"]), "shop-002");
    assert_eq!(ask(&site, "PUT /x", &["B: 3", "A: 1", "B: 2"]), "shop-002", "any of several values may fit");
    for (request, headers) in [
        ("GET /y", ["A: 1", "B: 2"]),
        ("POST /x", ["A: 1", "B: 2"]),
        ("GET /x", ["A: 1", "B: 3"]),
        ("GET /x", ["A: 1", "C: 2"]),
    ] {
        assert_eq!(ask(&site, request, &headers), "shop-001", "{request} {headers:?}");
    }
}

#[test]
fn the_first_rule_that_holds_wins() {
    let fleet = Fleet::of("shop", 4);
    let rules =
        ["path: \"/a*\", version: shop-002", "path: \"/ab*\", version: shop-003", "path: \"/*\", version: shop-004"];
    let site = site(&fleet, &rules);
    for (path, version) in [("/abc", "shop-002"), ("/b", "shop-004"), ("/", "shop-004")] {
        assert_eq!(ask(&site, &format!("GET {path}"), &[]), version);
    }
    let reversed: String = rules.iter().rev().map(|rule| format!("  - {{{rule}}}\n")).collect();
    site.edit_service("shop", &format!("rules:\n{reversed}{}", fleet.file(&[100.0])));
    assert_eq!(ask(&site, "GET /abc", &[]), "shop-004");
}

#[test]
fn rules_see_the_path_before_a_prefix_is_taken_off() {
    let fleet = Fleet::of("shop", 2);
    let yaml = format!(
        "routes: [{{host: example.com, path: /shop, strip: true}}]\nrules: [{{path: /shop/new, version: shop-002}}]\n{}",
        fleet.file(&[100.0])
    );
    let site = Site::new().service("shop", &yaml).start();
    assert_eq!(site.get("example.com", "/shop/new").text(), "shop-002");
    assert_eq!(site.get("example.com", "/shop/old").text(), "shop-001");
}
