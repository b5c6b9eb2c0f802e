//! Edits of a service's file that a person has asked for by a command: checked before they are written, as the server would check them.

mod error;

use std::path::PathBuf;

pub use self::error::EditRefused;
use crate::config::edit::store::{StoreError, WriteLock};
use crate::config::edit::{Change, apply};
use crate::config::home::{Draft, Home};
use crate::model::name::{ServiceName, VersionName};

/// One service and its file.
#[derive(Debug, Clone)]
pub struct Desk<'h> {
    /// The files that it is among.
    pub home: &'h Home,
    /// Its name.
    pub name: ServiceName,
}

impl<'h> Desk<'h> {
    /// A service that has a file.
    ///
    /// # Errors
    /// There is none, with those that there are.
    pub fn open(home: &'h Home, service: &str) -> Result<Self, EditRefused> {
        let desk = Self::new(home, service)?;
        if desk.file().exists() { Ok(desk) } else { Err(EditRefused::no_service(home, service)) }
    }

    /// A service that may not be there yet.
    ///
    /// # Errors
    /// It is not the name of one.
    pub fn new(home: &'h Home, service: &str) -> Result<Self, EditRefused> {
        Ok(Self { home, name: ServiceName::new(service)? })
    }

    /// The service of a version's name.
    ///
    /// # Errors
    /// It is no version's name, or the service has no file.
    pub fn of_version(home: &'h Home, version: &str) -> Result<(Self, VersionName), EditRefused> {
        let not_version = || EditRefused::NotVersion(version.to_owned());
        let (service, number) = version.rsplit_once('-').ok_or_else(not_version)?;
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(not_version());
        }
        let desk = Self::open(home, service)?;
        let name = desk.version_name(number)?;
        Ok((desk, name))
    }

    /// The service's file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.home.file(&self.name)
    }

    /// What the file says now.
    ///
    /// # Errors
    /// It is not there, or has errors.
    pub fn read(&self) -> Result<Draft, EditRefused> {
        let path = self.file();
        let text = std::fs::read_to_string(&path).map_err(|source| StoreError::Read { path, source })?;
        self.understand(&text)
    }

    /// Edits the file: `plan` is given what it says and answers with changes, which are made if the file is good with them. Where somebody
    /// else writes the file meanwhile, `plan` is asked again.
    ///
    /// # Errors
    /// The file is not there, has errors or would have some, `plan` refuses, or it cannot be written.
    pub fn edit<T>(&self, plan: impl FnMut(&Draft) -> Result<(Vec<Change>, T), EditRefused>) -> Result<T, EditRefused> {
        let lock = WriteLock::take(&self.home.services)?;
        self.edit_under(&lock, plan)
    }

    /// The same under a lock that is held already.
    ///
    /// # Errors
    /// As [`Self::edit`].
    pub fn edit_under<T>(
        &self,
        lock: &WriteLock,
        mut plan: impl FnMut(&Draft) -> Result<(Vec<Change>, T), EditRefused>,
    ) -> Result<T, EditRefused> {
        let mut outcome = None;
        lock.rewrite(&self.file(), |text| {
            let text = text.ok_or_else(|| EditRefused::no_service(self.home, self.name.as_str()))?;
            let (changes, planned) = plan(&self.understand(text)?)?;
            outcome = Some(planned);
            self.edited(text, &changes).map(Some)
        })?;
        Ok(outcome.expect("a rewrite asks for the new text at least once"))
    }

    /// The text with changes, if it is good with them.
    ///
    /// # Errors
    /// A change cannot be made safely, or what comes out has errors.
    pub fn edited(&self, text: &str, changes: &[Change]) -> Result<String, EditRefused> {
        let new = apply(&self.file(), text, changes)?;
        if new != text {
            self.home.understand(&self.name, &new).map_err(|found| EditRefused::would_break(&found))?;
        }
        Ok(new)
    }

    fn understand(&self, text: &str) -> Result<Draft, EditRefused> {
        self.home.understand(&self.name, text).map_err(|found| EditRefused::broken(&found))
    }

    /// A version's name from what a person types: `3`, `003` or `shop-003`.
    ///
    /// # Errors
    /// It is none of these.
    pub fn version_name(&self, typed: &str) -> Result<VersionName, EditRefused> {
        let service = self.name.as_str();
        let number = typed.strip_prefix(service).and_then(|rest| rest.strip_prefix('-')).unwrap_or(typed);
        match number.parse::<u32>() {
            Ok(number @ 1..=crate::model::name::MAX_VERSION_NUMBER) if typed.len() < 90 => {
                Ok(VersionName::numbered(&self.name, number))
            }
            _ => Ok(VersionName::parse(&self.name, typed)?),
        }
    }

    /// The index of a version that the service has, from what a person types.
    ///
    /// # Errors
    /// There is none, with those that there are.
    pub fn version(&self, draft: &Draft, typed: &str) -> Result<usize, EditRefused> {
        let name = self.version_name(typed)?;
        draft.service.version(name.as_str()).ok_or_else(|| EditRefused::NoVersion {
            version: name.to_string(),
            service: self.name.to_string(),
            others: names(draft.service.versions.iter().map(|version| &version.name)),
        })
    }
}

/// Names for a message.
pub(super) fn names<T: std::fmt::Display>(all: impl IntoIterator<Item = T>) -> String {
    let all: Vec<_> = all.into_iter().map(|name| name.to_string()).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}
