//! What services ask of TLS: redirects to it, clients' certificates, and which connections may be shared.

use crate::support::authority::{Authority, Pem, order};
use crate::support::backend::Backend;
use crate::support::ports::own_address;
use crate::support::site::Site;
use crate::support::tls::get_as;

fn text(pair: &Pem) -> String {
    format!("{}{}", pair.chain(), pair.key)
}

#[test]
fn plain_http_is_redirected_where_there_is_a_certificate() {
    let authority = Authority::new("ours");
    let pair = authority.sign(&["shop.test"]);
    let https = own_address();
    let port = https.port();
    let backend = Backend::saying("shop");
    let yaml = |tls: &str| format!("domains: [shop.test, bare.test]\n{tls}{}", backend.as_only_version("shop"));
    let site = Site::with_https_at(https)
        .root("tls: {certificates: certs}\ntrusted_proxies: [127.0.0.1]\n")
        .file("certs/shop.pem", &text(&pair))
        .service("shop", &yaml("tls: {hsts: 365d}\n"))
        .start();
    let answer = site.get("Shop.test:80", "/a%20b?c=d");
    assert_eq!(answer.status(), 308);
    assert_eq!(answer.header("location"), Some(&*format!("https://shop.test:{port}/a%20b?c=d")));
    assert_eq!(site.get("bare.test", "/").text(), "shop", "HTTPS would not do for this host");
    assert_eq!(site.get("shop.test", "/.well-known/acme-challenge/x").text(), "shop");
    let mut raw = site.connect();
    raw.send("GET / HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-Proto: https\r\n\r\n");
    assert_eq!(raw.response().text(), "shop", "a trusted proxy has spoken TLS");
    let got = get_as(&authority.client(), https, ("shop.test", "shop.test"), "/").expect("a handshake");
    assert!(got.answer.to_ascii_lowercase().contains("\r\nstrict-transport-security: max-age=31536000\r\n"));
    assert_eq!(site.get("bare.test", "/").header("strict-transport-security"), None, "not over plain HTTP");
    site.edit_service("shop", &yaml("tls: {redirect: false, hsts: {max_age: 1d, subdomains: true}}\n"));
    assert_eq!(site.get("shop.test", "/").text(), "shop");
    let got = get_as(&authority.client(), https, ("shop.test", "shop.test"), "/").expect("a handshake");
    assert!(got.answer.contains("max-age=86400; includeSubDomains\r\n"), "{}", got.answer);
}

#[test]
fn a_connection_is_for_the_hosts_of_its_certificate_and_of_its_rules() {
    let authority = Authority::new("ours");
    let clients = Authority::new("theirs");
    let pair = authority.sign(&["open.test", "alike.test", "closed.test", "asking.test"]);
    let other = authority.sign(&["other.test"]);
    let own = clients.sign_order(order(&["me"]).for_client());
    let stranger = authority.sign_order(order(&["me"]).for_client());
    let (open, closed, asking) = (Backend::saying("open"), Backend::saying("closed"), Backend::saying("asking"));
    let closed_yaml = |tls: &str| format!("domains: [closed.test]\n{tls}{}", closed.as_only_version("closed"));
    let site = Site::with_https()
        .root("tls: {certificates: certs}\n")
        .file("certs/a.pem", &text(&pair))
        .file("certs/b.pem", &text(&other))
        .file("clients.pem", &clients.root_pem())
        .service("open", &format!("domains: [open.test, alike.test, other.test]\n{}", open.as_only_version("open")))
        .service("closed", &closed_yaml("tls: {client_ca: ../clients.pem}\n"))
        .service(
            "asking",
            &format!(
                "domains: [asking.test]\ntls: {{client_ca: ../clients.pem, client_auth: optional}}\n{}",
                asking.as_only_version("asking")
            ),
        )
        .start();
    let https = site.https();
    let (nobody, known) = (authority.client(), authority.client_as(&own, &clients));
    let status = |client, name: &str, host: &str| {
        get_as(client, https, (name, host), "/").ok().and_then(|got| got.answer.get(9..12)?.parse::<u16>().ok())
    };
    for (name, host, expected) in [
        ("open.test", "open.test", 200),
        ("open.test", "alike.test", 200),
        ("open.test", "other.test", 421),
        ("other.test", "open.test", 421),
        ("open.test", "closed.test", 421),
        ("open.test", "asking.test", 421),
        ("open.test", "nobody.test", 404),
        ("asking.test", "asking.test", 200),
        ("asking.test", "closed.test", 421),
        ("asking.test", "open.test", 421),
    ] {
        assert_eq!(status(&nobody, name, host), Some(expected), "{name} for {host}");
        assert_eq!(status(&known, name, host), Some(expected), "{name} for {host}, with a certificate");
    }
    assert_eq!(status(&known, "closed.test", "closed.test"), Some(200));
    assert_eq!(status(&known, "closed.test", "asking.test"), Some(421));
    assert_eq!(status(&nobody, "closed.test", "closed.test"), None, "without a certificate");
    let strange = authority.client_as(&stranger, &authority);
    assert_eq!(status(&strange, "closed.test", "closed.test"), None, "with a stranger's");
    assert_eq!(status(&strange, "asking.test", "asking.test"), None, "optional, but it must be good");
    // Nor is there a way around it over plain HTTP.
    assert_eq!(site.get("closed.test", "/").status(), 403);

    // A session is resumed under the rules that it began with, and under no others.
    let got = get_as(&known, https, ("closed.test", "closed.test"), "/").expect("a handshake");
    assert!(got.resumed && got.answer.ends_with("closed"), "{}", got.answer);
    site.edit_service("closed", &closed_yaml("tls: {client_ca: ../clients.pem, hsts: 1d}\n"));
    assert!(get_as(&known, https, ("closed.test", "closed.test"), "/").expect("a handshake").resumed);
    site.edit_service("closed", &closed_yaml("tls: {client_ca: ../clients.pem, client_auth: optional}\n"));
    assert!(!get_as(&known, https, ("closed.test", "closed.test"), "/").expect("a handshake").resumed);
}
