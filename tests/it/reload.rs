//! Edits come into force by themselves, or change nothing and say why.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::backend::{Backend, Fleet};
use crate::support::eventually;
use crate::support::process::{Said, command, is_alive};
use crate::support::raw::Raw;
use crate::support::site::{Site, replace};
use crate::support::tls;

/// Makes an edit that turns the shop from one version to another, back and forth, and waits each time until that is what
/// clients see, on an open connection.
fn assert_noticed(site: &Site, fleet: &Fleet, mut edit: impl FnMut(&str, &str)) {
    let mut open = site.connect();
    let mut quickest = Duration::MAX;
    for round in 0..4 {
        let (weights, version) = if round % 2 == 0 { ([0.0, 100.0], "shop-002") } else { ([100.0, 0.0], "shop-001") };
        edit(version, &fleet.file(&weights));
        let edited = Instant::now();
        eventually("the edit in force", || (open.get("shop.localhost", "/").text() == version).then_some(()));
        quickest = quickest.min(edited.elapsed());
    }
    // A busy machine may delay one of them, and hardly all.
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

/// An edit of `listen` that is refused, for an address is taken, and a way to have it tried again that is no edit.
fn assert_tries_again(order: impl FnOnce(&Site)) {
    let fleet = Fleet::of("shop", 1);
    let site = Site::new().service("shop", &fleet.versions()).start();
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let taken = stranger.local_addr().expect("an address");
    site.write_root(&format!("listen: {{http: [127.0.0.1:0, \"{taken}\"]}}\nthreads: 2\n"));
    let error = eventually("the refusal", || site.rejected().into_iter().next());
    assert!(error.contains(&format!("tidegate.yaml:1:30: cannot listen on {taken}")), "{error}");
    assert_eq!(site.listen(), [format!("http://{}", site.http())]);
    assert_eq!(site.get("shop.localhost", "/").text(), "shop-001", "the old state serves on");
    drop(stranger);
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
fn a_reload_without_an_edit_changes_nothing() {
    let fleet = Fleet::of("shop", 1);
    let site = Site::new().service("shop", &fleet.versions()).start();
    let before = site.generation();
    for _ in 0..3 {
        assert_eq!(site.reload()["changed"], false);
    }
    fs::write(site.service("shop"), fleet.versions()).expect("write");
    assert_eq!(site.reload()["changed"], false);
    assert_eq!(site.generation(), before);
    assert_eq!(site.metrics().get("tidegate_config_reloads_total{result=\"accepted\"}"), 1.0);
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
        addresses.collect::<Vec<std::net::SocketAddr>>()
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
    let (http, port) = (site.http(), site.http().port());
    let mut open = site.connect();
    for list in [
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
    let stranger = std::net::TcpListener::bind(http);
    assert!(stranger.is_err(), "nobody shares our port");
}

#[test]
fn connections_keep_coming_while_a_listener_is_replaced() {
    let fleet = Fleet::of("shop", 1);
    let site = Site::new().service("shop", &fleet.versions()).start();
    let http = site.http();
    let done = std::sync::atomic::AtomicBool::new(false);
    let served = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut served = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
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
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        client.join().expect("no connection is lost")
    });
    assert!(served > 0);
    assert_eq!(site.rejected(), Vec::<String>::new());
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
        (format!("{good}image: x\n"), "5:1", "unknown key `image`"),
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
fn what_makes_a_version_never_changes() {
    let fleet = Fleet::of("shop", 2);
    let other = Backend::saying("other");
    let site = Site::new().service("shop", &format!("last_version: 7\n{}", fleet.file(&[100.0, 0.0]))).start();
    let changed = fleet.file(&[0.0, 100.0]).replace(&fleet.backend(1).url(), &other.url());
    site.write_service("shop", &format!("last_version: 7\n{changed}"));
    let error = eventually("the refusal", || site.rejected().into_iter().next());
    assert!(error.contains("shop.yaml:4:20: `urls` of shop-001 has changed"), "{error}");
    assert!(error.contains("as a new version `shop-008`"), "{error}");
    assert_eq!(site.get("shop.localhost", "/").text(), "shop-001", "weights of the same edit wait with it");
    let both = changed.replace("shop-001", "shop-008") + fleet.only(&[1]).trim_start_matches("versions:\n");
    site.edit_service("shop", &both);
    assert_eq!(site.get("shop-008.localhost", "/").text(), "other");
    assert_eq!(site.rejected(), Vec::<String>::new());
}

#[test]
fn versions_are_started_when_they_come_and_stopped_when_they_go() {
    let command = command();
    let yaml = |weights: &str, versions: &[(&str, &str)]| {
        let lines = versions.iter().map(|(name, mark)| {
            format!("  {name}: {{command: {command}, env: {{MARK: {mark}}}, stop: {{grace: 5s}}}}\n")
        });
        format!("weights: {{{weights}}}\nversions:\n{}", lines.collect::<String>())
    };
    let (one, two) = (("shop-001", "one"), ("shop-002", "two"));
    let site = Site::new().service("shop", &yaml("shop-001: 100", &[one])).start();
    let ask = |raw: &mut Raw| {
        let answer = raw.get("shop.localhost", "/");
        assert_eq!(answer.status(), 200, "{}", answer.text());
        Said::parse(&answer.text())
    };
    let mut open = site.connect();
    let first = ask(&mut open);
    assert_eq!((first.version.as_str(), first.mark.as_str()), ("shop-001", "one"));
    // Its other settings can be tuned without a new start.
    site.edit_service("shop", &yaml("shop-001: 100", &[one]).replace("grace: 5s", "grace: 6s"));
    assert_eq!(ask(&mut open), first);

    site.edit_service("shop", &yaml("shop-002: 100", &[one, two]));
    let second = ask(&mut open);
    assert_eq!(
        (second.version.as_str(), second.mark.as_str()),
        ("shop-002", "two"),
        "the request waited for the start"
    );
    assert!(is_alive(first.pid) && is_alive(second.pid));

    // A request on its way when its version is removed is answered by that version.
    let mut slow = site.connect();
    slow.send("GET / HTTP/1.1\r\nHost: shop-001.localhost\r\nX-Pause-Ms: 700\r\n\r\n");
    eventually("the request on its way", || (site.version("shop-001")["in_flight"] == 1).then_some(()));
    site.edit_service("shop", &yaml("shop-002: 100", &[two]));
    assert!(is_alive(first.pid), "it drains");
    assert_eq!(Said::parse(&slow.response().text()), first);
    eventually("the process's end", || (!is_alive(first.pid)).then_some(()));
    assert_eq!(ask(&mut open), second);
    assert_eq!(site.get("shop-001.localhost", "/").status(), 404);
    eventually("the log of it", || site.log().contains("the version is stopped").then_some(()));

    // The name of a version that is gone may come back, as a new process.
    site.edit_service("shop", &yaml("shop-001: 100", &[one, two]));
    let again = ask(&mut open);
    assert_eq!(again.version, "shop-001");
    assert_ne!(again.pid, first.pid);
    fs::remove_file(site.service("shop")).expect("remove");
    eventually("both processes' end", || (!is_alive(again.pid) && !is_alive(second.pid)).then_some(()));
}

#[test]
fn an_environment_that_changed_is_a_version_that_changed() {
    let yaml = format!("versions:\n  shop-001: {{command: {}, env: {{A: b}}, env_file: shop.env}}\n", command());
    let site = Site::new().file("services/shop.env", "MARK=one\n").service("shop", &yaml).start();
    let said = Said::parse(&site.get("shop.localhost", "/").text());
    assert_eq!(said.mark, "one");
    replace(&site.path().join("services/shop.env"), "MARK=two\n");
    let error = eventually("the refusal", || site.rejected().into_iter().next());
    assert!(error.contains("`env` of shop-001 has changed") && error.contains("`shop-002`"), "{error}");
    assert!(!error.contains("two") && !site.log().contains("MARK"), "values are never shown");
    assert_eq!(Said::parse(&site.get("shop.localhost", "/").text()), said);
    replace(&site.path().join("services/shop.env"), "MARK=one\n");
    eventually("the mending", || site.rejected().is_empty().then_some(()));
    assert_eq!(Said::parse(&site.get("shop.localhost", "/").text()), said);
}

#[test]
fn a_request_that_waits_for_a_version_goes_elsewhere_when_that_is_removed() {
    let fleet = Fleet::of("shop", 1);
    // Never ready, and deaf to its signal.
    let deaf = "{command: [sh, -c, \"trap '' TERM; sleep 600 & wait; wait\"], stop: {grace: 8s}}";
    let yaml = format!("weights: {{shop-002: 100}}\n{}  shop-002: {deaf}\n", fleet.versions());
    let site = Site::new().service("shop", &yaml).start();
    let mut waits = site.connect();
    waits.send("POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 4\r\n\r\nbody");
    eventually("the wait", || site.version("shop-002")["why"].as_str().map(|why| assert!(why.contains("wait for it"))));
    assert_eq!(site.version("shop-002")["state"], "starting");
    site.edit_service("shop", &fleet.versions());
    assert_eq!(waits.response().text(), "shop-001");
    assert_eq!(String::from_utf8_lossy(&fleet.backend(1).requests()[0].body), "body");
    assert!(!site.log().contains("the version is stopped"), "it did not wait for the stop either");
}

#[test]
fn at_the_end_all_processes_end() {
    let yaml = format!("versions: {{shop-001: {{command: {}, env: {{MARK: \"${{WORD}}\"}}}}}}\n", command());
    let mut site = Site::new().root("drain: {linger: 100ms}\n").env("WORD", "known").service("shop", &yaml).start();
    let said = Said::parse(&site.get("shop.localhost", "/").text());
    assert_eq!(said.mark, "known");
    let mut slow = site.connect();
    slow.send("GET / HTTP/1.1\r\nHost: shop.localhost\r\nX-Pause-Ms: 500\r\n\r\n");
    eventually("the request on its way", || (site.version("shop-001")["in_flight"] == 1).then_some(()));
    site.signal("TERM");
    assert_eq!(Said::parse(&slow.response().text()), said);
    assert_eq!(site.wait(), Some(0));
    assert!(!is_alive(said.pid));
    assert!(!site.path().join("tidegate.sock").exists());
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
fn a_version_that_never_came_into_force_may_still_change() {
    let fleet = Fleet::of("shop", 1);
    let site = Site::new().service("shop", &fleet.versions()).start();
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let taken = stranger.local_addr().expect("an address");
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
    drop(stranger);
    site.reload();
    assert_eq!(site.rejected(), Vec::<String>::new());
    assert_eq!(site.get("shop.localhost", "/").text(), "second");
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
