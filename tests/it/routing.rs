//! Hosts, paths and previews, as a client meets them.

use crate::support::backend::Backend;
use crate::support::site::Site;

#[test]
fn a_default_domain_reaches_its_service_in_any_spelling() {
    let backend = Backend::saying("hello");
    let site = Site::new().service("hello", &backend.as_only_version("hello")).start();
    for host in ["hello.localhost", "HELLO.localhost", "hello.localhost.", "hello.localhost:8080"] {
        let answer = site.get(host, "/");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"), "{host}");
    }
    assert!(backend.requests().iter().all(|request| request.header("host") == Some("hello.localhost")));
    assert_eq!(site.get("nobody.localhost", "/").status(), 404);
}
