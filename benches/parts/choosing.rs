//! From a request to a version.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::Criterion;
use http::{HeaderMap, HeaderValue, Method};
use tidegate::model::choose::{Draw, choose};
use tidegate::model::request::RequestView;

use super::config::Config;

const VERSIONS: &str = "versions:\n  shop-001: {urls: [\"http://127.0.0.1:9\"]}\n  shop-002: {urls: [\"http://127.0.0.1:9\"]}\n  \
    shop-003: {urls: [\"http://127.0.0.1:9\"]}\nweights: {shop-001: 70, shop-002: 29.5, shop-003: 0.5}\n";

const RULES: &str = "rules:\n  - {query: {preview: \"new*\"}, version: shop-002}\n  - {header: {x-beta: \"yes\"}, path: /checkout*, version: shop-002}\n  \
    - {cookie: {group: b}, version: shop-003}\n";

/// Numbers one after the other, in place of the service's cursor.
struct Numbers(u64);

impl Draw for Numbers {
    fn next_weighted(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }

    fn random(&mut self) -> u64 {
        self.next_weighted().wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("choose a version");
    let mut headers = HeaderMap::new();
    headers.insert("user-agent", HeaderValue::from_static("curl/8"));
    headers.insert("cookie", HeaderValue::from_static("a=1; tidegate=0123456789abcdef; group=a"));
    let request = RequestView {
        method: &Method::GET,
        host: "shop.localhost",
        path: "/checkout/2",
        query: Some("page=2&preview=old"),
        headers: &headers,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let sticky = "sticky: {cookie: tidegate, ttl: 1d}\n";
    for (name, more) in [("weights", ""), ("three rules that do not hold", RULES), ("sticky by a cookie", sticky)] {
        let snapshot = Config::of(&format!("{VERSIONS}{more}")).snapshot();
        let service = &snapshot.services[0];
        let mut numbers = Numbers(0);
        group.bench_function(name, |bench| bench.iter(|| choose(service, black_box(&request), &mut numbers)));
    }
    group.finish();
}
