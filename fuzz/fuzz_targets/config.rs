//! Whatever people write into a file, reading it and showing what is wrong never panics. A file is what lies before a NUL, and the
//! service's what lies behind.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = TempDir::new().expect("a folder");
    fs::create_dir(folder.path().join("services")).expect("a folder");
    folder
});

fuzz_target!(|input: &str| {
    let (root, service) = input.split_once('\0').unwrap_or(("{}", input));
    let file = FOLDER.path().join("tidegate.yaml");
    fs::write(&file, root).expect("written");
    fs::write(FOLDER.path().join("services/app.yaml"), service).expect("written");
    let loaded = tidegate::config::load::load(&file, None, &|_| None);
    for diagnostic in &loaded.diagnostics {
        assert!(!diagnostic.render(false).is_empty());
    }
});
