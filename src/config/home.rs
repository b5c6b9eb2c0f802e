//! The files of one tidegate, as the commands that edit them see them: without a server, and one service at a time.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::config::compile::{self, Check, Defaults, Known, settings};
use crate::config::diagnostic::Diagnostic;
use crate::config::file::{RootFile, ServiceFile};
use crate::config::source::Source;
use crate::config::spanned::{Entries, Spanned};
use crate::model::name::{ServiceName, VersionName};
use crate::model::service::Service;
use crate::model::settings::Settings;
use crate::model::weight::Weight;

/// tidegate.yaml, read.
#[derive(Debug, Clone)]
pub struct Home {
    /// Where it is.
    pub root: PathBuf,
    /// What it says of the server.
    pub settings: Settings,
    /// The folder of the services.
    pub services: PathBuf,
    defaults: Defaults,
}

/// A service's file, understood.
#[derive(Debug)]
pub struct Draft {
    /// What it means.
    pub service: Service,
    /// The keys under `weights`; `None` where there is no such key.
    pub weighted: Option<Vec<String>>,
    /// What `rollback` returns to, as far as it is not 0.
    pub previous_weights: Option<Vec<(String, Weight)>>,
    /// The highest number that a version ever had, if the file says so.
    pub last_version: Option<u32>,
    /// Its custom domains, as written under `domains`.
    pub domains: Vec<String>,
    /// The version that each rule points at, in order.
    pub rules: Vec<String>,
    /// What may not be what was meant.
    pub warnings: Vec<Diagnostic>,
}

impl Home {
    /// Reads tidegate.yaml.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(root: &Path) -> Result<Self, Vec<Diagnostic>> {
        let source = Source::read(root).map_err(|error| vec![*error])?;
        let (mut check, file) = Check::decode::<RootFile>(Arc::new(source), "write `{}` for nothing but defaults");
        let compiled = settings::settings(&mut check, &file.unwrap_or_default());
        if check.has_errors() {
            return Err(check.found);
        }
        let (settings, services, defaults) = (compiled.settings, compiled.services, compiled.defaults);
        Ok(Self { root: root.to_owned(), settings, services, defaults })
    }

    /// The file of a service, which need not be there.
    #[must_use]
    pub fn file(&self, service: &ServiceName) -> PathBuf {
        self.services.join(format!("{service}.yaml"))
    }

    /// The services that have a file, by name, whatever is in it.
    #[must_use]
    pub fn names(&self) -> Vec<ServiceName> {
        let entries = std::fs::read_dir(&self.services).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries
            .filter_map(|entry| ServiceName::new(entry.file_name().to_str()?.strip_suffix(".yaml")?).ok())
            .collect();
        names.sort();
        names
    }

    /// What the text of a service's file means, apart from other services.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn understand(&self, name: &ServiceName, text: &str) -> Result<Draft, Vec<Diagnostic>> {
        let source = Arc::new(Source { path: self.file(name), text: text.to_owned() });
        let (mut check, file) = Check::decode::<ServiceFile>(source, "write at least one version");
        let known = Known { in_force: &|_| None, previous: None };
        let compiled = file.as_ref().and_then(|file| compile::service(&mut check, name, file, &self.defaults, known));
        let (Some(file), Some(compiled)) = (file, compiled) else { return Err(check.found) };
        if check.has_errors() {
            return Err(check.found);
        }
        let previous = file.previous_weights.as_ref().map(|weights| shares(weights));
        Ok(Draft {
            service: compiled.service,
            weighted: file.weights.as_ref().map(|weights| weights.iter().map(|(name, _)| name.value.clone()).collect()),
            previous_weights: previous,
            last_version: file.last_version.as_ref().map(|last| last.value),
            domains: file.domains.iter().map(|domain| domain.value.clone()).collect(),
            rules: file.rules.iter().map(|rule| rule.version.value.clone()).collect(),
            warnings: check.found,
        })
    }

    /// Whose the containers are that this tidegate makes: what their label says.
    #[must_use]
    pub fn owner(&self) -> String {
        owner(&self.root, &self.settings)
    }
}

/// Whose the containers are that the tidegate of this tidegate.yaml makes.
#[must_use]
pub fn owner(root: &Path, settings: &Settings) -> String {
    let of_file = || {
        let absolute = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        // The same file by another way is the same owner. Links stay as they are: a folder of releases has one that leads to the current.
        let is_winding = absolute.components().any(|part| part == Component::ParentDir);
        let straight = is_winding.then(|| std::fs::canonicalize(&absolute).ok()).flatten();
        straight.unwrap_or(absolute).to_string_lossy().into_owned()
    };
    settings.docker.owner.as_ref().map_or_else(of_file, |owner| owner.to_string())
}

fn shares(weights: &Entries<Spanned<f64>>) -> Vec<(String, Weight)> {
    let all =
        weights.iter().filter_map(|(name, weight)| Some((name.value.clone(), Weight::from_percent(weight.value)?)));
    all.filter(|(_, weight)| !weight.is_zero()).collect()
}

impl Draft {
    /// The versions and their weights, by number.
    pub fn weights(&self) -> impl Iterator<Item = (&VersionName, Weight)> {
        let versions = self.service.versions.iter().enumerate();
        versions.map(|(index, version)| (&version.name, self.service.weights.get(index)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_the_same_by_a_path_with_dots() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = std::fs::canonicalize(dir.path()).expect("a path").join("tidegate.yaml");
        std::fs::write(&root, "{}\n").expect("write");
        std::fs::create_dir(root.with_file_name("services")).expect("a folder");
        let home = Home::read(&root).expect("good");
        assert_eq!(home.owner(), root.to_string_lossy());
        assert_eq!(owner(&root.with_file_name("services/.././tidegate.yaml"), &home.settings), home.owner());
    }
}
