//! What lies in `config/examples/` is taken as it is.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::site::tidegate;

/// Every `tidegate.yaml` below a folder.
fn roots(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            roots(&path, found);
        } else if path.file_name().is_some_and(|name| name == "tidegate.yaml") {
            found.push(path);
        }
    }
}

#[test]
fn every_config_passes_the_check() {
    let mut found = Vec::new();
    roots(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples"), &mut found);
    assert!(!found.is_empty());
    for root in found {
        let output = tidegate().arg("check").arg(&root).output().expect("tidegate");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", root.display());
        assert!(!said.contains("warning"), "{}: {said}", root.display());
    }
}

/// What the proxy of the compose example lets through is what tidegate asks of the engine, and no more.
#[test]
fn the_compose_example_wires_the_proxy_and_mounts_the_folder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/compose");
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect(name);
    let (compose, root, readme) = (read("compose.yaml"), read("tidegate/tidegate.yaml"), read("README.md"));
    assert!(root.contains("host: tcp://engine:2375") && compose.contains("\n  engine:\n"));
    assert!(root.contains("network: tidegate ") && compose.contains("name: tidegate\n"));
    assert!(compose.contains("- ./tidegate:/etc/tidegate\n") && !compose.contains("tidegate.yaml:"));
    // Of the two, the proxy alone has the socket.
    assert_eq!(compose.matches("docker.sock:/").count(), 1);
    assert!(readme.contains("Why a proxy before the socket") && readme.contains("Why the folder is mounted"));
}
