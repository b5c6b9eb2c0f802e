//! Edits come into force by themselves, or change nothing and say why.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::backend::Fleet;
use crate::support::eventually;
use crate::support::site::Site;
use crate::support::tls;

/// Makes an edit that turns the shop from one version to another, back and forth, and waits each time until that is what
/// clients see, on an open connection.
fn assert_noticed(site: &Site, fleet: &Fleet, mut edit: impl FnMut(&str, &str)) {
    let mut open = site.connect();
    let mut quickest = Duration::MAX;
    // A busy machine may delay many of them, and hardly all.
    for round in 0..40 {
        if round >= 4 && quickest < Duration::from_secs(1) {
            break;
        }
        let (weights, version) = if round % 2 == 0 { ([0.0, 100.0], "shop-002") } else { ([100.0, 0.0], "shop-001") };
        edit(version, &fleet.file(&weights));
        let edited = Instant::now();
        eventually("the edit in force", || (open.get("shop.localhost", "/").text() == version).then_some(()));
        quickest = quickest.min(edited.elapsed());
    }
    assert!(quickest < Duration::from_secs(1), "the quickest edit took {quickest:?}");
}

fn shop(fleet: &Fleet) -> Site {
    Site::new().service("shop", &fleet.file(&[100.0, 0.0])).start()
}

#[test]
fn a_file_renamed_into_place() {
    let fleet = Fleet::of("shop", 2);
    let site = shop(&fleet);
    assert_noticed(&site, &fleet, |_, yaml| site.write_service("shop", yaml));
}

#[test]
fn a_file_written_in_place() {
    let fleet = Fleet::of("shop", 2);
    let site = shop(&fleet);
    assert_noticed(&site, &fleet, |_, yaml| fs::write(site.service("shop"), yaml).expect("write"));
}

#[test]
fn a_file_written_under_another_name_of_it() {
    let fleet = Fleet::of("shop", 2);
    let site = shop(&fleet);
    let other = site.path().join("elsewhere");
    fs::hard_link(site.service("shop"), &other).expect("link");
    assert_noticed(&site, &fleet, |_, yaml| fs::write(&other, yaml).expect("write"));
}

#[test]
fn a_folder_mounted_from_a_config_map() {
    let fleet = Fleet::of("shop", 2);
    let put = |services: &Path, name: &str, yaml: &str| {
        let folder = services.join(name);
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("shop.yaml"), yaml).expect("write");
        symlink(name, services.join("..data_tmp")).expect("link");
        fs::rename(services.join("..data_tmp"), services.join("..data")).expect("rename");
    };
    let site = Site::new().arranged(|root| {
        let services = root.join("services");
        put(&services, "..2026_01", &fleet.file(&[100.0, 0.0]));
        symlink("..data/shop.yaml", services.join("shop.yaml")).expect("link");
    });
    let site = site.start();
    let services = site.path().join("services");
    let mut stamp = 1;
    assert_noticed(&site, &fleet, |_, yaml| {
        let old = services.join(format!("..2026_{stamp:02}"));
        stamp += 1;
        put(&services, &format!("..2026_{stamp:02}"), yaml);
        fs::remove_dir_all(old).expect("remove");
    });
}

#[test]
fn a_folder_changed_by_git() {
    if Command::new("git").arg("--version").output().is_err() {
        crate::support::skip("git", "install git");
        return;
    }
    let fleet = Fleet::of("shop", 2);
    let site = shop(&fleet);
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"];
        let done = Command::new("git").current_dir(site.path()).args(identity).args(args).output().expect("git");
        assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    git(&["init", "--quiet", "--initial-branch=shop-001"]);
    git(&["add", "tidegate.yaml", "services"]);
    git(&["commit", "--quiet", "--message=one"]);
    git(&["checkout", "--quiet", "-b", "shop-002"]);
    site.edit_service("shop", &fleet.file(&[0.0, 100.0]));
    git(&["commit", "--quiet", "--all", "--message=two"]);
    git(&["checkout", "--quiet", "shop-001"]);
    eventually("the first form", || (site.get("shop.localhost", "/").text() == "shop-001").then_some(()));
    assert_noticed(&site, &fleet, |branch, _| git(&["checkout", "--quiet", branch]));
}

#[test]
fn a_file_that_comes_and_goes_is_a_service_that_does() {
    let (shop, blog) = (Fleet::of("shop", 1), Fleet::of("blog", 1));
    let site = Site::new().service("shop", &shop.versions()).start();
    let mut open = site.connect();
    assert_eq!(open.get("blog.localhost", "/").status(), 404);
    site.edit_service("blog", &blog.versions());
    assert_eq!(open.get("blog.localhost", "/").text(), "blog-001");
    fs::remove_file(site.service("blog")).expect("remove");
    eventually("the blog's end", || (open.get("blog.localhost", "/").status() == 404).then_some(()));
    assert_eq!(open.get("shop.localhost", "/").text(), "shop-001");
    assert_eq!(site.status()["services"].as_array().expect("a list").len(), 1);
}

#[test]
fn a_reload_without_an_edit_changes_nothing() {
    let fleet = Fleet::of("shop", 1);
    let site = Site::new().service("shop", &fleet.versions()).start();
    let before = site.generation();
    for _ in 0..3 {
        assert_eq!(site.reload()["changed"], false);
    }
    // Written in place, it would be empty for a moment, which is an edit.
    site.write_service("shop", &fleet.versions());
    assert_eq!(site.reload()["changed"], false);
    assert_eq!(site.generation(), before);
    assert_eq!(site.metrics().get("tidegate_config_reloads_total{result=\"accepted\"}"), 1.0);
}

#[test]
fn a_file_with_a_warning_is_not_new_each_time() {
    // A program that is missing is a warning only, and such files are read by every reload.
    let yaml = "weights: {shop-001: 0}\nversions: {shop-001: {command: [./gone]}}\n";
    let site = Site::new().service("shop", yaml).start();
    let warned = |site: &Site| site.status()["notices"].to_string().contains("there is no program");
    assert!(warned(&site), "{}", site.status());
    for again in [yaml.to_owned(), format!("# a comment\n{yaml}")] {
        site.write_service("shop", &again);
        assert_eq!(site.reload()["changed"], false);
        assert!(warned(&site), "{}", site.status());
    }
    site.signal("HUP");
    eventually("the signal", || site.log().contains("SIGHUP").then_some(()));
    assert_eq!(site.reload()["changed"], false);
    assert_eq!(site.generation(), 1);
    assert_eq!(site.metrics().get("tidegate_config_reloads_total{result=\"accepted\"}"), 1.0);
}

#[test]
fn the_access_log_is_switched_on_and_off() {
    let fleet = Fleet::of("shop", 1);
    let site = Site::new().service("shop", &fleet.versions()).start();
    let mut open = site.connect();
    open.get("shop.localhost", "/before");
    site.edit_root("access_log: access.log\n");
    open.get("shop.localhost", "/within");
    let log = || fs::read_to_string(site.path().join("access.log")).unwrap_or_default();
    eventually("the line", || log().contains("/within").then_some(()));
    site.edit_root("access_log: other.log\n");
    open.get("shop.localhost", "/other");
    let other = || fs::read_to_string(site.path().join("other.log")).unwrap_or_default();
    eventually("the line", || other().contains("/other").then_some(()));
    site.edit_root("");
    open.get("shop.localhost", "/after");
    site.edit_root("access_log: access.log\n");
    open.get("shop.localhost", "/again");
    eventually("the line", || log().contains("/again").then_some(()));
    assert_eq!(log().lines().count(), 2, "{}", log());
    assert_eq!(other().lines().count(), 1, "{}", other());
    // One that cannot be opened is refused.
    site.write_root("listen: {http: 127.0.0.1:0}\naccess_log: missing/access.log\n");
    let error = eventually("the refusal", || site.rejected().into_iter().next());
    assert!(error.contains("tidegate.yaml:2:13: cannot open the access log"), "{error}");
    open.get("shop.localhost", "/still");
    eventually("the line", || log().contains("/still").then_some(()));
}

#[test]
fn what_takes_effect_at_the_next_start_is_said() {
    let fleet = Fleet::of("shop", 1);
    let site = Site::new().service("shop", &fleet.versions()).start();
    let notices = || site.status()["notices"].to_string();
    assert_eq!(notices(), "[]");
    site.write_root("listen: {http: 127.0.0.1:0}\nthreads: 3\nadmin_token_file: token\n");
    eventually("the notice", || notices().contains("`threads` takes effect").then_some(()));
    assert!(notices().contains("`admin_token_file` takes effect"), "{}", notices());
    assert!(site.log().contains("`threads` takes effect when tidegate starts anew"));
    site.write_root("listen: {http: 127.0.0.1:0}\nthreads: 2\n");
    eventually("the end of the notice", || (notices() == "[]").then_some(()));
}

#[test]
fn a_broken_edit_changes_nothing_and_is_shown_until_it_is_mended() {
    let (shop, blog) = (Fleet::of("shop", 2), Fleet::of("blog", 2));
    let good = shop.file(&[100.0, 0.0]);
    let site = Site::new().service("shop", &good).service("blog", &blog.file(&[100.0, 0.0])).start();
    let mut open = site.connect();
    let rejections = || site.metrics().get("tidegate_config_reloads_total{result=\"rejected\"}");
    for (index, (broken, place, words)) in [
        (good.replace("shop-001: 100", "shop-001: 95"), "1:10", "weights of service shop sum to 95, not 100"),
        (good.replace("weights", "wieghts"), "1:1", "unknown key `wieghts`"),
        (good.replace("shop-001: 100", "shop-001: 100]"), "1:10", "this is not YAML"),
        (format!("{good}image: x\n"), "5:1", "`image` does not belong here"),
    ]
    .into_iter()
    .enumerate()
    {
        site.write_service("shop", &broken);
        let all = eventually("the error", || Some(site.rejected()).filter(|all| !all.is_empty()));
        let error = all.join("\n");
        assert!(error.contains(&format!("services/shop.yaml:{place}: ")) && error.contains(words), "{error}");
        assert!(site.log().contains(&format!("services/shop.yaml:{place}: ")), "{}", site.log());
        let metrics = site.metrics();
        assert_eq!(metrics.get("tidegate_config_rejected"), 1.0);
        assert_eq!(rejections(), index as f64 + 1.0);
        assert_eq!(open.get("shop.localhost", "/").text(), "shop-001");
        // The other services are not held back.
        site.edit_service("blog", &blog.file(if index % 2 == 0 { &[0.0, 100.0] } else { &[100.0, 0.0] }));
        let expected = if index % 2 == 0 { "blog-002" } else { "blog-001" };
        assert_eq!(open.get("blog.localhost", "/").text(), expected);
        assert_eq!(site.rejected(), all, "it stays visible");
        assert_eq!(rejections(), index as f64 + 1.0, "one broken edit is one rejection");
        // Back as it was: nothing new comes into force.
        site.write_service("shop", &good);
        eventually("the mending", || site.rejected().is_empty().then_some(()));
    }
    assert_eq!(site.metrics().get("tidegate_config_rejected"), 0.0);
    assert!(site.log().contains("the config is whole again"));
    site.edit_service("shop", &shop.file(&[0.0, 100.0]));
    assert_eq!(open.get("shop.localhost", "/").text(), "shop-002");
}

#[test]
fn with_tidegate_yaml_broken_everything_stays_as_it_was() {
    let fleet = Fleet::of("shop", 2);
    let site = Site::new().service("shop", &fleet.file(&[100.0, 0.0])).start();
    let mut open = site.connect();
    site.write_root("listen: {http: 127.0.0.1:0}\nbase_domian: example.com\n");
    let error = eventually("the error", || site.rejected().into_iter().next());
    assert!(error.contains("tidegate.yaml:2:1: unknown key `base_domian`"), "{error}");
    site.write_service("shop", &fleet.file(&[0.0, 100.0]));
    site.reload();
    assert_eq!(open.get("shop.localhost", "/").text(), "shop-001");
    site.write_root("listen: {http: 127.0.0.1:0}\nthreads: 2\nbase_domain: example.com\n");
    eventually("both edits", || (open.get("shop.example.com", "/").status() == 200).then_some(()));
    assert_eq!(open.get("shop.example.com", "/").text(), "shop-002");
    assert_eq!(site.rejected(), Vec::<String>::new());
    fs::remove_file(site.root()).expect("remove");
    let error = eventually("the error", || site.rejected().into_iter().next());
    assert!(error.contains("no such file"), "{error}");
    assert_eq!(open.get("shop.example.com", "/").text(), "shop-002");
}

#[test]
fn a_broken_file_holds_back_that_service_only_at_the_start_too() {
    let (shop, blog) = (Fleet::of("shop", 2), Fleet::of("blog", 1));
    let broken = shop.file(&[50.0, 40.0]);
    let site = Site::new().service("shop", &broken).service("blog", &blog.versions()).start();
    let errors = site.rejected();
    assert!(errors.len() == 1 && errors[0].contains("shop.yaml:1:10: weights of service shop sum to 90"), "{errors:?}");
    assert!(site.log().contains("shop.yaml:1:10"), "{}", site.log());
    assert_eq!(site.get("blog.localhost", "/").text(), "blog-001");
    assert_eq!(site.get("shop.localhost", "/").status(), 404);
    assert_eq!(site.metrics().get("tidegate_config_rejected"), 1.0);
    site.edit_service("shop", &shop.file(&[0.0, 100.0]));
    assert_eq!(site.get("shop.localhost", "/").text(), "shop-002");
    assert_eq!(site.rejected(), Vec::<String>::new());
}

#[test]
fn a_folder_of_services_that_is_gone_changes_nothing() {
    let fleet = Fleet::of("shop", 1);
    let site = shop(&Fleet::of("shop", 2));
    site.edit_service("shop", &fleet.versions().replace("shop-001", "shop-003"));
    fs::rename(site.path().join("services"), site.path().join("away")).expect("rename");
    let error = eventually("the error", || site.rejected().into_iter().next());
    assert!(error.contains("there is no folder"), "{error}");
    assert_eq!(site.get("shop.localhost", "/").text(), "shop-001");
    fs::rename(site.path().join("away"), site.path().join("services")).expect("rename");
    eventually("the mending", || site.rejected().is_empty().then_some(()));
    assert_eq!(site.get("shop.localhost", "/").text(), "shop-001");
}

#[test]
fn an_empty_folder_in_the_place_of_the_services_changes_nothing() {
    let fleet = Fleet::of("shop", 2);
    let site = shop(&fleet);
    let (services, away) = (site.path().join("services"), site.path().join("away"));
    fs::rename(&services, &away).expect("moved away");
    fs::create_dir(&services).expect("another");
    eventually("it is held back", || {
        site.rejected().iter().any(|why| why.contains("is it not mounted?")).then_some(())
    });
    assert_eq!(site.get("shop.localhost", "/").status(), 200);
    fs::remove_dir(&services).and_then(|()| fs::rename(&away, &services)).expect("put back");
    eventually("it is whole again", || site.rejected().is_empty().then_some(()));
    fs::remove_file(site.service("shop")).expect("removed");
    eventually("its end", || (site.get("shop.localhost", "/").status() == 404).then_some(()));
}

#[test]
fn a_half_written_pair_keeps_the_last_good_one() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
    let fixture = |name: &str| fs::read_to_string(fixtures.join(name)).expect("a fixture");
    let (pem, key) = (fixture("shop.pem"), fixture("shop.key"));
    let fleet = Fleet::of("shop", 2);
    let yaml = |weights: &[f64]| {
        format!("tls: {{certificate: ../certs/shop.pem, key: ../certs/shop.key}}\n{}", fleet.file(weights))
    };
    let site = Site::new().file("certs/shop.pem", &pem).file("certs/shop.key", &key);
    let site = site.service("shop", &yaml(&[100.0, 0.0])).start();
    site.write_root("listen: {http: 127.0.0.1:0, https: 127.0.0.2:0}\nthreads: 2\n");
    let https = eventually("the listener", || {
        let urls = site.listen();
        urls.iter().find_map(|url| url.strip_prefix("https://")?.parse::<std::net::SocketAddr>().ok())
    });
    let get = || tls::get(https, "shop.localhost", "/");
    let (answer, certificate) = get().expect("a handshake");
    assert!(answer.ends_with("shop-001"), "{answer}");
    for (file, half) in [("shop.pem", &pem[..pem.len() / 2]), ("shop.key", &fixture("other.key"))] {
        fs::write(site.path().join("certs").join(file), half).expect("write");
        let error = eventually("the error", || site.rejected().into_iter().next());
        assert!(error.contains("services/shop.yaml:1:"), "{error}");
        assert_eq!(get().expect("the last good pair").1, certificate);
        // Nothing else of that file comes into force either, until it is mended.
        site.write_service("shop", &yaml(&[0.0, 100.0]));
        site.reload();
        assert!(get().expect("the last good pair").0.ends_with("shop-001"));
        site.write_service("shop", &yaml(&[100.0, 0.0]));
        fs::write(site.path().join("certs").join(file), if file == "shop.pem" { &pem } else { &key }).expect("write");
        eventually("the mending", || site.rejected().is_empty().then_some(()));
    }
    assert!(tls::get(https, "shop-002.localhost", "/").expect("previews too").0.ends_with("shop-002"));
    assert!(tls::get(https, "nobody.localhost", "/").is_err(), "there is no certificate for that name");
    // Without the pair there is no TLS for the service any more.
    site.edit_service("shop", &fleet.file(&[100.0, 0.0]));
    assert!(get().is_err());
    site.edit_service("shop", &yaml(&[100.0, 0.0]));
    assert_eq!(get().expect("a handshake").1, certificate);
}

/// `check` sees what the server would: also that a version which runs was changed.
#[test]
fn check_asks_the_server_what_runs() {
    let backend = crate::support::backend::Backend::saying("one");
    let site = Site::new().service("app", &backend.as_only_version("app")).start();
    site.write_service("app", "versions:\n  app-001: {urls: [\"http://127.0.0.1:1\"]}\n");
    let output = crate::support::site::tidegate().arg("check").arg(site.root()).output().expect("run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("`urls` of app-001 has changed") && said.contains("`app-002`"), "{said}");
    assert_eq!(site.get("app.localhost", "/").text(), "one");
}

#[test]
fn one_among_ten_thousand_services() {
    let fleet = Fleet::of("shop", 2);
    let site = Site::new().service("shop", &fleet.file(&[100.0, 0.0])).arranged(|root| {
        for number in 0..9_999 {
            let yaml = format!("versions: {{other{number}-001: {{urls: [\"http://127.0.0.1:9\"]}}}}\n");
            fs::write(root.join(format!("services/other{number}.yaml")), yaml).expect("write");
        }
    });
    let site = site.start();
    assert_noticed(&site, &fleet, |_, yaml| site.write_service("shop", yaml));

    // What is wrong among so many is found as well, keeps nothing else back, and is over when it is mended.
    let wrong = "versions: {other7-001: {urls: []}}\n";
    site.write_service("other7", wrong);
    eventually("the rejection", || (!site.rejected().is_empty()).then_some(()));
    assert_noticed(&site, &fleet, |_, yaml| site.write_service("shop", yaml));
    // A domain that is another's, by an edit that is right by itself.
    site.write_service("other7", "versions: {other7-001: {urls: [\"http://127.0.0.1:9\"]}}\n");
    eventually("no rejection", || site.rejected().is_empty().then_some(()));
    site.write_service("shop", &format!("domains: [other9.localhost]\n{}", fleet.file(&[0.0, 100.0])));
    eventually("the rejection", || (!site.rejected().is_empty()).then_some(()));
    assert_eq!(site.connect().get("shop.localhost", "/").text(), "shop-001", "the last good form serves");
}
