//! RFC 3339 timestamps in UTC, for both logs and the status; no time zones, no locale, no allocation.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

const DAY: u64 = 24 * 60 * 60;

/// A moment, shown as `2026-01-31T23:59:59.999Z`. Moments before 1970 show as its first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp(pub SystemTime);

impl Timestamp {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        Self(SystemTime::now())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (year, month, day) = civil(since.as_secs() / DAY);
        let second = since.as_secs() % DAY;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
    }
}

/// Year, month and day of a day counted from 1970-01-01: `civil_from_days` of Howard Hinnant's "chrono-Compatible Low-Level Date
/// Algorithms", for days that are not negative.
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468; // from 0000-03-01
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153; // March is 0
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn known_moments() {
        let show = |millis| Timestamp(UNIX_EPOCH + Duration::from_millis(millis)).to_string();
        assert_eq!(show(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(show(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(show(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(show(951_868_800_000), "2000-03-01T00:00:00.000Z");
        assert_eq!(show(1_735_689_599_042), "2024-12-31T23:59:59.042Z");
        assert_eq!(show(4_102_444_800_000), "2100-01-01T00:00:00.000Z");
        assert_eq!(show(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }
}
