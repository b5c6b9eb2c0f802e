//! Configs on disk, and what they come to.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use tidegate::config::load::load;
use tidegate::model::snapshot::Snapshot;

/// A folder with a config.
pub(crate) struct Config {
    folder: TempDir,
}

impl Config {
    /// One service, `shop`.
    pub(crate) fn of(service: &str) -> Self {
        let config = Self::empty();
        fs::write(config.service("shop"), service).expect("a file");
        config
    }

    /// Services `s0`, `s1` and so on, each with one version.
    pub(crate) fn of_many(services: usize) -> Self {
        let config = Self::empty();
        for number in 0..services {
            config.edit(number, 0);
        }
        config
    }

    /// Writes a service's file, with a header of this value.
    pub(crate) fn edit(&self, number: usize, value: u64) {
        let text = format!(
            "versions:\n  s{number}-001: {{urls: [\"http://127.0.0.1:9\"]}}\nheaders: {{response: {{set: {{x-edit: \"{value}\"}}}}}}\n"
        );
        fs::write(self.service(&format!("s{number}")), text).expect("a file");
    }

    /// The file of a service.
    pub(crate) fn service(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("services/{name}.yaml"))
    }

    /// tidegate.yaml.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("tidegate.yaml")
    }

    /// What it comes to.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        let loaded = load(&self.root(), None, &|_| None);
        assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
        loaded.snapshot.expect("no errors")
    }

    fn empty() -> Self {
        let config = Self { folder: tempfile::tempdir().expect("a folder") };
        fs::create_dir(config.folder.path().join("services")).expect("a folder");
        fs::write(config.root(), "{}\n").expect("a file");
        config
    }
}
