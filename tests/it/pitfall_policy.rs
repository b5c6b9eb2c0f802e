//! What a service says instead of, or before, its versions; and how errors look.

use crate::support::backend::{Backend, Refusing};
use crate::support::front::{HOST, before, builder, get, post};
use crate::support::site::Site;

#[test]
fn a_redirect_keeps_path_and_query() {
    let site = Site::new()
        .service("app", "redirect: https://new.example\n")
        .service("base", "redirect: {to: \"https://new.example/base/\", status: 301}\n")
        .service("only", "redirect: {to: \"https://new.example/only\", status: 303, keep_path: false}\n")
        .start();
    let mut client = site.connect();
    for (host, status, location) in [
        (HOST, 308, "https://new.example/a%20b/../c?d=e&f"),
        ("base.localhost", 301, "https://new.example/base/a%20b/../c?d=e&f"),
        ("only.localhost", 303, "https://new.example/only"),
    ] {
        let answer = client.ask(format!("GET /a%20b/../c?d=e&f HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!((answer.status(), answer.header("location")), (status, Some(location)), "{host}");
        assert_eq!((answer.header("content-length"), answer.text().as_str()), (Some("0"), ""));
    }
    // A small body that nobody reads still leaves an answer.
    let answer = client.ask(post("/", "Content-Length: 5\r\n") + "hello");
    assert_eq!((answer.status(), answer.header("location")), (308, Some("https://new.example/")));
}

#[test]
fn only_who_is_allowed_is_served() {
    let backend = Backend::saying("ok");
    let site = builder(&backend, "allow: [203.0.113.0/24, \"2001:db8::/32\"]")
        .service("here", &format!("allow: [127.0.0.1/32]\n{}", backend.as_only_version("here")))
        .root("trusted_proxies: [127.0.0.2/32]\n")
        .start();
    // An untrusted peer's word does not count.
    let mut client = site.connect();
    let answer = client.ask(get("/", "X-Forwarded-For: 203.0.113.9\r\n"));
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.header("proxy-status"), Some("tidegate; error=http_request_denied; fault=client"));
    assert_eq!(site.get("here.localhost", "/").status(), 200);
    assert_eq!(backend.requests().len(), 1);
}

#[test]
fn a_trusted_proxy_says_who_the_client_is() {
    let backend = Backend::saying("ok");
    let site = builder(&backend, "allow: [203.0.113.0/24, \"2001:db8::/32\"]")
        .root("trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]\n")
        .start();
    let mut client = site.connect();
    for (chain, status) in [
        ("203.0.113.9", 200),
        ("6.6.6.6, 203.0.113.9, 10.0.0.1", 200),
        ("2001:db8::7", 200),
        ("203.0.113.9, 6.6.6.6", 403),
        ("203.0.113.9, garbage", 403),
        ("", 403),
    ] {
        assert_eq!(client.ask(get("/", &format!("X-Forwarded-For: {chain}\r\n"))).status(), status, "{chain}");
    }
}

#[test]
fn maintenance_says_so_and_asks_nobody() {
    let backend = Backend::saying("ok");
    let site = before(&backend, "maintenance: {message: back <soon>, retry_after: 90s}");
    let mut client = site.connect();
    let answer = client.ask(get("/", "Accept: text/html\r\n"));
    assert_eq!((answer.status(), answer.header("retry-after")), (503, Some("90")));
    assert_eq!(answer.header("proxy-status"), Some("tidegate; error=proxy_configuration_error; fault=proxy"));
    assert!(answer.text().contains("back &lt;soon&gt;"), "{}", answer.text());
    assert!(client.ask(get("/", "")).text().contains("back <soon>"));
    assert_eq!(backend.connections(), 0);
}

#[test]
fn an_error_comes_in_the_form_that_is_accepted() {
    let site = Site::new().start();
    let mut client = site.connect();
    for (accept, form, body) in [
        ("", "text/plain; charset=utf-8", "404 Not Found: "),
        ("Accept: */*\r\n", "text/plain; charset=utf-8", "404 Not Found: "),
        ("Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n", "text/html; charset=utf-8", "<!doctype html>"),
        ("Accept: application/json\r\n", "application/json", "{\"error\":\"destination_not_found\""),
    ] {
        let answer = client.ask(get("/", accept));
        assert_eq!((answer.status(), answer.header("content-type")), (404, Some(form)), "{accept}");
        assert!(answer.text().starts_with(body), "{accept}: {}", answer.text());
        assert_eq!(answer.header("proxy-status"), Some("tidegate; error=destination_not_found; fault=client"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    // The answer to a HEAD has the length and no body; the connection lives on.
    client.send(format!("HEAD / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    let head = client.response_to_head();
    assert_eq!(head.status(), 404);
    assert_eq!(client.ask(get("/", "")).status(), 404);
}

#[test]
fn an_error_shows_nothing_of_what_is_inside() {
    let closed = Refusing::new();
    let site =
        Site::new().service("app", &format!("versions: {{app-001: {{urls: [\"{}\"]}}}}\n", closed.url())).start();
    for accept in ["", "Accept: text/html\r\n", "Accept: application/json\r\n"] {
        let answer = site.connect().ask(get("/", accept));
        assert_eq!(answer.status(), 502);
        assert_eq!(answer.header("proxy-status"), Some("tidegate; error=connection_refused; fault=upstream"));
        let whole = format!("{answer:?}{}", answer.text());
        assert!(!whole.contains("127.0.0.1") && !whole.contains(&closed.address().port().to_string()), "{whole}");
    }
}

#[test]
fn all_weights_0_says_so() {
    let backend = Backend::saying("ok");
    let site = before(&backend, "weights: {app-001: 0}");
    let answer = site.connect().ask(get("/", ""));
    assert_eq!(answer.status(), 503);
    assert!(answer.text().contains("all weights are 0"), "{}", answer.text());
}

#[test]
fn max_body_counts_what_comes_whatever_is_announced() {
    let backend = Backend::saying("ok");
    let site = before(&backend, "max_body: 10");
    let mut client = site.connect();
    for (framing, body, status) in [
        ("Content-Length: 10\r\n", "0123456789", 200),
        ("Transfer-Encoding: chunked\r\n", "5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n", 200),
        ("Content-Length: 0\r\n", "", 200),
        ("Content-Length: 11\r\n", "0123456789x", 413),
        ("Transfer-Encoding: chunked\r\n", "5\r\n01234\r\n6\r\n56789x\r\n0\r\n\r\n", 413),
        ("Transfer-Encoding: chunked\r\n", "100000\r\n0123456789x", 413),
    ] {
        let answer = client.ask(post("/", framing) + body);
        assert_eq!(answer.status(), status, "{framing}{body}");
        if status == 413 {
            assert_eq!(answer.header("connection"), Some("close"), "{framing}{body}");
            assert_eq!(answer.header("proxy-status"), Some("tidegate; error=http_request_denied; fault=client"));
            client = site.connect();
        }
    }
    assert_eq!(backend.requests().len(), 3, "no more than what is allowed reaches the backend whole");
}
