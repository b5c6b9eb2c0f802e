//! Targeted traffic: what decides before the weights do.

use std::fmt;

use http::{HeaderName, Method};

use super::glob::Pattern;
use super::request::RequestView;

/// One condition of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Some value of this query parameter fits.
    Query(Box<str>, Pattern),
    /// Some value of this header fits.
    Header(HeaderName, Pattern),
    /// Some value of this cookie fits.
    Cookie(Box<str>, Pattern),
    /// The normalised path fits, before a `strip`.
    Path(Pattern),
    /// The method is one of these.
    Method(Box<[Method]>),
}

impl Condition {
    fn holds(&self, request: &RequestView<'_>) -> bool {
        match self {
            Self::Query(key, pattern) => request.query_values(key).any(|value| pattern.matches(&value)),
            Self::Header(name, pattern) => {
                request.headers.get_all(name).iter().any(|value| value.to_str().is_ok_and(|v| pattern.matches(v)))
            }
            Self::Cookie(name, pattern) => request.cookie_values(name).any(|value| pattern.matches(value)),
            Self::Path(pattern) => pattern.matches(request.path),
            Self::Method(methods) => methods.contains(request.method),
        }
    }
}

/// Sends requests for which all conditions hold to one version. The first rule that holds wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// All must hold; never empty.
    pub conditions: Box<[Condition]>,
    /// Index of the version in its service.
    pub version: usize,
}

impl Rule {
    /// Whether the rule decides this request.
    #[must_use]
    pub fn holds(&self, request: &RequestView<'_>) -> bool {
        self.conditions.iter().all(|condition| condition.holds(request))
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Query(key, pattern) => write!(f, "query {key}={pattern}"),
            Self::Header(name, pattern) => write!(f, "header {name}: {pattern}"),
            Self::Cookie(name, pattern) => write!(f, "cookie {name}={pattern}"),
            Self::Path(pattern) => write!(f, "path {pattern}"),
            Self::Method(methods) => {
                f.write_str("method ")?;
                for (i, method) in methods.iter().enumerate() {
                    write!(f, "{}{method}", if i == 0 { "" } else { " or " })?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, condition) in self.conditions.iter().enumerate() {
            write!(f, "{}{condition}", if i == 0 { "" } else { " and " })?;
        }
        Ok(())
    }
}
