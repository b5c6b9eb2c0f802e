//! Containers behind the real program, as a user meets them: found and made, asleep and awake, killed, changed and left behind.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bollard::query_parameters::{KillContainerOptionsBuilder, RemoveContainerOptionsBuilder};

use crate::support::docker::Containers;
use crate::support::eventually;
use crate::support::site::{Site, SiteBuilder};

/// A site with one service, named as the containers are.
fn site(containers: &Containers, versions: &str) -> SiteBuilder {
    Site::new().service(containers.name(), versions)
}

fn ask(site: &Site, host: &str) -> String {
    let answer = site.get(host, "/");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.text()
}

fn is_in_state(site: &Site, version: &str, state: &str) {
    eventually(&format!("{version} {state}"), || (site.version(version)["state"] == state).then_some(()));
}

#[test]
fn a_container_of_docker_run_sleeps_is_woken_by_a_request_and_survives_its_version() {
    let Some(containers) = Containers::new() else { return };
    let mine = format!("{}-mine", containers.name());
    let id = containers.run(&mine, &["MARK=mine", "PORT=8000"], &[]);
    let versions = |more: &str| {
        format!(
            "versions:\n  {}: {{container: {mine}, port: 8000, sleep: {{stop_after: 1s}}}}\n{more}",
            containers.version(1)
        )
    };
    let site = site(&containers, &versions("")).start();
    assert!(ask(&site, &containers.host()).ends_with("mine"));
    for _ in 0..2 {
        eventually("its sleep", || (containers.state(&mine) == "exited").then_some(()));
        is_in_state(&site, &containers.version(1), "asleep");
        assert!(ask(&site, &containers.host()).ends_with("mine"));
        assert_eq!((containers.state(&mine).as_str(), containers.run_of(&mine).0), ("running", id.clone()));
    }
    let last = format!(
        "weights: {{{1}: 100}}\nlast_version: 2\nversions:\n  {1}: {{image: \"{0}\"}}\n",
        containers.image(),
        containers.version(2)
    );
    site.edit_service(containers.name(), &last);
    ask(&site, &containers.host());
    eventually("the first version's end", || {
        let status = site.status().to_string();
        (!status.contains(&containers.version(1))).then_some(())
    });
    assert_eq!(containers.run_of(&mine).0, id, "it is there, the same");
}

#[test]
fn a_version_is_made_paused_stopped_and_started_again_and_removed_with_its_version() {
    let Some(containers) = Containers::new() else { return };
    let (one, host) = (format!("{}-1", containers.version(1)), containers.host());
    let yaml = |version: u32, sleep: &str| {
        format!(
            "last_version: 2\nversions:\n  {}: {{image: \"{}\", env: {{MARK: v{version}}}, sleep: {{{sleep}}}}}\n",
            containers.version(version),
            containers.image()
        )
    };
    let site = site(&containers, &yaml(1, "pause_after: 1s, stop_after: 4s")).start();
    assert!(ask(&site, &host).ends_with("v1"));
    let (id, began) = containers.run_of(&one);
    eventually("its pause", || (containers.state(&one) == "paused").then_some(()));
    assert!(ask(&site, &host).ends_with("v1"));
    assert_eq!(containers.run_of(&one), (id.clone(), began.clone()), "paused, not stopped");
    eventually("its stop", || (containers.state(&one) == "exited").then_some(()));
    is_in_state(&site, &containers.version(1), "asleep");
    assert!(ask(&site, &host).ends_with("v1"));
    let (again, later) = containers.run_of(&one);
    assert!(again == id && later > began, "the same container, started again");
    // The next version takes over, and nothing of the first stays.
    site.edit_service(containers.name(), &yaml(2, "stop_after: 1h"));
    assert!(ask(&site, &host).ends_with("v2"));
    eventually("its removal", || (containers.state(&one) == "gone").then_some(()));
    assert_eq!(containers.names(), [format!("{}-1", containers.version(2))]);
}

#[test]
fn what_is_killed_removed_or_paused_by_hand_is_put_right() {
    let Some(containers) = Containers::new() else { return };
    let (one, host) = (format!("{}-1", containers.version(1)), containers.host());
    let yaml = format!(
        "versions:\n  {}: {{image: \"{}\", replicas: {{min: 1}}}}\n",
        containers.version(1),
        containers.image()
    );
    let site = site(&containers, &yaml).start();
    ask(&site, &host);
    let first = containers.run_of(&one);
    containers.ask(async |client| client.pause_container(&one).await.expect("paused"));
    eventually("the end of the pause", || (containers.state(&one) == "running").then_some(()));
    ask(&site, &host);
    assert_eq!(containers.run_of(&one), first);
    let kill = KillContainerOptionsBuilder::new().signal("KILL").build();
    containers.ask(async |client| client.kill_container(&one, Some(kill)).await.expect("killed"));
    eventually("its start", || {
        let (id, began) = containers.run_of(&one);
        (id == first.0 && began > first.1 && containers.state(&one) == "running").then_some(())
    });
    ask(&site, &host);
    let remove = RemoveContainerOptionsBuilder::new().force(true).build();
    containers.ask(async |client| client.remove_container(&one, Some(remove)).await.expect("removed"));
    eventually("another", || {
        let id = containers.inspect(&one)?.id?;
        (id != first.0 && containers.state(&one) == "running").then_some(())
    });
    ask(&site, &host);
}

#[test]
fn a_tidegate_killed_under_load_leaves_its_containers_and_the_next_takes_them_over_untouched() {
    let Some(containers) = Containers::new() else { return };
    let host = containers.host();
    let yaml = format!(
        "versions:\n  {}: {{image: \"{}\", replicas: {{min: 2, max: 2}}}}\n",
        containers.version(1),
        containers.image()
    );
    let mut site = site(&containers, &yaml).start();
    let both = [1, 2].map(|number| format!("{}-{number}", containers.version(1)));
    eventually("both", || both.iter().all(|name| containers.state(name) == "running").then_some(()));
    is_in_state(&site, &containers.version(1), "normal");
    let before = both.each_ref().map(|name| containers.run_of(name));
    for signal in ["KILL", "TERM"] {
        let (done, address) = (AtomicBool::new(false), site.http());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        // What is on its way when it is killed is lost with it.
                        let Ok(mut stream) = TcpStream::connect(address) else { continue };
                        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
                        drop(stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_end(&mut Vec::new())));
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(500));
            site.restart_after(signal);
            done.store(true, Ordering::Relaxed);
        });
        for _ in 0..200 {
            ask(&site, &host);
        }
        let after = both.each_ref().map(|name| containers.run_of(name));
        assert_eq!(after, before, "none was restarted, {signal}");
        assert_eq!(containers.names(), both);
    }
}

#[test]
fn what_makes_a_version_is_held_at_what_runs() {
    let Some(containers) = Containers::new() else { return };
    let (one, host) = (format!("{}-1", containers.version(1)), containers.host());
    let yaml = |mark: &str| {
        format!(
            "versions:\n  {}: {{image: \"{}\", env: {{MARK: {mark}}}}}\n",
            containers.version(1),
            containers.image()
        )
    };
    let mut site = site(&containers, &yaml("old")).start();
    assert!(ask(&site, &host).ends_with("old"));
    let run = containers.run_of(&one);
    site.signal("KILL");
    site.wait();
    site.write_service(containers.name(), &yaml("new"));
    site.start_again();
    assert!(ask(&site, &host).ends_with("old"));
    assert_eq!(containers.run_of(&one), run);
    eventually("word of it", || {
        let log = site.log();
        (log.contains("what makes a version never changes") && log.contains(&format!("docker rm -f {one}")))
            .then_some(())
    });
}

#[test]
fn what_no_version_wants_goes_at_the_start_and_what_is_foreign_stays() {
    let Some(containers) = Containers::new() else { return };
    let yaml = |number: u32| {
        format!("last_version: 3\nversions:\n  {}: {{image: \"{}\"}}\n", containers.version(number), containers.image())
    };
    let mut site = site(&containers, &yaml(1)).start();
    ask(&site, &containers.host());
    site.signal("KILL");
    site.wait();
    let foreign = format!("{}-2", containers.version(1));
    containers.run(&foreign, &[], &[("tidegate.version", &containers.version(1))]);
    site.write_service(containers.name(), &yaml(3));
    site.start_again();
    eventually("the sweep", || (containers.state(&format!("{}-1", containers.version(1))) == "gone").then_some(()));
    ask(&site, &containers.host());
    assert_eq!(containers.names(), [foreign, format!("{}-1", containers.version(3))]);
}

#[test]
fn a_folder_of_services_that_is_empty_at_the_start_costs_no_container() {
    let Some(containers) = Containers::new() else { return };
    let yaml = |number: u32| {
        let version = containers.version(number);
        format!("last_version: 2\nversions:\n  {version}: {{image: \"{}\"}}\n", containers.image())
    };
    let mut site = site(&containers, &yaml(1)).start();
    ask(&site, &containers.host());
    let name = format!("{}-1", containers.version(1));
    let run = containers.run_of(&name);
    site.signal("KILL");
    site.wait();
    std::fs::remove_file(site.service(containers.name())).expect("a service");
    site.start_again();
    eventually("the warning", || site.log().contains("there is no service at all").then_some(()));
    assert!(site.log().contains(&format!("`docker rm -f {name}`")), "{}", site.log());
    site.edit_service(containers.name(), &yaml(1));
    ask(&site, &containers.host());
    assert_eq!(containers.run_of(&name), run, "it has run on");
    site.edit_service(containers.name(), &yaml(2));
    eventually("its end", || (containers.state(&name) == "gone").then_some(()));
}

#[test]
fn requests_through_sleeps_and_wakes_are_all_answered_also_where_the_stop_signal_is_ignored() {
    let Some(containers) = Containers::new() else { return };
    let host = containers.host();
    let yaml = format!(
        "versions:\n  {}: {{image: \"{}\", env: {{IGNORE_TERM: 1}}, stop: {{grace: 200ms}}, sleep: {{pause_after: 30s}}}}\n",
        containers.version(1),
        containers.image()
    );
    let site = site(&containers, &yaml).start();
    ask(&site, &host);
    let asked = AtomicU32::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut raw = site.connect();
                while !done.load(Ordering::Relaxed) {
                    let answer = raw.get(&host, "/");
                    assert_eq!(answer.status(), 200, "{}", answer.text());
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let until = Instant::now() + Duration::from_secs(8);
        let mut rounds = 0;
        while Instant::now() < until {
            let version = containers.version(1);
            // Refused while requests wait for it.
            let slept = site.admin().post_json::<serde_json::Value>(&format!("/sleep?version={version}"), &());
            rounds += u32::from(slept.is_ok());
        }
        done.store(true, Ordering::Relaxed);
        assert!(rounds >= 3, "{rounds}");
    });
    assert!(asked.into_inner() > 10);
}

#[test]
fn why_a_container_does_not_come_up_is_said_to_whoever_looks() {
    let Some(containers) = Containers::new() else { return };
    let (host, image) = (containers.host(), containers.image());
    let yaml = format!(
        "weights: {{{0}: 100}}\nversions:\n  {0}: {{image: \"{image}\", env: {{EXIT_AFTER_MS: \"20\", EXIT_CODE: \"4\", DELAY_MS: \"9000\", LOG: no config}}}}\n  {1}: {{image: \"{image}\", env: {{LISTEN: \"0.0.0.0:3000\"}}, start: {{timeout: 1s}}}}\n",
        containers.version(1),
        containers.version(2),
    );
    let site = site(&containers, &yaml).start();
    assert_eq!(site.get(&host, "/").status(), 503);
    let said = site.version(&containers.version(1)).to_string();
    assert!(said.contains("exit code 4") && said.contains("no config"), "{said}");
    assert_eq!(site.get(&format!("{}.localhost", containers.version(2)), "/").status(), 504);
    eventually("the right port", || {
        let said = site.version(&containers.version(2)).to_string();
        (said.contains("port: 3000") || said.contains("8080")).then_some(())
    });
}

#[test]
fn without_an_engine_all_else_is_served_and_the_cure_is_said() {
    let site = Site::new()
        .root("docker: {host: \"unix:///nowhere/docker.sock\"}\n")
        .service("shop", "versions: {shop-001: {image: shop}}\n")
        .start();
    assert_eq!(site.get("shop.localhost", "/").status(), 503);
    let said = site.version("shop-001").to_string();
    assert!(said.contains("is Docker running?"), "{said}");
}
