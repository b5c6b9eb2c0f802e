//! Certificates are had by asking, of Pebble: by both challenges, again in time, and however often it fails.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::backend::Backend;
use crate::support::eventually;
use crate::support::pebble::{Place, Wish};
use crate::support::site::Site;
use crate::support::tls;

fn site(place: &Place, more: &str, backend: &Backend) -> Site {
    let acme =
        format!("acme: {{directory: \"{}\", ca_root: root.pem, contact: admin@shop.test{more}}}\n", place.directory());
    Site::with_https_at(SocketAddr::from(([127, 0, 0, 1], 0)))
        .root(&acme)
        .file("root.pem", &place.root())
        // What a crash leaves behind.
        .file("acme/certificates/.shop.test.pem.new", "-----BEGIN PRIVATE KEY-----\nMIGH")
        .service("shop", &format!("domains: [shop.test]\ntls: {{acme: true}}\n{}", backend.as_only_version("shop")))
        .start()
}

fn wish(site: &Site, validity: u32) -> Wish {
    Wish { http: site.http().port(), https: site.https().port(), validity }
}

#[test]
fn a_certificate_is_had_once_the_authority_is_there_and_renewed_in_time() {
    let Some(place) = Place::new() else { return };
    let backend = Backend::saying("shop");
    let site = site(&place, ", challenge: http-01", &backend);
    let https = site.https();
    let get = || tls::get(https, "shop.test", "/");
    // The authority is down: the site serves on, and says what is the matter.
    let trouble = eventually("the trouble", || {
        let notices = site.status()["notices"].to_string();
        notices.contains("no certificate for shop.test").then_some(notices)
    });
    assert!(trouble.contains("refused") && trouble.contains("tried again in"), "{trouble}");
    assert_eq!(site.get("shop.test", "/").text(), "shop");
    assert!(get().is_err());
    let folder = site.path().join("pebble");
    let pebble = place.start(&folder, &wish(&site, 30));
    let (answer, first) = eventually("the certificate", || get().ok());
    assert!(answer.ends_with("shop"), "{answer}");
    for (path, mode) in [("acme", 0o700), ("acme/certificates/shop.test.pem", 0o600)] {
        let found = fs::metadata(site.path().join(path)).expect("there").permissions().mode() & 0o777;
        assert!(found & 0o077 == 0 || path == "acme", "{path}: {found:o}, and not {mode:o}");
    }
    let accounts = || {
        let entries =
            fs::read_dir(site.path().join("acme")).expect("a folder").map(|entry| entry.expect("an entry").path());
        entries.filter(|path| path.extension().is_some_and(|it| it == "json")).collect::<Vec<_>>()
    };
    assert_eq!(accounts().len(), 1);
    assert_eq!(fs::metadata(&accounts()[0]).expect("there").permissions().mode() & 0o777, 0o600);
    assert!(!site.status()["notices"].to_string().contains("no certificate"), "the trouble is over");
    let second = eventually("the renewal", || get().ok().map(|got| got.1).filter(|now| *now != first));
    // It is away again, and what there is is served on.
    drop(pebble);
    assert_eq!(get().expect("a handshake").1, second);
}

#[test]
fn a_certificate_is_had_over_tls_alone() {
    let Some(place) = Place::new() else { return };
    let backend = Backend::saying("shop");
    let site = site(&place, ", challenge: tls-alpn-01", &backend);
    let folder = site.path().join("pebble");
    let _pebble = place.start(&folder, &wish(&site, 86_400));
    let (answer, _) = eventually("the certificate", || tls::get(site.https(), "shop.test", "/").ok());
    assert!(answer.ends_with("shop"), "{answer}");
    assert!(site.log().contains("an authority has looked at a challenge"));
    // A name more is asked for when the file says so, and no other one again.
    let yaml = format!("domains: [shop.test, more.test]\ntls: {{acme: true}}\n{}", backend.as_only_version("shop"));
    site.edit_service("shop", &yaml);
    eventually("the other certificate", || tls::get(site.https(), "more.test", "/").ok());
    assert_eq!(site.log().matches("asking https").count(), site.log().matches("no certificate for").count() + 2);
}
