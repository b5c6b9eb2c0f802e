//! Why a command edits nothing.

use super::names;
use crate::config::decode::nearest;
use crate::config::diagnostic::Diagnostic;
use crate::config::edit::EditError;
use crate::config::edit::store::StoreError;
use crate::config::home::Home;
use crate::model::name::NameError;

/// Why a command edits nothing, with the cure.
#[derive(Debug, thiserror::Error)]
pub enum EditRefused {
    /// The file cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file cannot be edited by machine.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// Not a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is no such service.
    #[error("there is no service `{service}`{near}; those are: {others}")]
    NoService {
        /// The name.
        service: String,
        /// Which was probably meant.
        near: String,
        /// Those that there are.
        others: String,
    },
    /// Not the name of a version.
    #[error("`{0}` is not the name of a version; those are written like `shop-001`")]
    NotVersion(String),
    /// There is no such version.
    #[error("there is no version `{version}`; those of `{service}` are: {others}")]
    NoVersion {
        /// The name.
        version: String,
        /// The service.
        service: String,
        /// Those that there are.
        others: String,
    },
    /// The file has errors already.
    #[error("the file has errors, which are to be mended first:\n{0}")]
    Broken(String),
    /// It would have errors.
    #[error("this would break the file, so it stays as it is:\n{0}")]
    WouldBreak(String),
    /// What was asked for makes no sense here; with the cure.
    #[error("{0}")]
    Senseless(String),
}

impl EditRefused {
    pub(crate) fn no_service(home: &Home, service: &str) -> Self {
        let all = home.names();
        let near = nearest(service, all.iter().map(crate::model::name::ServiceName::as_str));
        Self::NoService {
            service: service.to_owned(),
            near: near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default(),
            others: names(&all),
        }
    }

    pub(crate) fn broken(found: &[Diagnostic]) -> Self {
        Self::Broken(errors(found))
    }

    pub(crate) fn would_break(found: &[Diagnostic]) -> Self {
        Self::WouldBreak(errors(found))
    }
}

fn errors(found: &[Diagnostic]) -> String {
    let errors = found.iter().filter(|diagnostic| diagnostic.is_error());
    errors.map(|error| error.to_string()).collect::<Vec<_>>().join("\n")
}
