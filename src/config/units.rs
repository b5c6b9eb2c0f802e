//! Durations and sizes as people write them.

use std::time::Duration;

use thiserror::Error;

/// The longest duration that may be written: 365 days.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The largest size that may be written: 1 PiB.
const LARGEST: u64 = 1 << 50;

/// Units of time with their milliseconds, the largest first.
const TIME_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of size with their bytes.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// Why a text is no duration or size.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnitError {
    /// A duration without its unit.
    #[error("`{0}` has no unit")]
    NoTimeUnit(String),
    /// Not a duration.
    #[error("`{0}` is not a duration")]
    NotADuration(String),
    /// More than a year.
    #[error("`{0}` is longer than 365 days")]
    TooLong(String),
    /// Not a size.
    #[error("`{0}` is not a size")]
    NotASize(String),
    /// More than a pebibyte.
    #[error("`{0}` is more than 1024TiB")]
    TooLarge(String),
}

impl UnitError {
    /// What would be right.
    pub fn help(&self) -> String {
        match self {
            Self::NoTimeUnit(text) => format!("write `{text}s` for seconds, `{text}ms` for milliseconds"),
            Self::NotADuration(_) => {
                "write a duration like `500ms`, `30s`, `5m`, `1h`, `1d` or `1m30s` (largest unit first)".to_owned()
            }
            Self::TooLong(_) => "write at most `365d`".to_owned(),
            Self::NotASize(text) => match suggested_size(text) {
                Some(size) => format!("write `{size}`"),
                None => "write bytes (`512`), or a size like `64KiB`, `10MiB`, `1GiB` or `10MB`".to_owned(),
            },
            Self::TooLarge(_) => "write at most `1024TiB`".to_owned(),
        }
    }
}

/// Reads `500ms`, `30s`, `5m`, `1h`, `1d` or several of them, largest first: `1m30s`. At most 365 days.
///
/// # Errors
/// The text is no such thing.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(if text.bytes().all(|byte| byte == b'0') && text.len() > 1 {
            UnitError::NotADuration(text.to_owned())
        } else {
            UnitError::NoTimeUnit(text.to_owned())
        });
    }
    let bad = || UnitError::NotADuration(text.to_owned());
    let long = || UnitError::TooLong(text.to_owned());
    let mut total: u64 = 0;
    let mut next_unit = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = leading_number(rest);
        let number = number.ok_or_else(|| if after.len() < rest.len() { long() } else { bad() })?;
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let position = TIME_UNITS.iter().position(|(name, _)| *name == unit).ok_or_else(bad)?;
        if position < next_unit {
            return Err(bad());
        }
        next_unit = position + 1;
        total = number.checked_mul(TIME_UNITS[position].1).and_then(|ms| total.checked_add(ms)).ok_or_else(long)?;
        rest = after;
    }
    if next_unit == 0 {
        return Err(bad());
    }
    let duration = Duration::from_millis(total);
    if duration > LONGEST { Err(long()) } else { Ok(duration) }
}

/// Reads bytes (`512`), or `64KiB`, `10MiB`, `1GiB`, `10MB`. At most 1 PiB.
///
/// # Errors
/// The text is no such thing.
pub fn size(text: &str) -> Result<u64, UnitError> {
    let bad = || UnitError::NotASize(text.to_owned());
    let large = || UnitError::TooLarge(text.to_owned());
    let (number, unit) = leading_number(text);
    let number = number.ok_or_else(|| if unit.len() < text.len() { large() } else { bad() })?;
    let factor = match unit {
        "" => 1,
        _ => SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?.1,
    };
    let bytes = number.checked_mul(factor).ok_or_else(large)?;
    if bytes > LARGEST { Err(large()) } else { Ok(bytes) }
}

/// The digits that a text begins with, as a number if they fit one, and what follows them.
fn leading_number(text: &str) -> (Option<u64>, &str) {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    (number.parse().ok(), rest)
}

/// `10M`, `10 mib`, `10mb`: what was probably meant.
fn suggested_size(text: &str) -> Option<String> {
    let (number, unit) = leading_number(text.trim());
    let number = number?;
    let unit = unit.trim();
    let mut guesses = SIZE_UNITS.iter().map(|(name, _)| *name);
    let found = guesses
        .clone()
        .find(|name| name.eq_ignore_ascii_case(unit))
        .or_else(|| guesses.find(|name| name.len() == 3 && unit.len() == 1 && name[..1].eq_ignore_ascii_case(unit)))?;
    Some(format!("{number}{found}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let ok = [
            ("500ms", 500),
            ("0s", 0),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("1m30s", 90_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("365d", 31_536_000_000),
        ];
        for (text, ms) in ok {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "1.5s", "-1s", "30s1m", "1s1s", "1 s", "1w", "1S", "ü", "1ü", "30sec"] {
            assert_eq!(duration(text), Err(UnitError::NotADuration(text.to_owned())), "{text}");
        }
        for text in ["366d", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(duration(text), Err(UnitError::TooLong(text.to_owned())), "{text}");
        }
        assert_eq!(duration("30"), Err(UnitError::NoTimeUnit("30".to_owned())));
        assert!(duration("30").unwrap_err().help().contains("`30s`"));
    }

    #[test]
    fn sizes() {
        let ok =
            [("0", 0), ("512", 512), ("64KiB", 65_536), ("10MiB", 10 << 20), ("1GiB", 1 << 30), ("10MB", 10_000_000)];
        for (text, bytes) in ok {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5MiB", "10 MiB", "10M", "10mib", "ü"] {
            assert_eq!(size(text), Err(UnitError::NotASize(text.to_owned())), "{text}");
        }
        assert_eq!(size("99999999999999999999"), Err(UnitError::TooLarge("99999999999999999999".to_owned())));
        assert_eq!(size("1025TiB"), Err(UnitError::TooLarge("1025TiB".to_owned())));
        for (text, cure) in [("10M", "`10MiB`"), ("10 mib", "`10MiB`"), ("10k", "`10KiB`"), ("10mb", "`10MB`")] {
            assert!(size(text).unwrap_err().help().contains(cure), "{text}");
        }
    }
}
