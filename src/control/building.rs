//! Versions that are being made: each deploy holds a marker file for as long as it pulls or builds. A lock on it says that the deploy
//! lives, so that one that was killed leaves a file and no version that is building for ever.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::config::edit::store::{StoreError, WriteLock};
use crate::model::name::{ServiceName, VersionName};

const ENDING: &str = ".building";

/// A version that is being made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Building {
    /// Its name.
    pub version: String,
    /// What it is made of.
    pub what: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// The marker of this deploy. Dropping it says that the version is there, or that it will not be.
#[derive(Debug)]
pub struct Marker {
    path: PathBuf,
    _file: Flock<File>,
}

impl Marker {
    /// Says that a version is being made.
    ///
    /// # Errors
    /// The marker cannot be written.
    pub fn set(_lock: &WriteLock, services: &Path, building: &Building) -> Result<Self, StoreError> {
        let path = services.join(format!(".{}{ENDING}", building.version));
        let write = |source| StoreError::Write { path: path.clone(), source };
        let text = serde_json::to_string(building).unwrap_or_default();
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(write)?;
        // Whoever looks whether it is locked holds it for a moment.
        let mut file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| write(error.into()))?;
        file.set_len(0).and_then(|()| file.write_all(text.as_bytes())).map_err(write)?;
        Ok(Self { path, _file: file })
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        // One that stays is not locked any more, and counts for nothing.
        drop(fs::remove_file(&self.path));
    }
}

/// The versions of a service that are being made, by number.
#[must_use]
pub fn of(services: &Path, service: &ServiceName) -> Vec<(VersionName, Building)> {
    let entries = fs::read_dir(services).into_iter().flatten().flatten();
    let mut all: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix('.')?.strip_suffix(ENDING)?;
            let version = VersionName::parse(service, version).ok()?;
            let path = entry.path();
            let text = fs::read_to_string(&path).ok()?;
            is_held(&path).then_some((version, text))
        })
        .map(|(version, text)| {
            let unknown = Building { version: version.to_string(), what: String::new(), since: String::new() };
            (version, serde_json::from_str(&text).unwrap_or(unknown))
        })
        .collect();
    all.sort_by_key(|(version, _)| version.number());
    all
}

fn is_held(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    Flock::lock(file, FlockArg::LockSharedNonblock).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_counts_while_its_deploy_lives() {
        let dir = tempfile::tempdir().expect("a folder");
        let shop = ServiceName::new("shop").expect("a name");
        let building = Building { version: "shop-003".into(), what: "shop:1".into(), since: "now".into() };
        let lock = WriteLock::take(dir.path()).expect("a lock");
        let marker = Marker::set(&lock, dir.path(), &building).expect("a marker");
        fs::write(dir.path().join(".shop-002.building"), "{}").expect("one that was killed left this");
        let found = of(dir.path(), &shop);
        assert_eq!(found, [(VersionName::numbered(&shop, 3), building)]);
        drop(marker);
        assert_eq!(of(dir.path(), &shop), []);
        assert!(!dir.path().join(".shop-003.building").exists());
    }
}
