//! Names of services and versions.

use std::fmt;
use std::sync::Arc;

/// The longest service name. With `-` and up to six digits a version's name still fits a DNS label (63, RFC 1035).
pub const MAX_SERVICE_NAME: usize = 56;

/// The highest number a version can have: six digits.
pub const MAX_VERSION_NUMBER: u32 = 999_999;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("a name may not be empty")]
    Empty,
    /// Longer than [`MAX_SERVICE_NAME`].
    #[error("`{0}` is longer than {MAX_SERVICE_NAME} characters")]
    TooLong(String),
    /// A character that no DNS label takes.
    #[error("`{name}` has the character `{found}`; names are made of a-z, 0-9 and `-`, as in a DNS label")]
    Character {
        /// The whole name.
        name: String,
        /// The first offending character.
        found: char,
    },
    /// A `-` at either end.
    #[error("`{0}` begins or ends with `-`")]
    Edge(String),
    /// A service named like a version.
    #[error("`{0}` ends in `-` and digits, which is how versions are named; give the service another name")]
    LooksLikeVersion(String),
    /// Not `<service>-<NNN>`.
    #[error("`{0}` is not the name of a version; versions are named <service>-<number>, such as `{1}-001`")]
    NotVersion(String, String),
    /// A version of another service.
    #[error(
        "`{found}` is not a version of service `{service}`; its versions are named `{service}-001`, `{service}-002` ..."
    )]
    OtherService {
        /// The name found.
        found: String,
        /// The service it was found in.
        service: String,
    },
    /// A number of 0, too large, or not written with the digits it should have.
    #[error("`{found}` has a number that is not written as tidegate does; it would be `{expected}`")]
    Number {
        /// The name found.
        found: String,
        /// The right form.
        expected: String,
    },
}

/// The name of a service: a DNS label of at most [`MAX_SERVICE_NAME`] characters that does not end in `-<digits>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName(Arc<str>);

impl ServiceName {
    /// Checks a text and takes it as a name.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAX_SERVICE_NAME {
            return Err(NameError::TooLong(text.to_owned()));
        }
        if let Some(found) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
            return Err(NameError::Character { name: text.to_owned(), found });
        }
        if text.starts_with('-') || text.ends_with('-') {
            return Err(NameError::Edge(text.to_owned()));
        }
        if let Some((_, tail)) = text.rsplit_once('-')
            && tail.bytes().all(|b| b.is_ascii_digit())
        {
            return Err(NameError::LooksLikeVersion(text.to_owned()));
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a version: `<service>-<NNN>`, the number with at least three digits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VersionName {
    text: Arc<str>,
    number: u32,
}

impl VersionName {
    /// The version of `service` with this number (1 to [`MAX_VERSION_NUMBER`]).
    #[must_use]
    pub fn numbered(service: &ServiceName, number: u32) -> Self {
        Self { text: format!("{}-{number:03}", service.as_str()).into(), number }
    }

    /// Reads a version's name as it stands in the file of `service`.
    pub fn parse(service: &ServiceName, text: &str) -> Result<Self, NameError> {
        let not_version = || NameError::NotVersion(text.to_owned(), service.as_str().to_owned());
        let (head, digits) = text.rsplit_once('-').ok_or_else(not_version)?;
        if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(not_version());
        }
        if head != service.as_str() {
            return Err(NameError::OtherService { found: text.to_owned(), service: service.as_str().to_owned() });
        }
        let number: u32 = digits.parse().map_err(|_| not_version())?;
        let expected = Self::numbered(service, number.clamp(1, MAX_VERSION_NUMBER));
        if *expected.text != *text {
            return Err(NameError::Number { found: text.to_owned(), expected: expected.text.as_ref().to_owned() });
        }
        Ok(expected)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The number, 1 to [`MAX_VERSION_NUMBER`].
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_dns_labels_that_do_not_look_like_versions() {
        for good in ["shop", "a", "shop-api", "x2", "shop-2a", "0"] {
            assert!(ServiceName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "Shop", "-a", "a-", "shop-1", "shop-001", "a.b", "a_b", "ä"] {
            assert!(ServiceName::new(bad).is_err(), "{bad}");
        }
        assert!(ServiceName::new(&"a".repeat(MAX_SERVICE_NAME)).is_ok());
        assert!(ServiceName::new(&"a".repeat(MAX_SERVICE_NAME + 1)).is_err());
    }

    #[test]
    fn versions_belong_to_their_service_and_have_one_spelling() {
        let shop = ServiceName::new("shop").expect("valid");
        assert_eq!(VersionName::parse(&shop, "shop-001").map(|v| v.number()), Ok(1));
        assert_eq!(VersionName::parse(&shop, "shop-1000").map(|v| v.number()), Ok(1000));
        for bad in ["shop", "shop-", "shop-1", "shop-0001", "shop-000", "cart-001", "shop-1000000", "shop-99999999999"]
        {
            assert!(VersionName::parse(&shop, bad).is_err(), "{bad}");
        }
    }
}
