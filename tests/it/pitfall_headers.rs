//! HTTP_PITFALLS 1 and 17: headers that belong to one connection, and headers that tell of the client.

use crate::support::backend::{Backend, ok};
use crate::support::front::{HOST, before, builder, get};
use crate::support::raw::Message;

/// What the backend got of a GET with these header lines.
fn forwarded(yaml: &str, root: &str, headers: &str) -> Message {
    let backend = Backend::saying("ok");
    let site = builder(&backend, yaml).root(root).start();
    let answer = site.connect().ask(get("/", headers));
    assert_eq!(answer.status(), 200);
    backend.requests().remove(0)
}

fn names(message: &Message) -> Vec<&str> {
    let mut names: Vec<&str> = message.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
}

#[test]
fn rule_1_nothing_of_the_clients_connection_goes_on() {
    let request = forwarded(
        "",
        "",
        "Connection: keep-alive, X-Mine,x-two\r\nConnection: X-Three\r\nX-Mine: 1\r\nX-Two: 2\r\nx-three: 3\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\n\
         Proxy-Authenticate: Basic\r\nTE: gzip\r\nTrailer: x-sum\r\nUpgrade: h2c\r\nX-Stays: 4\r\n",
    );
    assert_eq!(names(&request), ["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-stays"]);
}

#[test]
fn rule_1_connection_cannot_take_out_what_the_proxy_sets() {
    let request = forwarded(
        "headers: {request: {set: {X-Secret: s3cret}}}",
        "",
        "Connection: host, content-length, x-forwarded-for, x-forwarded-host, x-forwarded-proto, x-secret, close\r\n\
         X-Secret: mine\r\n",
    );
    assert_eq!(request.headers_named("host"), [HOST]);
    assert_eq!(request.headers_named("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.headers_named("x-forwarded-host"), [HOST]);
    assert_eq!(request.headers_named("x-forwarded-proto"), ["http"]);
    assert_eq!(request.headers_named("x-secret"), ["s3cret"]);
}

#[test]
fn rule_1_a_body_keeps_its_length_whatever_connection_lists() {
    let backend = Backend::saying("ok");
    let site = before(&backend, "");
    let answer = site.connect().ask(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nConnection: content-length, transfer-encoding\r\nContent-Length: 5\r\n\r\nhello"
    ));
    assert_eq!(answer.status(), 200);
    let request = backend.requests().remove(0);
    assert_eq!((request.header("content-length"), request.text().as_str()), (Some("5"), "hello"));
}

#[test]
fn rule_1_te_trailers_is_offered_to_the_backend_only_where_the_client_did() {
    let request = forwarded("", "", "Connection: TE\r\nTE: gzip;q=0.5, Trailers\r\n");
    assert_eq!(request.headers_named("te"), ["trailers"]);
    assert_eq!(request.header("connection"), None);
}

#[test]
fn rule_1_nothing_of_the_backends_connection_reaches_the_client() {
    let backend = Backend::answering(|_| {
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive, x-inner\r\nX-Inner: 1\r\nKeep-Alive: timeout=5\r\n\
          Proxy-Connection: keep-alive\r\nProxy-Authenticate: Basic\r\nTE: trailers\r\nUpgrade: h2c\r\nTrailer: x-sum\r\n\
          Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok"
            .to_vec()
    });
    let site = before(&backend, "");
    let mut client = site.connect();
    let answer = client.ask(get("/", ""));
    assert_eq!(names(&answer), ["content-length", "date", "set-cookie", "set-cookie"]);
    assert_eq!(answer.headers_named("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(client.ask(get("/", "")).text(), "ok", "the client's connection lives on");
}

#[test]
fn rule_1_a_backend_that_closes_does_not_close_the_clients_connection() {
    let backend = Backend::serving(|mut raw, _| {
        raw.request();
        raw.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    });
    let site = before(&backend, "");
    let mut client = site.connect();
    for _ in 0..3 {
        let answer = client.ask(get("/", ""));
        assert_eq!((answer.status(), answer.header("connection")), (200, None));
    }
    assert_eq!(backend.connections(), 3);
}

#[test]
fn rule_1_trailers_come_only_to_who_takes_them_and_override_nothing() {
    let backend = Backend::answering(|_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum, set-cookie, x-forwarded-for\r\n\r\n\
          2\r\nok\r\n0\r\nX-Sum: 7\r\nSet-Cookie: evil=1\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n"
            .to_vec()
    });
    let site = before(&backend, "");
    let mut client = site.connect();
    let plain = client.ask(get("/", ""));
    assert_eq!((plain.text().as_str(), plain.trailers.len(), plain.header("trailer")), ("ok", 0, None));
    let with = client.ask(get("/", "TE: trailers\r\nConnection: TE\r\n"));
    assert_eq!(with.text(), "ok");
    assert_eq!(with.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    assert_eq!(backend.connections(), 1, "a connection with trailers can be used again");
}

#[test]
fn rule_1_trailers_of_a_request_become_no_headers() {
    let backend = Backend::saying("ok");
    let site = before(&backend, "");
    let mut client = site.connect();
    let answer = client.ask(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nTrailer: x-forwarded-for, authorization\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\nAuthorization: Basic eDp5\r\n\r\n"
    ));
    assert_eq!(answer.status(), 200);
    let request = backend.requests().remove(0);
    assert_eq!((request.text().as_str(), request.headers_named("x-forwarded-for")), ("hi", vec!["127.0.0.1"]));
    assert_eq!((request.header("authorization"), request.trailers.len()), (None, 0));
    assert_eq!(client.ask(get("/", "")).status(), 200);
}

#[test]
fn rule_17_the_untrusted_say_nothing_of_the_client() {
    let request = forwarded(
        "",
        "",
        "X-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 7.7.7.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
         X-Forwarded-Prefix: /evil\r\nX-Forwarded-Port: 1\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n",
    );
    assert_eq!(names(&request), ["host", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"]);
    assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.header("x-forwarded-proto"), Some("http"));
    assert_eq!(request.header("x-forwarded-host"), Some(HOST));
}

#[test]
fn rule_17_a_trusted_proxy_is_believed_and_added_to() {
    let request = forwarded(
        "allow: [203.0.113.0/24]",
        "trusted_proxies: [127.0.0.0/8]\n",
        "X-Forwarded-For: 198.51.100.1, 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n\
         X-Real-IP: 203.0.113.9\r\nForwarded: for=203.0.113.9\r\n",
    );
    assert_eq!(request.headers_named("x-forwarded-for"), ["198.51.100.1, 203.0.113.9, 127.0.0.1"]);
    assert_eq!(request.header("x-forwarded-proto"), Some("https"));
    assert_eq!(request.header("x-forwarded-host"), Some("shop.example"));
    assert_eq!(request.header("x-real-ip"), Some("203.0.113.9"));
    assert_eq!(request.header("forwarded"), Some("for=203.0.113.9"));
}

#[test]
fn rule_17_a_stripped_prefix_is_told() {
    let backend = Backend::saying("ok");
    let site = before(&backend, "routes: [{host: shop.test, path: /shop, strip: true}]");
    let mut client = site.connect();
    for (target, path) in
        [("/shop", "/"), ("/shop/cart?a=b&c", "/cart?a=b&c"), ("/x/../shop/%61?q=%2e", "/a?q=%2e"), ("/shop/?", "/?")]
    {
        let answer = client.ask(format!("GET {target} HTTP/1.1\r\nHost: shop.test\r\n\r\n"));
        assert_eq!(answer.status(), 200, "{target}");
        let request = backend.requests().pop().expect("a request");
        assert_eq!(request.start, format!("GET {path} HTTP/1.1"), "{target}");
        assert_eq!(request.headers_named("x-forwarded-prefix"), ["/shop"]);
    }
}

#[test]
fn header_edits_act_on_requests_and_responses() {
    let backend = Backend::answering(|_| {
        b"HTTP/1.1 200 OK\r\nServer: inner\r\nX-Powered-By: magic\r\nVary: accept\r\nContent-Length: 2\r\n\r\nok"
            .to_vec()
    });
    let site = before(
        &backend,
        "headers:\n  request: {set: {X-Env: prod, Host: inner.test}, add: {X-Tag: b}, remove: [Cookie]}\n  \
         response: {set: {Server: tidegate}, add: {Vary: cookie}, remove: [X-Powered-By]}",
    );
    let answer = site.connect().ask(get("/", "Cookie: a=b\r\nX-Env: dev\r\nX-Tag: a\r\n"));
    assert_eq!(
        (answer.headers_named("server"), answer.headers_named("vary")),
        (vec!["tidegate"], vec!["accept", "cookie"])
    );
    assert_eq!(answer.header("x-powered-by"), None);
    let request = backend.requests().remove(0);
    assert_eq!((request.headers_named("x-env"), request.headers_named("x-tag")), (vec!["prod"], vec!["a", "b"]));
    assert_eq!((request.headers_named("host"), request.header("cookie")), (vec!["inner.test"], None));
}

#[test]
fn end_to_end_headers_pass_as_they_are() {
    let backend = Backend::answering(|_| {
        let mut answer = b"HTTP/1.1 200 OK\r\nX-Empty:\r\nX-Latin: caf\xe9\r\nETag: \"a,b\"\r\n".to_vec();
        answer.extend(&ok("")[b"HTTP/1.1 200 OK\r\n".len()..]);
        answer
    });
    let site = before(&backend, "");
    let mut request =
        get("/a%20b?x=%zz&y='", "X-Empty:\r\nAuthorization: Basic eDp5\r\nCookie: a=b; c=\"d\"\r\nX-Latin: ")
            .into_bytes();
    request.truncate(request.len() - 2);
    request.extend(b"caf\xe9\r\n\r\n");
    let answer = site.connect().ask(&request);
    assert_eq!((answer.header("x-empty"), answer.header("etag")), (Some(""), Some("\"a,b\"")));
    assert_eq!(answer.header("x-latin"), Some("caf\u{fffd}"));
    let request = backend.requests().remove(0);
    assert_eq!(request.start, "GET /a%20b?x=%zz&y=' HTTP/1.1");
    assert_eq!((request.header("x-empty"), request.header("cookie")), (Some(""), Some("a=b; c=\"d\"")));
    assert_eq!((request.header("authorization"), request.header("x-latin")), (Some("Basic eDp5"), Some("caf\u{fffd}")));
}
