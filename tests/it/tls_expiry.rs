//! When certificates end: `status`, the metrics, `tidegate cert`.

use std::process::Output;

use crate::support::authority::{Authority, order};
use crate::support::backend::Backend;
use crate::support::site::{Site, tidegate};

#[test]
fn certificates_are_shown_before_they_end() {
    let authority = Authority::new("ours");
    let soon = authority.sign_order(order(&["soon.test", "*.soon.test"]).ends_in_days(10));
    let later = authority.sign_order(order(&["later.test"]).ends_in_days(80));
    let backend = Backend::saying("shop");
    let mut site = Site::with_https()
        .root("tls: {certificates: certs}\n")
        .file("certs/soon.pem", &format!("{}{}", soon.chain(), soon.key))
        .file("certs/later.pem", &format!("{}{}", later.chain(), later.key))
        .service("shop", &format!("domains: [soon.test, later.test]\n{}", backend.as_only_version("shop")))
        .start();
    let status = site.status();
    let certificates = status["certificates"].as_array().expect("a list");
    assert_eq!(certificates.len(), 1, "{status}");
    assert_eq!(certificates[0]["state"], "ends soon");
    assert_eq!(certificates[0]["names"][0], "soon.test");
    assert_eq!(certificates[0]["days_left"], 9);
    let output = tidegate().args(["status", "--config"]).arg(site.root()).output().expect("run");
    assert!(text(&output).contains("Certificate: ends soon for soon.test, *.soon.test, until 20"), "{}", text(&output));
    let source = site.path().join("certs/later.pem");
    let series =
        format!("tidegate_certificate_not_after_seconds{{name=\"later.test\",source=\"{}\"}}", source.display());
    let ends = site.metrics().get(&series);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs_f64();
    assert!((ends - now - 80.0 * 86_400.0).abs() < 120.0, "{ends}");

    let cert = |arguments: &[&str]| {
        tidegate().arg("cert").args(arguments).arg("--config").arg(site.root()).output().expect("run")
    };
    let list = text(&cert(&["list"]));
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines[1].ends_with("soon.test *.soon.test") && lines[1].contains("ends soon"), "{list}");
    assert!(lines[2].ends_with("later.test") && lines[2].contains("good"), "{list}");
    let shown: serde_json::Value =
        serde_json::from_str(&text(&cert(&["show", "a.soon.test", "--json"]))).expect("JSON");
    assert_eq!((shown[0]["key"].as_str(), shown[0]["chain"].as_u64()), (Some("ECDSA"), Some(2)));
    assert!(text(&cert(&["show", "later.test"])).contains("issuer  CN=ours intermediate"));
    assert_eq!(cert(&["show", "nobody.test"]).status.code(), Some(1));
    let good = cert(&["check", "later.test"]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good));
    let wrong = cert(&["check", "soon.test"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(text(&wrong).contains("wrong  it expires on 20"), "{}", text(&wrong));
    let nobody = text(&cert(&["check", "nobody.test"]));
    assert!(nobody.contains("no service has `nobody.test`") && nobody.contains("there is no certificate"), "{nobody}");
    // Without a server the files tell.
    site.signal("TERM");
    site.wait();
    assert_eq!(text(&tidegate().args(["cert", "list", "--config"]).arg(site.root()).output().expect("run")), list);
}

fn text(output: &Output) -> String {
    String::from_utf8([&output.stdout[..], &output.stderr].concat()).expect("text")
}
