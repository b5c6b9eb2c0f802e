//! What `tidegate explain` says is what the running proxy does.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::support::backend::{Backend, ok};
use crate::support::raw::Raw;
use crate::support::site::Site;

const SERVICES: [&str; 2] = ["one", "two"];
const PLACES: [(&str, &str); 7] = [
    ("example.com", ""),
    ("example.com", "/a"),
    ("example.com", "/a/b"),
    ("*.example.com", ""),
    ("*.example.com", "/ab"),
    ("shop.example.com", "/a"),
    ("*.shop.example.com", ""),
];
const HOSTS: [&str; 10] = [
    "example.com",
    "EXAMPLE.com.:80",
    "www.example.com",
    "shop.example.com",
    "a.Shop.example.com",
    "one.localhost",
    "two.localhost:8080",
    "one-001.localhost",
    "two-002.localhost.",
    "nobody.localhost",
];
const TARGETS: [&str; 12] = [
    "/",
    "/a",
    "/a/",
    "/a/b/c",
    "/ab",
    "/A",
    "/a/../b?k=new",
    "/%61/b",
    "/a%2fb",
    "/x?k=v1",
    "/a?k=new",
    "/?k=ne%77&l",
];
const CONDITIONS: [&str; 9] = [
    "query: {k: \"n*\"}",
    "query: {k: v1}",
    "header: {x-beta: \"yes\"}",
    "header: {x-user: \"*\"}",
    "cookie: {team: \"r?d\"}",
    "path: \"/a*\"",
    "path: /a, method: POST",
    "method: [POST, PUT]",
    "query: {l: \"\"}, header: {x-beta: \"*\"}",
];
const HEADERS: [&str; 3] = ["X-User: ann", "X-Beta: yes", "Cookie: team=red; gate=0123"];
const STICKY: [&str; 4] = ["", "sticky: {header: x-user}\n", "sticky: {cookie: gate}\n", "sticky: {client: true}\n"];
const WEIGHTS: [[u32; 2]; 4] = [[100, 0], [0, 100], [50, 50], [0, 0]];
const POLICIES: [&str; 7] = [
    "",
    "",
    "",
    "",
    "maintenance: true\n",
    "allow: [127.0.0.2/32]\n",
    "redirect: {to: \"https://new.example\", status: 302}\n",
];

/// A service's file, but for its routes and versions, and which previews there are.
fn service() -> impl Strategy<Value = (String, [u32; 2], &'static str)> {
    let rules = prop::collection::vec((select(&CONDITIONS[..]), 1..=2_usize), 0..4);
    (rules, select(&STICKY[..]), select(&WEIGHTS[..]), select(&POLICIES[..]), select(vec!["private", "public", "off"]))
        .prop_map(|(rules, sticky, weights, policy, preview)| {
            let rule =
                |(condition, version): &(&str, usize)| format!("  - {{{condition}, version: NAME-00{version}}}\n");
            let rules: String = rules.iter().map(rule).collect();
            let rules = if rules.is_empty() { rules } else { format!("rules:\n{rules}") };
            (format!("{policy}{sticky}{rules}"), weights, preview)
        })
}

#[derive(Debug, Clone)]
struct Ask {
    host: &'static str,
    target: &'static str,
    method: &'static str,
    headers: Vec<&'static str>,
    client: u8,
}

fn ask() -> impl Strategy<Value = Ask> {
    let headers = subsequence(&HEADERS[..], 0..=HEADERS.len());
    (select(&HOSTS[..]), select(&TARGETS[..]), select(vec!["GET", "POST"]), headers, 1..=2_u8)
        .prop_map(|(host, target, method, headers, client)| Ask { host, target, method, headers, client })
}

/// What the proxy answers: the status, and of a backend's answer the version and the target that it saw.
fn really(site: &Site, ask: &Ask) -> (u16, String) {
    let mut raw = Raw::connect_from([127, 0, 0, ask.client], site.http());
    let headers: String = ask.headers.iter().map(|header| format!("{header}\r\n")).collect();
    let Ask { host, target, method, .. } = ask;
    raw.send(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n{headers}\r\n"));
    let answer = raw.response();
    (answer.status(), answer.text())
}

/// What `explain` says to the same, in the same form; several versions where weights decide.
fn explained(site: &Site, ask: &Ask) -> (u16, Vec<String>) {
    let (url, client) = (format!("http://{}{}", ask.host, ask.target), format!("127.0.0.{}", ask.client));
    let mut arguments = vec![&*url, "-X", ask.method, "--client", &*client];
    for header in &ask.headers {
        arguments.extend(["-H", header]);
    }
    let text = site.explain(&arguments);
    let word = |label: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(label));
        lines.filter_map(|rest| rest.split_whitespace().next().map(str::to_owned)).collect()
    };
    if let Some(status) = word("answer ").first() {
        return (status.trim_end_matches(':').parse().expect("a status"), Vec::new());
    }
    let query = ask.target.split_once('?').map(|(_, query)| format!("?{query}")).unwrap_or_default();
    let forwarded = word("forwards ").pop().unwrap_or_else(|| panic!("no path in {text}"));
    let versions = [word("version "), word("or ")].concat();
    (200, versions.into_iter().map(|version| format!("{version} {forwarded}{query}")).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn explain_says_what_the_proxy_does(
        services in [service(), service()],
        owners in prop::array::uniform7((0..4_usize, any::<bool>())),
        asks in prop::collection::vec(ask(), 24),
    ) {
        let mut site = Site::new().root("preview_from: [127.0.0.2/32]\n");
        let mut backends = Vec::new();
        for (index, (name, (yaml, weights, preview))) in SERVICES.iter().zip(services).enumerate() {
            let mut file = format!("preview: {preview}\nroutes:\n  - {{host: {name}.test}}\n");
            for ((host, path), (owner, strip)) in PLACES.iter().zip(owners) {
                if owner == index {
                    let path = if path.is_empty() { String::new() } else { format!(", path: {path}, strip: {strip}") };
                    file.push_str(&format!("  - {{host: \"{host}\"{path}}}\n"));
                }
            }
            file.push_str(&yaml.replace("NAME", name));
            file.push_str(&format!("weights: {{{name}-001: {}, {name}-002: {}}}\nversions:\n", weights[0], weights[1]));
            for number in 1..=2 {
                let version = format!("{name}-00{number}");
                let backend = Backend::answering({
                    let version = version.clone();
                    move |request| ok(&format!("{version} {}", request.start.split(' ').nth(1).unwrap_or_default()))
                });
                file.push_str(&format!("  {version}: {{urls: [\"{}\"]}}\n", backend.url()));
                backends.push(backend);
            }
            site = site.service(name, &file);
        }
        let site = site.start();
        prop_assert_eq!(site.rejected(), Vec::<String>::new());
        for ask in asks {
            let (status, text) = really(&site, &ask);
            let (expected, versions) = explained(&site, &ask);
            prop_assert_eq!(status, expected, "{:?}: {}", ask, text);
            if status == 200 {
                prop_assert!(versions.contains(&text), "{:?}: {} is not in {:?}", ask, text, versions);
            }
        }
    }
}
