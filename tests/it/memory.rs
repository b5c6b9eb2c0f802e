//! Reloading costs no memory, and an idle connection little.

use crate::support::backend::Fleet;
use crate::support::eventually;
use crate::support::site::Site;

/// Another file for each number: weights, domains, rules, and a version that comes and goes.
fn shop(fleet: &Fleet, number: usize) -> String {
    let percent = (number % 99 + 1) as f64;
    let versions = if number.is_multiple_of(3) { fleet.only(&[1, 2, 3]) } else { fleet.only(&[1, 2]) };
    format!(
        "domains: [shop-{number}.example.com]\nrules: [{{path: /{number}, version: shop-002}}]\n{}{versions}",
        fleet.weights(&[percent, 100.0 - percent])
    )
}

#[test]
fn ten_thousand_reloads_leave_memory_where_it_was() {
    let (shops, blog, wiki) = (Fleet::of("shop", 3), Fleet::of("blog", 2), Fleet::of("wiki", 2));
    let site = Site::new()
        .service("shop", &shop(&shops, 0))
        .service("blog", &blog.file(&[90.0, 10.0]))
        .service("wiki", &wiki.file(&[50.0, 50.0]))
        .start();
    let mut open = site.connect();
    let mut after_the_first = 0;
    for number in 1..=10_000 {
        if number % 10 == 5 {
            site.write_service("shop", "wieghts: {}\n");
            assert_eq!(site.reload()["rejected"], true);
        }
        site.write_service("shop", &shop(&shops, number));
        assert_eq!(site.reload()["rejected"], false);
        if number % 100 == 0 {
            assert_eq!(open.get("shop.localhost", "/").status(), 200);
        }
        if number == 1_000 {
            after_the_first = site.memory_kib("VmRSS");
        }
    }
    let grown = site.memory_kib("VmRSS").saturating_sub(after_the_first);
    assert!(grown <= 2 * 1024, "10,000 reloads take {grown} KiB more than 1,000");
    assert_eq!(site.generation(), 10_001);
    assert_eq!(open.get("shop.localhost", "/10000").text(), "shop-002", "the last edit is in force");
    eventually("one snapshot", || (site.metrics().get("tidegate_config_snapshots") == 1.0).then_some(()));
}

#[test]
fn an_idle_connection_takes_little_memory_and_serves_again() {
    const CLIENTS: u64 = 1_000;
    let shops = Fleet::of("shop", 1);
    // The kernel makes huge pages of the allocator's small ones when it likes, and what it fills them up with is nobody's.
    let site = Site::new().service("shop", &shops.file(&[100.0])).env("MIMALLOC_ALLOW_THP", "0").start();
    assert_eq!(site.connect().get("shop.localhost", "/").status(), 200);
    let before = site.memory_kib("VmRSS");
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| site.connect()).collect();
    for _ in 0..2 {
        for client in &mut clients {
            assert_eq!(client.get("shop.localhost", "/").status(), 200);
        }
        let taken = || site.memory_kib("VmRSS").saturating_sub(before);
        eventually("the memory to come back", || (taken() <= CLIENTS * 6).then_some(()));
    }
}
