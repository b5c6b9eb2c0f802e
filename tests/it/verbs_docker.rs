//! Deploys of containers on a real engine: pinned, tried out, moved to, logged, deleted.

use std::fs;

use serde_json::Value;

use crate::support::docker::Containers;
use crate::support::eventually;
use crate::support::site::{Site, tidegate};

fn say(site: &Site, arguments: &[&str]) -> (Option<i32>, String) {
    let (verb, rest) = arguments.split_at(1);
    let output = tidegate().args(verb).arg("-c").arg(site.root()).args(rest).output().expect("run");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("text"))
}

fn good(site: &Site, arguments: &[&str]) -> String {
    let (code, said) = say(site, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    said
}

#[test]
fn a_container_is_deployed_moved_to_logged_and_deleted() {
    let Some(containers) = Containers::new() else { return };
    let site = Site::new().start();
    let (service, image) = (containers.name(), containers.image());
    let said = good(&site, &["deploy", service, "--image", &image, "--port", "8080", "--env", "LOG=one|two"]);
    assert!(said.contains(&format!("{} is up, after", containers.version(1))), "{said}");
    let file = fs::read_to_string(site.service(service)).expect("text");
    assert!(file.contains(&format!("image: {image}@sha256:")), "pinned: {file}");
    assert_eq!(site.get(&containers.host(), "/").status(), 200);

    // The port, the memory and the variable are those of the version before.
    let said = good(&site, &["deploy", service, "--image", &image, "--traffic", "100"]);
    assert!(said.contains(&format!("takes over from {}: port, env", containers.version(1))), "{said}");
    let shown: Value = serde_json::from_str(&good(&site, &["versions", service, "--json"])).expect("JSON");
    assert_eq!((&shown[1]["state"], &shown[1]["weight"]), (&Value::from("normal"), &Value::from(100.0)));
    assert!(shown[1]["created"].as_str().expect("a time").starts_with("20"), "{shown}");
    assert!(shown[1]["instances"][0]["address"].as_str().expect("an address").ends_with(":8080"), "{shown}");

    let (code, said) =
        say(&site, &["deploy", service, "--image", &image, "--env", "LISTEN=nowhere", "--traffic", "50"]);
    assert!(code == Some(1) && said.contains("did not come up") && said.contains("exit code"), "{said}");
    assert_eq!(site.version(&containers.version(2))["weight"], 100.0);
    let logged = good(&site, &["logs", &containers.version(1), "--tail", "5"]);
    assert!(logged.contains("one\ntwo\n"), "{logged}");
    for number in [1, 3] {
        good(&site, &["delete", &containers.version(number)]);
    }
    let left = format!("{}-1", containers.version(2));
    eventually("the containers' end", || (containers.names() == [left.as_str()]).then_some(()));
    let said = good(&site, &["deploy", service, "--image", &image, "--port", "8080"]);
    assert!(said.contains(&containers.version(4)), "a number is never used again: {said}");
}

#[test]
fn the_number_of_a_container_counts_also_where_its_file_is_gone() {
    let Some(containers) = Containers::new() else { return };
    let site = Site::new().root(&format!("docker: {{owner: {}}}\n", containers.name())).start();
    let (service, owner) = (containers.name(), containers.name());
    let labels =
        [("tidegate.service", service), ("tidegate.version", &*containers.version(7)), ("tidegate.owner", owner)];
    let made = containers.run(&format!("{service}-old"), &[], &labels);
    let said = good(&site, &["deploy", service, "--image", &containers.image(), "--port", "8080"]);
    let expected = [8, 1].map(|number| format!("{} is up", containers.version(number)));
    // The server may have removed what nobody wants before the deploy looked.
    assert!(expected.iter().any(|text| said.contains(text)), "{made}: {said}");
}

#[test]
fn an_image_that_cannot_be_had_leaves_no_service_behind() {
    let Some(containers) = Containers::new() else { return };
    let site = Site::new().start();
    let (code, said) = say(&site, &["deploy", containers.name(), "--image", "127.0.0.1:1/none:1"]);
    assert!(code == Some(1) && said.contains("was not deployed, and nothing has changed"), "{said}");
    assert!(!site.service(containers.name()).exists());
}
