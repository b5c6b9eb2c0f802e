//! Addresses to listen on come and go with the file; one that is taken changes nothing.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::backend::{Backend, Fleet};
use crate::support::eventually;
use crate::support::ledger::until_dropped;
use crate::support::ports::{own_address, ports};
use crate::support::raw::Raw;
use crate::support::site::Site;

/// Stops listening, for certain: what another test starts just then has a copy of the socket until it has become its program.
fn leave(listener: TcpListener) {
    let address = listener.local_addr().expect("an address");
    drop(listener);
    eventually("the end of listening", || std::net::TcpStream::connect(address).is_err().then_some(()));
}

/// An edit of `listen` that is refused, for an address is taken, and a way to have it tried again that is no edit.
fn assert_tries_again(order: impl FnOnce(&Site)) {
    let fleet = Fleet::of("shop", 1);
    let site = Site::new().service("shop", &fleet.versions()).start();
    let taken = own_address();
    let stranger = TcpListener::bind(taken).expect("bind");
    site.write_root(&format!("listen: {{http: [127.0.0.1:0, \"{taken}\"]}}\nthreads: 2\n"));
    let error = eventually("the refusal", || site.rejected().into_iter().next());
    assert!(error.contains(&format!("tidegate.yaml:1:30: cannot listen on {taken}")), "{error}");
    assert_eq!(site.listen(), [format!("http://{}", site.http())]);
    assert_eq!(site.get("shop.localhost", "/").text(), "shop-001", "the old state serves on");
    leave(stranger);
    order(&site);
    eventually("the address", || (site.listen().len() == 2).then_some(()));
    assert_eq!(Raw::connect(taken).get("shop.localhost", "/").text(), "shop-001");
    assert_eq!(site.rejected(), Vec::<String>::new());
}

#[test]
fn sighup_reads_the_files_again() {
    assert_tries_again(|site| site.signal("HUP"));
}

#[test]
fn so_does_the_admin_api() {
    assert_tries_again(|site| {
        let answer = site.reload();
        assert_eq!((&answer["changed"], &answer["rejected"]), (&true.into(), &false.into()), "{answer}");
        assert_eq!(answer["generation"], site.generation());
    });
}

#[test]
fn listeners_come_and_go() {
    let fleet = Fleet::of("shop", 1);
    let site = Site::new().service("shop", &fleet.versions()).start();
    let listen = |list: &str| {
        site.write_root(&format!("listen: {list}\nthreads: 2\n"));
        site.reload();
        assert_eq!(site.rejected(), Vec::<String>::new(), "{list}");
        let addresses = site.listen().into_iter().filter_map(|url| url.strip_prefix("http://")?.parse().ok());
        addresses.collect::<Vec<SocketAddr>>()
    };
    let mut open = site.connect();
    let two = listen("{http: [127.0.0.1:0, 127.0.0.2:0]}");
    assert_eq!(two.len(), 2);
    assert!(two.contains(&site.http()), "what is listened on already is left as it is");
    for address in &two {
        assert_eq!(Raw::connect(*address).get("shop.localhost", "/").text(), "shop-001");
    }
    let other = listen("{http: 127.0.0.3:0}");
    assert_eq!(other.len(), 1);
    assert_eq!(Raw::connect(other[0]).get("shop.localhost", "/").text(), "shop-001");
    assert_eq!(open.get("shop.localhost", "/").text(), "shop-001", "a connection outlives its listener");
    for left in two {
        eventually("the end of listening", || std::net::TcpStream::connect(left).is_err().then_some(()));
    }
    assert_eq!(listen("{https: 127.0.0.1:0}"), []);
    assert!(site.listen()[0].starts_with("https://"), "{:?}", site.listen());
}

#[test]
fn an_address_that_overlaps_the_one_left_takes_its_place() {
    let fleet = Fleet::of("shop", 1);
    let site = Site::new().service("shop", &fleet.versions()).start();
    // Not one that the system picks: at another address of this host, somebody else could be given the same.
    let guard = ports().take().expect("a port");
    let port = guard.port();
    let http = SocketAddr::from(([127, 0, 0, 1], port));
    let mut open = site.connect();
    for list in [
        format!("{{http: \"{http}\"}}"),
        format!("{{http: \"0.0.0.0:{port}\"}}"),
        format!("{{http: \"{http}\"}}"),
        format!("{{https: \"{http}\"}}"),
        format!("{{http: \"{http}\"}}"),
        format!("{{http: \"[::]:{port}\"}}"),
        format!("{{http: [\"127.0.0.1:{port}\", \"127.0.0.2:{port}\"]}}"),
    ] {
        site.write_root(&format!("listen: {list}\nthreads: 2\n"));
        site.reload();
        assert_eq!(site.rejected(), Vec::<String>::new(), "{list}");
        if !list.contains("https") {
            assert_eq!(Raw::connect(http).get("shop.localhost", "/").text(), "shop-001", "{list}");
        }
        assert_eq!(open.get("shop.localhost", "/").status(), 200);
    }
    let stranger = TcpListener::bind(http);
    assert!(stranger.is_err(), "nobody shares our port");
}

#[test]
fn connections_keep_coming_while_a_listener_is_replaced() {
    let fleet = Fleet::of("shop", 1);
    let site = Site::new().service("shop", &fleet.versions()).start();
    let guard = ports().take().expect("a port");
    let http = SocketAddr::from(([127, 0, 0, 1], guard.port()));
    site.write_root(&format!("listen: {{http: \"{http}\"}}\nthreads: 2\n"));
    site.reload();
    let done = AtomicBool::new(false);
    let served = std::thread::scope(|scope| {
        let ending = until_dropped(&done);
        let client = scope.spawn(|| {
            let mut served = 0;
            while !done.load(Ordering::Relaxed) {
                assert_eq!(Raw::connect(http).get("shop.localhost", "/").status(), 200);
                served += 1;
            }
            served
        });
        for round in 0..20 {
            let address = if round % 2 == 0 { "0.0.0.0" } else { "127.0.0.1" };
            site.write_root(&format!("listen: {{http: \"{address}:{}\"}}\nthreads: 2\n", http.port()));
            site.reload();
        }
        drop(ending);
        client.join().expect("no connection is lost")
    });
    assert!(served > 0);
    assert_eq!(site.rejected(), Vec::<String>::new());
}

#[test]
fn a_version_that_never_came_into_force_may_still_change() {
    let fleet = Fleet::of("shop", 1);
    let site = Site::new().service("shop", &fleet.versions()).start();
    let taken = own_address();
    let stranger = TcpListener::bind(taken).expect("bind");
    site.write_root(&format!("listen: {{http: [127.0.0.1:0, \"{taken}\"]}}\nthreads: 2\n"));
    eventually("the refusal", || site.rejected().into_iter().next());
    let yaml =
        |url: &str| format!("weights: {{shop-002: 100}}\n{}  shop-002: {{urls: [\"{url}\"]}}\n", fleet.versions());
    // While the address is taken nothing comes into force, this version neither.
    site.write_service("shop", &yaml("http://127.0.0.1:1"));
    site.reload();
    let second = Backend::saying("second");
    site.write_service("shop", &yaml(&second.url()));
    site.reload();
    assert_eq!(site.rejected().len(), 1, "{:?}", site.rejected());
    leave(stranger);
    site.reload();
    assert_eq!(site.rejected(), Vec::<String>::new());
    assert_eq!(site.get("shop.localhost", "/").text(), "second");
}
