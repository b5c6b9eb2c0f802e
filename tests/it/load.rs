//! Loading again and again: what is held back, what is taken over, what is watched.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tidegate::config::compile::{Fingerprint, Identity};
use tidegate::config::load::{Loaded, load};
use tidegate::model::route::Target;
use tidegate::model::service::Service;
use tidegate::model::version::{Backend, Endpoint, Queue, Replicas, Scale, ScaleOn};

/// A config folder, and what was last loaded from it.
struct Folder {
    folder: TempDir,
    loaded: Option<Loaded>,
}

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("writable");
        fs::create_dir(folder.path().join("services")).expect("writable");
        let this = Self { folder, loaded: None };
        this.write("tidegate.yaml", "base_domain: localhost\n");
        files.iter().for_each(|(path, text)| this.write(path, text));
        this
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).expect("writable");
    }

    fn load(&mut self) -> &Loaded {
        let loaded = load(&self.path("tidegate.yaml"), self.loaded.as_ref(), &|_| None);
        self.loaded.insert(loaded)
    }

    fn service(&self, name: &str) -> Option<Arc<Service>> {
        let snapshot = self.loaded.as_ref()?.snapshot.as_ref()?;
        snapshot.service_index(name).map(|index| Arc::clone(&snapshot.services[index]))
    }

    /// Held services, `+` before those of which an earlier form serves, and all messages.
    fn held(&self) -> (Vec<String>, Vec<String>) {
        let loaded = self.loaded.as_ref().expect("loaded");
        let held = loaded.held.iter().map(|held| format!("{}{}", if held.serving { "+" } else { "" }, held.service));
        let messages = loaded
            .diagnostics
            .iter()
            .map(|diagnostic| diagnostic.to_string().replace(&format!("{}/", self.folder.path().display()), ""));
        (held.collect(), messages.collect())
    }
}

fn fixed(name: &str, port: u16) -> String {
    format!("domains: [{name}.example.com]\nversions:\n  {name}-001: {{urls: [\"http://127.0.0.1:{port}\"]}}\n")
}

#[test]
fn a_broken_service_is_held_and_the_others_go_on() {
    let mut folder = Folder::new(&[("services/a.yaml", &fixed("a", 1)), ("services/b.yaml", &fixed("b", 2))]);
    assert!(!folder.load().has_errors());
    let a = folder.service("a").expect("there");

    folder.write("services/a.yaml", "versions: [\n");
    folder.write("services/b.yaml", &format!("maintenance: true\n{}", fixed("b", 2)));
    folder.write("services/c.yaml", "weights: {c-001: 95}\nversions: {c-001: {urls: [\"http://127.0.0.1:3\"]}}\n");
    folder.load();
    assert!(Arc::ptr_eq(&folder.service("a").expect("held"), &a));
    assert!(folder.service("b").expect("there").policy.maintenance.is_some());
    assert!(folder.service("c").is_none());
    let (held, messages) = folder.held();
    assert_eq!(held, ["+a", "c"]);
    assert_eq!(messages.len(), 2);
    assert!(messages[1].starts_with("services/c.yaml:1:10: weights of service c sum to 95, not 100"), "{messages:?}");

    // Still broken, still served, still said.
    folder.load();
    assert_eq!(folder.held().0, ["+a", "c"]);
    assert!(Arc::ptr_eq(&folder.service("a").expect("held"), &a));

    folder.write("services/a.yaml", &fixed("a", 1));
    fs::remove_file(folder.path("services/c.yaml")).expect("there");
    assert!(!folder.load().has_errors());
    assert_eq!(folder.held(), (Vec::new(), Vec::new()));
}

#[test]
fn a_broken_root_yields_no_snapshot_and_forgets_nothing() {
    let mut folder = Folder::new(&[("services/a.yaml", &fixed("a", 1))]);
    folder.load();
    let a = folder.service("a").expect("there");
    for text in ["", "bogus: 1\n", "services: nowhere\n", "listen: {http: [\n"] {
        folder.write("tidegate.yaml", text);
        folder.write("services/a.yaml", "versions: 3\n");
        let services = folder.path("services");
        let loaded = folder.load();
        assert!(loaded.snapshot.is_none() && loaded.has_errors(), "{text}");
        assert!(loaded.watch.contains(&services), "{text}");
    }
    fs::remove_file(folder.path("tidegate.yaml")).expect("there");
    assert!(folder.load().snapshot.is_none());
    folder.write("tidegate.yaml", "base_domain: localhost\n");
    folder.load();
    assert!(Arc::ptr_eq(&folder.service("a").expect("held"), &a));
}

#[test]
fn all_errors_are_told_even_with_a_broken_root() {
    let mut folder =
        Folder::new(&[("tidegate.yaml", "bogus: 1\n"), ("services/a.yaml", "bogus: 2\nmaintenance: true\n")]);
    folder.load();
    let (_, messages) = folder.held();
    assert_eq!(messages.len(), 2);
    assert!(messages[0].starts_with("tidegate.yaml:1:1:") && messages[1].starts_with("services/a.yaml:1:1:"));
}

#[test]
fn what_has_not_changed_is_taken_over() {
    let mut folder = Folder::new(&[("services/a.yaml", &fixed("a", 1)), ("services/b.yaml", &fixed("b", 2))]);
    folder.load();
    let (a, b) = (folder.service("a").expect("there"), folder.service("b").expect("there"));
    // Written anew with the same text, as editors and git do.
    folder.write("services/a.yaml", &fixed("a", 1));
    folder.write("services/b.yaml", &format!("max_body: 1MiB\n{}", fixed("b", 2)));
    folder.load();
    assert!(Arc::ptr_eq(&a, &folder.service("a").expect("there")));
    assert!(!Arc::ptr_eq(&b, &folder.service("b").expect("there")));
    // Defaults concern everybody.
    folder.write("tidegate.yaml", "defaults: {max_body: 2MiB}\n");
    folder.load();
    assert_eq!(folder.service("a").expect("there").policy.max_body, Some(2 << 20));
    assert_eq!(folder.service("b").expect("there").policy.max_body, Some(1 << 20));
    // The same length again, at once: a change of a byte is seen.
    folder.write("services/b.yaml", &format!("max_body: 3MiB\n{}", fixed("b", 2)));
    folder.load();
    assert_eq!(folder.service("b").expect("there").policy.max_body, Some(3 << 20));
}

#[test]
fn of_two_claims_the_newly_changed_one_is_held() {
    let mut folder = Folder::new(&[("services/a.yaml", &fixed("a", 1)), ("services/b.yaml", &fixed("b", 2))]);
    folder.load();
    let a = folder.service("a").expect("there");
    // `a` is first by name, but what is in force goes before what is new.
    folder.write("services/a.yaml", &fixed("a", 1).replace("[a.", "[b.example.com, a."));
    folder.load();
    let (held, messages) = folder.held();
    assert_eq!(held, ["+a"]);
    assert!(messages[0].starts_with("services/a.yaml:1:11: `b.example.com/` is claimed by b and by a"), "{messages:?}");
    assert!(Arc::ptr_eq(&folder.service("a").expect("held"), &a));
    // Once `b` gives it up, `a` has it, though nobody touched its file.
    folder.write("services/b.yaml", &fixed("b", 2).replace("b.example.com", "c.example.com"));
    assert!(!folder.load().has_errors(), "{:?}", folder.held());
    assert_eq!(folder.service("a").expect("there").routes.len(), 2);
    // Two that swap in one edit are fine.
    folder.write("services/a.yaml", &fixed("a", 1).replace("[a.", "[c.example.com, a."));
    folder.write("services/b.yaml", &fixed("b", 2));
    assert!(!folder.load().has_errors(), "{:?}", folder.held());
    // A new one whose name is somebody's domain stays out.
    folder.write("services/a.yaml", &fixed("a", 1).replace("[a.", "[new.localhost, a."));
    folder.load();
    folder.write("services/new.yaml", &fixed("new", 3));
    folder.load();
    assert_eq!(folder.held().0, ["new"]);
    // A domain moves to one while the other, which had it, is broken: nothing moves.
    folder.write("services/a.yaml", "domains: [\n");
    folder.write("services/new.yaml", &fixed("new", 3).replace("[new.", "[a."));
    folder.load();
    assert_eq!(folder.held().0, ["+a", "new"]);
}

#[test]
fn a_base_domain_that_makes_services_collide_is_the_roots_error() {
    let b = "domains: [b.example.com, a.example.com]\nversions: {b-001: {urls: [\"http://127.0.0.1:3000\"]}}\n";
    let mut folder = Folder::new(&[
        ("services/a.yaml", "versions: {a-001: {urls: [\"http://127.0.0.1:3000\"]}}\n"),
        ("services/b.yaml", b),
    ]);
    assert!(!folder.load().has_errors());
    folder.write("tidegate.yaml", "base_domain: example.com\n");
    let loaded = folder.load();
    assert!(loaded.snapshot.is_none() && loaded.has_errors());
    folder.write("tidegate.yaml", "base_domain: localhost\n");
    assert!(!folder.load().has_errors());
}

#[test]
fn what_makes_a_version_never_changes() {
    let text = |first: &str| {
        format!(
            "weights: {{a-001: 100}}\nlast_version: 3\nversions:\n  a-001: {first}\n  a-002: {{urls: [\"http://127.0.0.1:2\"]}}\n"
        )
    };
    let mut folder = Folder::new(&[("services/a.yaml", &text("{command: [sh, -c, exit], env: {A: b}, remark: old}"))]);
    folder.load();
    let before = folder.service("a").expect("there");
    for (first, field, place) in [
        ("{command: [sh, -c, 'true'], env: {A: b}}", "command", "4:20"),
        ("{command: [sh, -c, exit], env: {A: c}}", "env", "4:41"),
        ("{command: [sh, -c, exit], env: {A: b}, cwd: .}", "cwd", "4:54"),
        ("{urls: [\"http://127.0.0.1:1\"]}", "urls", "4:17"),
    ] {
        folder.write("services/a.yaml", &text(first));
        folder.load();
        let (held, messages) = folder.held();
        assert_eq!((held, messages.len()), (vec!["+a".to_owned()], 1), "{messages:?}");
        let start = format!("services/a.yaml:{place}: `{field}` of a-001 has changed, and a-001 has run");
        assert!(messages[0].starts_with(&start) && messages[0].contains("`a-004`"), "{messages:?}");
        assert!(Arc::ptr_eq(&before, &folder.service("a").expect("held")));
    }
    // All else can be tuned, and the process stays the same one.
    folder.write("services/a.yaml", &text("{command: [sh, -c, exit], env: {A: b}, remark: new, start: {timeout: 5s}}"));
    assert!(!folder.load().has_errors());
    let after = folder.service("a").expect("there");
    assert_eq!(after.versions[0].remark.as_deref(), Some("new"));
    assert!(Arc::ptr_eq(&before.versions[0].backend, &after.versions[0].backend));
}

#[test]
fn a_version_that_runs_still_is_known_by_what_it_is() {
    let folder = Folder::new(&[("services/a.yaml", &fixed("a", 1))]);
    let other = Backend::Urls([Endpoint { host: "127.0.0.1".into(), port: 9 }].into());
    for is in [Identity::Fingerprint(Fingerprint::of(&other)), Identity::Backend(Arc::new(other))] {
        let in_force = |version: &str| (version == "a-001").then(|| is.clone());
        let loaded = load(&folder.path("tidegate.yaml"), None, &in_force);
        assert!(loaded.diagnostics[0].message.starts_with("`urls` of a-001 has changed"));
    }
}

#[test]
fn a_half_written_pair_keeps_the_last_good_one() {
    let pairs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
    let mut folder =
        Folder::new(&[("services/a.yaml", "tls: {certificate: ../a.pem, key: ../a.key}\nmaintenance: true\n")]);
    let (certificate, key) = (folder.path("a.pem"), folder.path("a.key"));
    fs::copy(pairs.join("shop.pem"), &certificate).expect("writable");
    fs::copy(pairs.join("shop.key"), &key).expect("writable");
    assert!(!folder.load().has_errors());
    let good = folder.service("a").and_then(|a| a.tls.certificates.first().cloned()).expect("loaded");
    let watch = &folder.loaded.as_ref().expect("loaded").watch;
    assert!(
        [&certificate, &key]
            .into_iter()
            .all(|path| watch.iter().any(|w| w.canonicalize().ok() == path.canonicalize().ok()))
    );

    let whole = fs::read(&certificate).expect("readable");
    fs::write(&certificate, &whole[..whole.len() / 2]).expect("writable");
    folder.load();
    assert_eq!(folder.held().0, ["+a"]);
    fs::write(&certificate, &whole).expect("writable");
    fs::copy(pairs.join("other.key"), &key).expect("writable");
    folder.load();
    assert_eq!(folder.held().0, ["+a"]);
    let kept = folder.service("a").and_then(|a| a.tls.certificates.first().cloned()).expect("kept");
    assert!(Arc::ptr_eq(&good, &kept));
    fs::copy(pairs.join("shop.key"), &key).expect("writable");
    assert!(!folder.load().has_errors());
}

#[test]
fn an_environment_file_is_part_of_what_a_version_is() {
    let mut folder = Folder::new(&[
        ("app.env", "# comment\nA=from file\nexport B='quoted'\n\n"),
        ("services/a.yaml", "versions: {a-001: {command: [sh], env: {A: \"$${x\"}, env_file: ../app.env}}\n"),
    ]);
    assert!(!folder.load().has_errors(), "{:?}", folder.held());
    let a = folder.service("a").expect("there");
    let Backend::Process(process) = &*a.versions[0].backend else { panic!("not a process") };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(*process.env, [pair("A", "${x"), pair("B", "quoted")]);
    folder.write("app.env", "B=changed\n");
    folder.load();
    let (held, messages) = folder.held();
    assert_eq!(held, ["+a"]);
    assert!(messages[0].contains("`env` of a-001 has changed"), "{messages:?}");
    assert!(!messages[0].contains("quoted"));
}

#[test]
fn a_version_has_what_its_file_says_over_the_defaults() {
    let defaults = "defaults:
  replicas: {min: 1, max: 4}
  scale: {on: rps, target: 300}
  max_concurrency: 80
  sleep: {stop_after: 30m, ignore: {paths: [/up], user_agents: [\"*Robot*\"], status: 204}}
  queue: {max_waiting: 7}
  waiting_page: {title: Soon}
queue: {max_bodies: 3MiB}
";
    let a = "weights: {a-001: 100}
versions:
  a-001: {command: [sh]}
  a-002:
    command: [sh]
    user: \"1000:1000\"
    replicas: {max: 9}
    scale: {on: concurrency}
    max_concurrency: off
    sleep: {stop_after: off, ignore: {paths: [/a, \"/b/*\"]}}
    keep: true
    queue: {max_body: 2KiB}
  a-003: {command: [sh], replicas: 3, scale: {target: 5}}
  a-004: {urls: [\"http://127.0.0.1:1\"]}
  a-005: {urls: [\"http://127.0.0.1:1\"], hook: {start: [./up.sh, \"1\"], stop: [down], status: [is-up]}}
";
    let mut folder = Folder::new(&[("tidegate.yaml", defaults), ("services/a.yaml", a), ("services/up.sh", "")]);
    assert!(!folder.load().has_errors(), "{:?}", folder.held());
    let settings = folder.loaded.as_ref().and_then(|loaded| loaded.snapshot.as_ref()).expect("good").settings.clone();
    assert_eq!(settings.max_held_bodies, 3 << 20);
    let a = folder.service("a").expect("there");
    assert_eq!(a.policy.waiting_page.as_ref().and_then(|page| page.title.as_deref()), Some("Soon"));
    let [first, second, third, fixed, hooked] = &*a.versions else { panic!("not five") };
    let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));

    assert_eq!(first.replicas, Replicas { min: 1, max: 4 });
    assert_eq!(first.scale, Scale { on: ScaleOn::Rps, target: Some(300) });
    assert_eq!((first.max_concurrency, first.keep), (Some(80), false));
    assert_eq!(first.sleep.stop_after, minutes(30));
    assert_eq!(first.sleep.ignore.status, 204);
    assert!(first.sleep.ignore.holds("/up", None) && first.sleep.ignore.holds("/", Some("UptimeRobot/2")));
    assert_eq!(first.queue, Queue { max_waiting: 7, ..Queue::default() });

    assert_eq!(second.replicas, Replicas { min: 1, max: 9 });
    // The target of the defaults is one per second.
    assert_eq!(second.scale, Scale { on: ScaleOn::Concurrency, target: None });
    assert_eq!((second.max_concurrency, second.keep, second.sleep.stop_after), (None, true, None));
    let ignore = &second.sleep.ignore;
    assert!(ignore.holds("/b/c", None) && !ignore.holds("/up", None) && ignore.holds("/", Some("UptimeRobot/2")));
    assert_eq!(second.queue, Queue { max_waiting: 7, max_body: 2048 });
    let Backend::Process(process) = &*second.backend else { panic!("not a process") };
    assert_eq!(process.user.as_deref(), Some("1000:1000"));

    assert_eq!((third.replicas, third.scale.target), (Replicas { min: 3, max: 3 }, Some(5)));
    // What is not ours to start takes none of it, and a hook one instance.
    assert_eq!((fixed.replicas, fixed.scale, fixed.sleep.stop_after), (Replicas::default(), Scale::default(), None));
    assert_eq!((hooked.replicas, hooked.sleep.stop_after), (Replicas { min: 1, max: 1 }, minutes(30)));
    let Backend::Hook(hook) = &*hooked.backend else { panic!("not a hook") };
    assert_eq!(*hook.start, [folder.path("services/up.sh").display().to_string(), "1".to_owned()]);
    assert_eq!((&*hook.stop, hook.status.as_deref()), (&["down".to_owned()][..], Some(&["is-up".to_owned()][..])));
}

#[test]
fn hook_and_user_are_part_of_what_a_version_is() {
    let text = |first: &str, second: &str| {
        format!(
            "weights: {{a-001: 100}}\nversions:\n  a-001: {{urls: [\"http://127.0.0.1:1\"], {first}}}\n  a-002: {{command: [sh], {second}}}\n"
        )
    };
    let hook = "hook: {start: [up], stop: [down]}";
    let mut folder = Folder::new(&[("services/a.yaml", &text(hook, "user: 1000"))]);
    assert!(!folder.load().has_errors(), "{:?}", folder.held());
    for (first, second, changed) in [
        ("hook: {start: [up, again], stop: [down]}", "user: 1000", "`hook` of a-001"),
        ("remark: none", "user: 1000", "`hook` of a-001"),
        (hook, "user: 1001", "`user` of a-002"),
        (hook, "remark: none", "`user` of a-002"),
    ] {
        folder.write("services/a.yaml", &text(first, second));
        folder.load();
        let (held, messages) = folder.held();
        assert_eq!((held, messages.len()), (vec!["+a".to_owned()], 1), "{messages:?}");
        assert!(messages[0].contains(&format!("{changed} has changed")), "{messages:?}");
    }
}

#[test]
fn an_edit_of_a_waiting_page_is_an_edit_of_its_service() {
    let page = |service: Option<Arc<Service>>| {
        service.and_then(|service| service.policy.waiting_page.as_ref()?.template.clone())
    };
    let own = |name: &str, more: &str| format!("{more}{}", fixed(name, 1));
    let mut folder = Folder::new(&[
        ("tidegate.yaml", "defaults: {waiting_page: {file: all.html}}\n"),
        ("all.html", "all 1"),
        ("own.html", "own 1"),
        ("services/a.yaml", &own("a", "waiting_page: {file: ../own.html}\n")),
        ("services/b.yaml", &own("b", "waiting_page: {title: B}\n")),
        ("services/c.yaml", &own("c", "waiting_page: false\n")),
    ]);
    assert!(!folder.load().has_errors(), "{:?}", folder.held());
    assert_eq!(page(folder.service("a")).as_deref(), Some("own 1"));
    assert_eq!(page(folder.service("b")).as_deref(), Some("all 1"));
    assert!(folder.service("c").expect("there").policy.waiting_page.is_none());
    let watch = &folder.loaded.as_ref().expect("loaded").watch;
    for file in ["all.html", "own.html"] {
        let path = folder.path(file).canonicalize().expect("there");
        assert!(watch.iter().any(|watched| watched.canonicalize().is_ok_and(|watched| watched == path)), "{file}");
    }

    folder.write("own.html", "own 2");
    folder.write("all.html", "all 2");
    assert!(!folder.load().has_errors());
    assert_eq!(page(folder.service("a")).as_deref(), Some("own 2"));
    assert_eq!(page(folder.service("b")).as_deref(), Some("all 2"));

    // One that cannot be used keeps the last good one.
    for bytes in [vec![b'x'; 256 * 1024 + 1], vec![0xff], Vec::new()] {
        fs::write(folder.path("own.html"), bytes).expect("writable");
        folder.load();
        assert_eq!(folder.held().0, ["+a"]);
        assert_eq!(page(folder.service("a")).as_deref(), Some("own 2"));
    }
    fs::write(folder.path("own.html"), vec![b'x'; 256 * 1024]).expect("writable");
    assert!(!folder.load().has_errors());
    fs::remove_file(folder.path("all.html")).expect("there");
    assert!(folder.load().snapshot.is_none());
}

#[test]
fn a_renamed_file_says_what_became_of_its_service() {
    let mut folder = Folder::new(&[("services/shop.yaml", &fixed("shop", 1))]);
    folder.load();
    fs::rename(folder.path("services/shop.yaml"), folder.path("services/store.yaml")).expect("there");
    folder.load();
    assert!(folder.service("shop").is_none());
    let (held, messages) = folder.held();
    assert_eq!((held, messages.len()), (vec!["store".to_owned()], 1), "{messages:?}");
    for part in ["rename it to `store-001`", "if this file was `shop.yaml`, service shop was removed with that file"] {
        assert!(messages[0].contains(part), "{messages:?}");
    }
}

#[test]
fn an_instance_is_never_aimed_above_what_it_may_have() {
    let a = "weights: {a-001: 100}
versions:
  a-001: {command: [sh], replicas: {max: 2}, scale: {target: 50}, max_concurrency: 10}
  a-002: {command: [sh], replicas: {max: 2}, max_concurrency: 10}
  a-003: {command: [sh], replicas: {max: 2}}
  a-004: {command: [sh], replicas: {max: 2}, scale: {on: rps}, max_concurrency: 10}
";
    let mut folder = Folder::new(&[("tidegate.yaml", "{}\n"), ("services/a.yaml", a)]);
    assert!(!folder.load().has_errors(), "{:?}", folder.held());
    let a = folder.service("a").expect("there");
    let targets: Vec<u32> = a.versions.iter().map(|version| version.scale_target()).collect();
    assert_eq!(targets, [10, 10, 100, 200]);
}

/// Edits one service's file, and has it taken over by itself; says whether that could be.
fn edit(folder: &mut Folder, name: &str, text: &str) -> bool {
    let file = format!("services/{name}.yaml");
    folder.write(&file, text);
    let files = BTreeSet::from([folder.path(&file).canonicalize().expect("it is there")]);
    let loaded = folder.loaded.as_mut().expect("loaded");
    let Some(edited) = loaded.edited(&files, &|_| None) else { return false };
    loaded.remember(edited);
    true
}

#[test]
fn an_edited_file_is_taken_over_alone_where_all_is_well() {
    let mut folder = Folder::new(&[("services/a.yaml", &fixed("a", 1)), ("services/b.yaml", &fixed("b", 2))]);
    folder.load();
    let (a, b) = (folder.service("a").expect("there"), folder.service("b").expect("there"));

    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let route = |folder: &Folder, host: &str| {
        let snapshot = folder.loaded.as_ref().and_then(|loaded| loaded.snapshot.clone()).expect("valid");
        snapshot.route(host, "/", client).map(|found| found.target)
    };
    let more = format!("{}  a-002: {{urls: [\"http://127.0.0.1:3\"]}}\nweights: {{a-002: 100}}\n", fixed("a", 1));
    assert!(edit(&mut folder, "a", &more));
    assert_eq!(folder.service("a").expect("there").versions.len(), 2);
    assert!(Arc::ptr_eq(&folder.service("b").expect("there"), &b), "what was not edited is the same in memory");
    assert_eq!(route(&folder, "a-002.localhost"), Some(Target::Preview { service: 0, version: 1 }));
    assert_eq!(route(&folder, "b.example.com"), Some(Target::Service(1)));

    // A comment changes nothing, and a load of everything finds what the edits have left.
    let before = folder.service("a").expect("there");
    assert!(edit(&mut folder, "a", &format!("# why\n{more}")));
    assert!(Arc::ptr_eq(&folder.service("a").expect("there"), &before));
    folder.load();
    assert!(Arc::ptr_eq(&folder.service("a").expect("there"), &before));
    assert!(edit(&mut folder, "a", &fixed("a", 1)));
    assert!(folder.service("a").expect("there").is_same_as(&a));
    assert_eq!(route(&folder, "a-002.localhost"), None);
}

#[test]
fn an_edit_with_something_to_say_needs_everything_to_be_loaded() {
    let mut folder = Folder::new(&[("services/a.yaml", &fixed("a", 1)), ("services/b.yaml", &fixed("b", 2))]);
    folder.load();
    let b = folder.service("b").expect("there");
    let claims_others = fixed("b", 2).replace("b.example.com", "a.example.com");
    let depends = fixed("b", 2).replace("versions:", "waiting_page: {html: page.html}\nversions:");
    let warns = "versions: {b-001: {command: [./no-such-program]}}\n".to_owned();
    for text in ["versions: [\n", &claims_others, &depends, &warns] {
        assert!(!edit(&mut folder, "b", text), "{text}");
        assert!(Arc::ptr_eq(&folder.service("b").expect("there"), &b), "nothing is taken over: {text}");
    }
    // While anything is wrong, an edit of another file may mend it, or not: only all files together tell.
    folder.load();
    let more = format!("{}max_body: 1MiB\n", fixed("a", 1));
    assert!(!edit(&mut folder, "a", &more));
    folder.write("services/b.yaml", &fixed("b", 2));
    folder.write("services/a.yaml", &fixed("a", 1));
    folder.load();
    assert!(edit(&mut folder, "a", &more));
    assert!(!edit(&mut folder, "c", &fixed("c", 3)), "a service that is new");
}
