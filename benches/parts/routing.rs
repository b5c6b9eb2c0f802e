//! From a host and a path to a service, among many.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{BenchmarkId, Criterion};

use super::config::Config;

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("look up a route");
    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    for services in [10, 1_000, 10_000] {
        let snapshot = Config::of_many(services).snapshot();
        // Each in turn, in an order that no cache foresees.
        let hosts: Vec<String> = (0..services).map(|n| format!("s{}.localhost", n * 7_919 % services)).collect();
        let mut next = hosts.iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(services), |bench| {
            bench.iter(|| next.next().and_then(|host| snapshot.route(black_box(host), "/a/page", client)));
        });
    }
    group.finish();
}
