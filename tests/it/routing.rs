//! Hosts, paths and previews, as a client meets them.

use crate::support::backend::{Backend, Fleet};
use crate::support::raw::{Message, Raw};
use crate::support::site::Site;

/// What the backend saw as the target of its last request.
fn target(backend: &Backend) -> String {
    let requests = backend.requests();
    let last = requests.last().expect("a request");
    last.start.split(' ').nth(1).expect("a target").to_owned()
}

fn answer(message: &Message) -> (u16, String) {
    (message.status(), message.text())
}

#[test]
fn a_default_domain_reaches_its_service_in_any_spelling() {
    let backend = Backend::saying("hello");
    let site = Site::new().service("hello", &backend.as_only_version("hello")).start();
    for host in
        ["hello.localhost", "HELLO.localhost", "hello.localhost.", "hello.localhost:8080", "HELLO.LocalHost.:80"]
    {
        assert_eq!(answer(&site.get(host, "/")), (200, "hello".to_owned()), "{host}");
    }
    let forwarded: Vec<String> =
        backend.requests().iter().filter_map(|r| r.header("host").map(str::to_owned)).collect();
    let (plain, ported) = ("hello.localhost", ["hello.localhost:8080", "hello.localhost:80"]);
    assert_eq!(forwarded, [plain, plain, plain, ported[0], ported[1]]);
    assert_eq!(site.get("nobody.localhost", "/").status(), 404);
}

#[test]
fn what_nobody_has_is_not_found() {
    let backend = Backend::saying("hello");
    let site = Site::new().service("hello", &backend.as_only_version("hello")).start();
    for host in
        ["nobody.localhost", "localhost", "hello", "a.hello.localhost", "hello-002.localhost", "127.0.0.1", "[::1]"]
    {
        let answer = site.get(host, "/");
        assert_eq!(answer.status(), 404, "{host}");
        assert_eq!(answer.header("proxy-status"), Some("tidegate; error=destination_not_found; fault=client"));
    }
    assert_eq!(backend.connections(), 0, "nothing unknown reaches a backend");
    let totals = site.metrics();
    assert_eq!(totals.get("tidegate_unrouted_requests_total{reason=\"unknown_host\"}"), 7.0);
}

#[test]
fn the_most_exact_host_and_the_longest_prefix_win() {
    let names = ["root", "shop", "cart", "wild", "api"];
    let backends: Vec<Backend> = names.iter().map(|name| Backend::saying(*name)).collect();
    let routes = [
        "domains: [Example.COM.]\n",
        "routes: [{host: example.com, path: /shop}]\n",
        "routes: [{host: example.com, path: /shop/cart/}]\n",
        "domains: [\"*.example.com\"]\n",
        "routes: [{host: api.example.com, path: /v1}]\n",
    ];
    let mut site = Site::new();
    for ((name, backend), routes) in names.iter().zip(&backends).zip(routes) {
        site = site.service(name, &format!("{routes}{}", backend.as_only_version(name)));
    }
    let site = site.start();
    for (host, path, found) in [
        ("example.com", "/", Some("root")),
        ("EXAMPLE.com.:443", "/x", Some("root")),
        ("example.com", "/shopping", Some("root")),
        ("example.com", "/Shop", Some("root")),
        ("example.com", "/shop", Some("shop")),
        ("example.com", "/shop/", Some("shop")),
        ("example.com", "/shop?x=/shop/cart", Some("shop")),
        ("example.com", "/shop/carts", Some("shop")),
        ("example.com", "/shop/cart", Some("cart")),
        ("example.com", "/shop/cart/1", Some("cart")),
        ("example.com", "/%73hop", Some("shop")),
        ("example.com", "/x/../shop/./cart", Some("cart")),
        ("example.com", "/shop/../..", Some("root")),
        ("www.example.com", "/shop", Some("wild")),
        ("a.b.example.com", "/", None),
        ("api.example.com", "/v1/x", Some("api")),
        ("api.example.com", "/v2", Some("wild")),
        ("example.org", "/", None),
    ] {
        let expected = found.map_or(404, |_| 200);
        let answer = site.get(host, path);
        assert_eq!(answer.status(), expected, "{host}{path}");
        if let Some(found) = found {
            assert_eq!(answer.text(), found, "{host}{path}");
        }
    }
}

#[test]
fn a_prefix_is_taken_off_where_the_route_says_so() {
    let backend = Backend::saying("shop");
    let routes = "routes:\n  - {host: example.com, path: /shop, strip: true}\n  - {host: example.com, path: /keep}\n";
    let site = Site::new().service("shop", &format!("{routes}{}", backend.as_only_version("shop"))).start();
    for (asked, seen) in [
        ("/shop", "/"),
        ("/shop/", "/"),
        ("/shop?a=1", "/?a=1"),
        ("/shop/a%20b/c?d=/shop", "/a%20b/c?d=/shop"),
        ("/shop/shop", "/shop"),
        ("/x/../shop/y", "/y"),
        ("/keep/x", "/keep/x"),
        ("/keep?q", "/keep?q"),
    ] {
        assert_eq!(site.get("example.com", asked).status(), 200, "{asked}");
        assert_eq!(target(&backend), seen, "{asked}");
    }
    assert_eq!(site.get("example.com", "/other").status(), 404);
    let stripped = backend.requests();
    assert_eq!(stripped[0].header("x-forwarded-prefix"), Some("/shop"));
    assert_eq!(site.get("shop.localhost", "/shop/x").status(), 200);
    assert_eq!(target(&backend), "/shop/x", "the default domain takes nothing off");
}

#[test]
fn a_preview_domain_reaches_its_version_at_weight_zero() {
    let fleet = Fleet::of("shop", 3);
    let site = Site::new().service("shop", &fleet.file(&[100.0, 0.0, 0.0])).start();
    assert_eq!(answer(&site.get("shop-002.localhost", "/")), (200, "shop-002".to_owned()));
    assert_eq!(answer(&site.get("SHOP-003.localhost.:80", "/")), (200, "shop-003".to_owned()));
    assert_eq!(answer(&site.get("shop.localhost", "/")), (200, "shop-001".to_owned()));
    assert_eq!(site.get("shop-004.localhost", "/").status(), 404);
}

#[test]
fn previews_are_private_public_or_off() {
    let fleet = Fleet::of("shop", 4);
    let versions = fleet.versions();
    let mut lines = versions.lines();
    let mut yaml = format!("preview: public\n{}{}\n", fleet.weights(&[100.0]), lines.next().expect("versions"));
    for (line, preview) in lines.zip(["", "preview: private, ", "preview: off, ", "preview: public, "]) {
        yaml.push_str(&line.replace("{urls", &format!("{{{preview}urls")));
        yaml.push('\n');
    }
    let site = Site::new().root("preview_from: [127.0.0.2/32]\n").service("shop", &yaml).start();
    let status = |from: [u8; 4], host: &str| Raw::connect_from(from, site.http()).get(host, "/").status();
    let (stranger, friend) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    for (host, for_strangers, for_friends) in [
        ("shop-001.localhost", 200, 200),
        ("shop-002.localhost", 404, 200),
        ("shop-003.localhost", 404, 404),
        ("shop-004.localhost", 200, 200),
        ("shop.localhost", 200, 200),
    ] {
        assert_eq!((status(stranger, host), status(friend, host)), (for_strangers, for_friends), "{host}");
    }
}

#[test]
fn private_previews_are_for_this_machine_where_nothing_else_is_said() {
    let fleet = Fleet::of("shop", 1);
    let site = Site::new().root("trusted_proxies: [127.0.0.3/32]\n").service("shop", &fleet.versions()).start();
    assert_eq!(site.get("shop-001.localhost", "/").status(), 200);
    // What a trusted proxy says of its client counts; what anybody else says does not.
    let mut proxy = Raw::connect_from([127, 0, 0, 3], site.http());
    let from_outside = ["X-Forwarded-For: 203.0.113.7"];
    assert_eq!(proxy.get_with("shop-001.localhost", "/", &from_outside).status(), 404);
    assert_eq!(proxy.get_with("shop.localhost", "/", &from_outside).status(), 200);
    let mut other = site.connect();
    assert_eq!(other.get_with("shop-001.localhost", "/", &from_outside).status(), 200);
}

#[test]
fn a_preview_by_default_is_set_for_all_services_at_once() {
    let fleet = Fleet::of("shop", 1);
    let site = Site::new().root("defaults: {preview: off}\n").service("shop", &fleet.versions()).start();
    assert_eq!(site.get("shop-001.localhost", "/").status(), 404);
    site.edit_root("base_domain: Example.NET\n");
    assert_eq!(site.get("shop-001.example.net", "/").status(), 200);
    assert_eq!(site.get("shop.example.net", "/").status(), 200);
    assert_eq!(site.get("shop.localhost", "/").status(), 404);
}

#[test]
fn the_host_of_an_absolute_target_wins() {
    let backend = Backend::saying("hello");
    let site = Site::new().service("hello", &backend.as_only_version("hello")).start();
    let mut raw = site.connect();
    let answer = raw.get("nobody.localhost", "http://HELLO.localhost:80/x?y");
    assert_eq!(answer.status(), 200);
    assert_eq!(target(&backend), "/x?y");
    assert_eq!(backend.requests()[0].header("host"), Some("hello.localhost:80"));
}

#[test]
fn two_claims_of_one_place_leave_it_to_the_first() {
    let (one, two) = (Fleet::of("one", 1), Fleet::of("two", 1));
    let claim = "domains: [example.com]\n";
    let site = Site::new().service("one", &format!("{claim}{}", one.versions())).start();
    site.edit_service("two", &two.versions());
    site.write_service("two", &format!("{claim}{}", two.versions()));
    let rejected = crate::support::eventually("the error", || site.rejected().into_iter().next());
    assert!(rejected.contains("two.yaml:1:11: `example.com/` is claimed by one and by two"), "{rejected}");
    assert_eq!(site.get("example.com", "/").text(), "one-001");
    assert_eq!(site.get("two.localhost", "/").text(), "two-001", "its earlier form serves on");
    site.write_service("one", &one.versions());
    crate::support::eventually("the claim in force", || {
        (site.get("example.com", "/").text() == "two-001").then_some(())
    });
    assert_eq!(site.rejected(), Vec::<String>::new());
}
