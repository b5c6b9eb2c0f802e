//! Certificates are renewed under handshakes at full speed: none fails, and each gets a pair that matches.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::authority::{Authority, Pem};
use crate::support::backend::Backend;
use crate::support::eventually;
use crate::support::site::{Site, replace};
use crate::support::tls::{get_as, handshake};

const RENEWALS: usize = 500;

/// Longer than the quiet time after which a half would be taken for the whole, if it looked like one.
const PAUSE: Duration = Duration::from_millis(30);

#[test]
fn no_handshake_fails_through_five_hundred_renewals() {
    let authority = Authority::new("ours");
    let names = ["renamed.test", "halves.test", "flipped.test"];
    let [mut renamed, mut halves, mut flipped] = names.map(|name| authority.sign(&[name]));
    let backend = Backend::saying("shop");
    let yaml = format!(
        "domains: [renamed.test]\ntls: {{certificate: ../own/cert.pem, key: ../own/key.pem}}\n{}",
        backend.as_only_version("shop")
    );
    let site = Site::with_https()
        .root("tls: {certificates: certs}\n")
        .file("own/cert.pem", &renamed.chain())
        .file("own/key.pem", &renamed.key)
        .file("certs/cert.pem", &halves.chain())
        .file("certs/key.pem", &halves.key)
        .file("certs/mount/..0/tls.crt", &flipped.chain())
        .file("certs/mount/..0/tls.key", &flipped.key)
        .arranged(|root| {
            symlink("..0", root.join("certs/mount/..data")).expect("a link");
            symlink("..data/tls.crt", root.join("certs/mount/tls.crt")).expect("a link");
            symlink("..data/tls.key", root.join("certs/mount/tls.key")).expect("a link");
        })
        .service("shop", &yaml)
        .start();
    let (https, root) = (site.https(), site.path());
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let clients: Vec<_> = names
            .map(|name| {
                let (stop, done, authority) = (&stop, &done, &authority);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        // A client of its own each time, so that nothing is resumed.
                        let connection = handshake(&authority.client(), https, name);
                        drop(connection.unwrap_or_else(|error| panic!("{name}: {error}")));
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .into();
        for round in 1..=RENEWALS {
            if clients.iter().any(thread::ScopedJoinHandle::is_finished) {
                break;
            }
            match round % 10 {
                0 => {
                    halves = authority.sign(&["halves.test"]);
                    write_in_halves(&root.join("certs"), &halves);
                }
                odd if odd % 2 == 1 => {
                    renamed = authority.sign(&["renamed.test"]);
                    replace(&root.join("own/cert.pem"), &renamed.chain());
                    replace(&root.join("own/key.pem"), &renamed.key);
                }
                _ => {
                    flipped = authority.sign(&["flipped.test"]);
                    flip(&root.join("certs/mount"), round, &flipped);
                }
            }
            thread::sleep(Duration::from_millis(5));
        }
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().expect("no handshake fails");
        }
    });
    let done = done.into_inner();
    assert!(done > 1_000, "{done} handshakes");
    for (name, pair) in names.into_iter().zip([&renamed, &halves, &flipped]) {
        eventually("the last renewal", || {
            let got = get_as(&authority.client(), https, (name, name), "/").expect("a handshake");
            (got.certificate == *pair.der).then_some(())
        });
    }
    let notices = site.status()["notices"].to_string();
    assert!(!notices.contains("certs/"), "{notices}");
}

/// As a careless script does: over the old, a half at a time.
fn write_in_halves(folder: &Path, pair: &Pem) {
    for (file, text) in [("cert.pem", pair.chain()), ("key.pem", pair.key.clone())] {
        let mut file = fs::File::create(folder.join(file)).expect("truncated");
        // Not where one certificate ends, which would be a whole file.
        let (one, other) = text.split_at(text.len() / 3);
        for half in [one, other] {
            file.write_all(half.as_bytes()).expect("written");
            thread::sleep(PAUSE);
        }
    }
}

/// As Kubernetes does: a new folder, and one link that is moved over.
fn flip(mount: &Path, round: usize, pair: &Pem) {
    let folder = mount.join(format!("..{round}"));
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("tls.crt"), pair.chain()).expect("written");
    fs::write(folder.join("tls.key"), &pair.key).expect("written");
    let old = fs::read_link(mount.join("..data")).expect("a link");
    symlink(format!("..{round}"), mount.join("..new")).expect("a link");
    fs::rename(mount.join("..new"), mount.join("..data")).expect("moved");
    fs::remove_dir_all(mount.join(old)).expect("removed");
}

#[test]
fn sessions_are_resumed_over_a_renewal() {
    let authority = Authority::new("ours");
    let pair = authority.sign(&["shop.test", "other.test"]);
    let text = |pair: &Pem| format!("{}{}", pair.chain(), pair.key);
    let site = Site::with_https().root("tls: {certificates: certs}\n").file("certs/a.pem", &text(&pair)).start();
    let (https, client) = (site.https(), authority.client());
    let get = |name: &str| get_as(&client, https, (name, name), "/").expect("a handshake");
    assert!(!get("shop.test").resumed);
    assert!(get("shop.test").resumed);
    let before = site.generation();
    replace(&site.path().join("certs/a.pem"), &text(&authority.sign(&["shop.test", "other.test"])));
    eventually("the renewal", || (site.generation() > before).then_some(()));
    assert!(get("shop.test").resumed, "the ticket's keys outlive what is in force");
    assert!(!get("other.test").resumed, "a ticket is for one name");
}
