//! Single values with a form of their own.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error};

use crate::config::units::{self, UnitError};

/// Any single value, as it was written: where only text can be meant, `8080` and `true` need no quotes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub enum Word {
    /// The text.
    #[serde(rename = "@scalar")]
    Text(String),
}

/// A duration with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Duration);

/// A duration, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOrOff(pub Option<Duration>);

/// A size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// A size in bytes, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BytesOrOff(pub Option<u64>);

/// A number of 1 or more, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountOrOff(pub Option<u32>);

impl Word {
    /// The text.
    pub fn as_str(&self) -> &str {
        let Self::Text(text) = self;
        text
    }
}

fn with_cure<E: Error>(error: &UnitError, or_off: bool) -> E {
    let or_off = if or_off { "; or `off`" } else { "" };
    // The second line is the cure: see `decode`.
    E::custom(format_args!("{error}\n{}{or_off}", error.help()))
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = Word::deserialize(deserializer)?;
        units::duration(word.as_str()).map(Self).map_err(|error| with_cure(&error, false))
    }
}

impl<'de> Deserialize<'de> for TimeOrOff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Word::deserialize(deserializer)?.as_str() {
            "off" => Ok(Self(None)),
            text => match units::duration(text) {
                Ok(Duration::ZERO) => {
                    Err(D::Error::custom("this time may not be 0\nwrite a duration like `30s`, or `off`"))
                }
                Ok(time) => Ok(Self(Some(time))),
                Err(error) => Err(with_cure(&error, true)),
            },
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = Word::deserialize(deserializer)?;
        units::size(word.as_str()).map(Self).map_err(|error| with_cure(&error, false))
    }
}

impl<'de> Deserialize<'de> for BytesOrOff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Word::deserialize(deserializer)?.as_str() {
            "off" => Ok(Self(None)),
            text => units::size(text).map(|size| Self(Some(size))).map_err(|error| with_cure(&error, true)),
        }
    }
}

impl<'de> Deserialize<'de> for CountOrOff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = Word::deserialize(deserializer)?;
        match (word.as_str(), word.as_str().parse()) {
            ("off", _) => Ok(Self(None)),
            (_, Ok(count @ 1..)) => Ok(Self(Some(count))),
            (_, Ok(_)) => {
                Err(D::Error::custom("with 0 nothing would be served\nwrite 1 or more, or `off` for no limit"))
            }
            (text, Err(_)) => {
                let text = text.escape_debug();
                Err(D::Error::custom(format_args!(
                    "`{text}` is not a number that can be\nwrite a whole number, or `off`"
                )))
            }
        }
    }
}

macro_rules! schema {
    ($type:ty, $schema:tt) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                false
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

schema!(Word, {"description": "Text; numbers and booleans are taken as they are written.", "type": ["string", "number", "boolean"]});
schema!(Time, {
    "description": "A duration: `500ms`, `30s`, `5m`, `1h`, `1d` or `1m30s`.",
    "type": "string", "pattern": "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$", "minLength": 2
});
schema!(TimeOrOff, {
    "description": "A duration (`500ms`, `30s`, `5m`, `1h`, `1d`, `1m30s`), or `off`.",
    "type": "string", "pattern": "^(off|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$", "minLength": 2
});
schema!(Bytes, {
    "description": "A size: bytes (`512`), or `64KiB`, `10MiB`, `1GiB`, `10MB`.",
    "type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+(B|[KMGT]iB|[kKMG]B)?$"
});
schema!(BytesOrOff, {
    "description": "A size (`512` bytes, `64KiB`, `10MiB`, `1GiB`, `10MB`), or `off`.",
    "type": ["integer", "string"], "minimum": 0, "pattern": "^(off|[0-9]+(B|[KMGT]iB|[kKMG]B)?)$"
});
schema!(CountOrOff, {
    "description": "A whole number of 1 or more, or `off`.",
    "type": ["integer", "string"], "minimum": 1, "pattern": "^(off|[1-9][0-9]*)$"
});
