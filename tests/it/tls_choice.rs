//! Which certificate a client gets: by name, by what it can check, out of the service's file or a folder.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::authority::{Authority, order};
use crate::support::backend::Backend;
use crate::support::eventually;
use crate::support::site::{Site, tidegate};
use crate::support::tls::get_as;

const FOLDER: &str = "tls: {certificates: certs}\n";

#[test]
fn pairs_are_found_by_what_is_in_the_files() {
    let authority = Authority::new("ours");
    let pair = |name: &str| authority.sign(&[name]);
    let [plain, certbot, kubernetes, both, star] =
        ["plain.test", "certbot.test", "kubernetes.test", "both.test", "*.star.test"].map(pair);
    let site = Site::with_https()
        .root(FOLDER)
        .file("certs/one.txt", &plain.key)
        .file("certs/two.txt", &plain.chain())
        .file("archive/certbot.test/privkey1.pem", &certbot.key)
        .file("archive/certbot.test/cert1.pem", &certbot.leaf)
        .file("archive/certbot.test/chain1.pem", &certbot.intermediate)
        .file("archive/certbot.test/fullchain1.pem", &certbot.chain())
        .file("certs/mount/..2026/tls.key", &kubernetes.key)
        .file("certs/mount/..2026/tls.crt", &kubernetes.chain())
        .file("certs/both", &format!("{}{}", both.key, both.chain()))
        .file("certs/star.pem", &format!("{}{}", star.chain(), star.key))
        .file("certs/README", "Certificates are in this folder.\n")
        .arranged(|root| {
            fs::create_dir(root.join("certs/live")).expect("a folder");
            for file in ["privkey", "cert", "chain", "fullchain"] {
                let target = format!("../../../archive/certbot.test/{file}1.pem");
                fs::create_dir_all(root.join("certs/live/certbot.test")).expect("a folder");
                symlink(target, root.join(format!("certs/live/certbot.test/{file}.pem"))).expect("a link");
            }
            symlink("..2026", root.join("certs/mount/..data")).expect("a link");
            symlink("..data/tls.key", root.join("certs/mount/tls.key")).expect("a link");
            symlink("..data/tls.crt", root.join("certs/mount/tls.crt")).expect("a link");
        })
        .start();
    let (https, client) = (site.https(), authority.client());
    for (name, pair) in [
        ("plain.test", &plain),
        ("certbot.test", &certbot),
        ("kubernetes.test", &kubernetes),
        ("both.test", &both),
        ("a.star.test", &star),
    ] {
        let got = get_as(&client, https, (name, name), "/").unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(got.certificate, pair.der.to_vec(), "{name}");
        // Nobody serves these hosts; the certificates are there all the same.
        assert!(got.answer.starts_with("HTTP/1.1 404"), "{}", got.answer);
    }
    assert!(get_as(&client, https, ("star.test", "x"), "/").is_err(), "a wildcard is for one label more");
    assert!(get_as(&client, https, ("a.b.star.test", "x"), "/").is_err());
    assert!(!site.log().contains("certs/"), "nothing is amiss");
}

#[test]
fn exact_comes_before_wildcard_and_the_services_own_pair_before_the_folder() {
    let authority = Authority::new("ours");
    let [own, exact, star, base] =
        [&["shop.test"][..], &["shop.test", "exact.test"], &["*.star.test"], &["*.apps.test"]]
            .map(|n| authority.sign(n));
    let backend = Backend::saying("shop");
    let yaml = |head: &str| format!("{head}{}", backend.as_only_version("shop"));
    let tls = "domains: [shop.test, exact.test]\ntls: {certificate: ../own.pem}\n";
    let site = Site::with_https()
        .root(FOLDER)
        .root("base_domain: apps.test\n")
        .file("own.pem", &format!("{}{}", own.chain(), own.key))
        .file("certs/exact.pem", &format!("{}{}", exact.chain(), exact.key))
        .file("certs/star.pem", &format!("{}{}", star.chain(), star.key))
        .file("certs/base.pem", &format!("{}{}", base.chain(), base.key))
        .service("shop", &yaml(tls))
        .start();
    let (https, client) = (site.https(), authority.client());
    let served = |name: &str| get_as(&client, https, (name, name), "/").expect(name);
    for (name, pair) in [("shop.test", &own), ("exact.test", &exact), ("a.star.test", &star), ("shop.apps.test", &base)]
    {
        assert_eq!(served(name).certificate, pair.der.to_vec(), "{name}");
    }
    assert!(served("shop.test").answer.ends_with("shop"));
    // A pair that leaves the folder is not served any more.
    fs::remove_file(site.path().join("certs/star.pem")).expect("removed");
    eventually("the end of the certificate", || get_as(&client, https, ("a.star.test", "x"), "/").err());
    // Without its own, the service has the folder's.
    site.edit_service("shop", &yaml("domains: [shop.test, exact.test]\n"));
    let got = get_as(&authority.client(), https, ("shop.test", "shop.test"), "/").expect("a new session");
    assert_eq!(got.certificate, exact.der.to_vec());
}

#[test]
fn each_client_gets_the_kind_of_key_that_it_can_check() {
    let authority = Authority::new("ours");
    let ecdsa = authority.sign(&["shop.test"]);
    let rsa = authority.sign_order(order(&["shop.test"]).rsa());
    let backend = Backend::saying("shop");
    let tls = "domains: [shop.test]\ntls: {certificate: [../rsa.pem, ../ecdsa.pem], key: [../ecdsa.key, ../rsa.key]}\n";
    let site = Site::with_https()
        .file("ecdsa.pem", &ecdsa.chain())
        .file("ecdsa.key", &ecdsa.key)
        .file("rsa.pem", &rsa.chain())
        .file("rsa.key", &rsa.key)
        .service("shop", &format!("{tls}{}", backend.as_only_version("shop")))
        .start();
    let name = ("shop.test", "shop.test");
    let new = get_as(&authority.client(), site.https(), name, "/").expect("a handshake");
    assert_eq!(new.certificate, ecdsa.der.to_vec());
    let old = get_as(&authority.client_of_old(), site.https(), name, "/").expect("a handshake");
    assert_eq!(old.certificate, rsa.der.to_vec());
}

#[test]
fn the_fallback_is_for_those_that_nobody_has_a_certificate_for() {
    let authority = Authority::new("ours");
    let pair = authority.sign(&["shop.test"]);
    let site = Site::with_https()
        .root("tls: {certificates: certs, fallback: self_signed}\n")
        .file("certs/shop.pem", &format!("{}{}", pair.chain(), pair.key))
        .start();
    let any = |host: &str| crate::support::tls::get(site.https(), host, "/").expect("a handshake").1;
    assert_eq!(any("shop.test"), pair.der.to_vec());
    let ours = any("nobody.test");
    assert_eq!(any("127.0.0.2"), ours, "a client that names no server");
    site.write_root("listen: {http: 127.0.0.1:0, https: 127.0.0.2:0}\nthreads: 2\ntls: {certificates: certs}\n");
    eventually("no fallback", || crate::support::tls::get(site.https(), "nobody.test", "/").err());
}

#[test]
fn what_is_amiss_is_said_with_file_and_cure_and_the_rest_is_served() {
    let authority = Authority::new("ours");
    let soon = authority.sign_order(order(&["soon.test"]).ends_in_days(10));
    let over = authority.sign_order(order(&["over.test"]).ends_in_days(-1));
    let early = authority.sign_order(order(&["early.test"]).begins_in_days(2));
    let chain = authority.sign(&["chain.test"]);
    let alone = authority.sign(&["alone.test"]);
    let own = authority.sign(&["shop.test"]);
    let all = |pair: &crate::support::authority::Pem| format!("{}{}", pair.chain(), pair.key);
    let encrypted = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls/encrypted.key");
    let backend = Backend::saying("shop");
    let yaml = format!(
        "domains: [shop.test, bare.test]\ntls: {{certificate: ../own.pem}}\n{}",
        backend.as_only_version("shop")
    );
    let site = Site::with_https()
        .root(FOLDER)
        .file("certs/soon.pem", &all(&soon))
        .file("certs/over.pem", &all(&over))
        .file("certs/early.pem", &all(&early))
        .file("certs/chain.pem", &format!("{}{}{}", chain.intermediate, chain.leaf, chain.key))
        .file("certs/alone.pem", &alone.chain())
        .file("certs/half.pem", &alone.leaf[..alone.leaf.len() / 2])
        .file("certs/encrypted.key", &fs::read_to_string(encrypted).expect("a fixture"))
        .file("own.pem", &all(&own))
        .service("shop", &yaml)
        .start();
    let output = tidegate().arg("check").arg(site.root()).output().expect("run");
    let said = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{said}");
    for part in [
        "the certificate expires on 20",
        "certs/soon.pem",
        "the certificate has expired on 20",
        "renew it: clients refuse it",
        "the certificate is not valid before 20",
        "is the clock of this machine right?",
        "certs/chain.pem",
        "the chain is in the wrong order; tidegate sends it in the right one",
        "there is no key for this certificate",
        "certs/alone.pem",
        "put the key beside it",
        "certs/half.pem",
        "the file is not whole PEM",
        "the key cannot be used: it is encrypted",
        "openssl pkey",
        "`bare.test` is not among the names of the service's certificate",
        "services/shop.yaml:1:22",
    ] {
        assert!(said.contains(part), "{part} in\n{said}");
    }
    let (https, client) = (site.https(), authority.client());
    for name in ["soon.test", "chain.test", "shop.test"] {
        get_as(&client, https, (name, name), "/").unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}
