//! What an edit writes, and what it expects to read afterwards.

use std::fmt;

use crate::config::tree::{self, Kind, Node};

/// A value as an edit means it. Two are equal if they mean the same, however they are written; the order of entries counts.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A single value: its text after unquoting, and whether it can only be a text (`"3"`) or may be something else (`3`).
    Scalar {
        /// As it is read.
        text: Box<str>,
        /// Whether it is a text and no number, boolean or null.
        is_text: bool,
    },
    /// A list.
    List(Vec<Self>),
    /// Keys with values.
    Map(Vec<(Box<str>, Self)>),
}

impl Value {
    /// A text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Scalar { text: text.into(), is_text: true }
    }

    /// A number, in the digits that `Display` gives it.
    #[must_use]
    pub fn number(number: impl fmt::Display) -> Self {
        Self::Scalar { text: number.to_string().into(), is_text: false }
    }

    /// A list of texts.
    #[must_use]
    pub fn texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::List(texts.into_iter().map(|text| Self::text(text.as_ref())).collect())
    }

    /// Keys with values, in this order.
    #[must_use]
    pub fn map<K: AsRef<str>>(entries: impl IntoIterator<Item = (K, Self)>) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (key.as_ref().into(), value)).collect())
    }

    /// What a tree says.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        match &node.kind {
            Kind::Scalar(scalar) => {
                let is_text = matches!(scalar.value, tree::Value::Quoted | tree::Value::Plain);
                // Nothing, `null` and `~` are all the same.
                let text = if scalar.value == tree::Value::Null { "".into() } else { scalar.text.clone() };
                Self::Scalar { text, is_text }
            }
            Kind::Sequence(items) => Self::List(items.iter().map(Self::of).collect()),
            Kind::Mapping(entries) => Self::Map(
                entries
                    .iter()
                    .map(|(key, value)| (key.scalar_text().unwrap_or_default().into(), Self::of(value)))
                    .collect(),
            ),
        }
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => entries.iter().find(|(name, _)| **name == *key).map(|(_, value)| value),
            Self::Scalar { .. } | Self::List(_) => None,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Scalar { text, is_text: false } if tree::resolve(text) == tree::Value::Null)
    }

    pub(super) fn is_collection(&self) -> bool {
        !matches!(self, Self::Scalar { .. })
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Scalar { .. } => false,
            Self::List(items) => items.is_empty(),
            Self::Map(entries) => entries.is_empty(),
        }
    }
}
