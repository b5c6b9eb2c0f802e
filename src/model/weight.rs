//! Weights: what part of a service's weighted choices each version gets.

use std::fmt;

/// A percentage with two decimals, 0.00 to 100.00, held in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Weight(u16);

impl Weight {
    /// 0%: never chosen.
    pub const ZERO: Self = Self(0);
    /// 100%.
    pub const FULL: Self = Self(10_000);

    /// From hundredths of a percent; `None` above 10,000.
    #[must_use]
    pub fn from_hundredths(hundredths: u32) -> Option<Self> {
        u16::try_from(hundredths).ok().filter(|h| *h <= Self::FULL.0).map(Self)
    }

    /// From a percentage; `None` below 0, above 100 or with more than two decimals.
    #[must_use]
    pub fn from_percent(percent: f64) -> Option<Self> {
        let hundredths = percent * 100.0;
        let rounded = hundredths.round();
        // A decimal such as 33.33 is not exact in binary; what it is off by is far below a millionth.
        if !(0.0..=10_000.0).contains(&rounded) || (hundredths - rounded).abs() > 1e-6 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to lie in 0..=10,000")]
        Some(Self(rounded as u16))
    }

    /// Hundredths of a percent, 0 to 10,000.
    #[must_use]
    pub fn hundredths(self) -> u32 {
        u32::from(self.0)
    }

    /// The percentage, 0.0 to 100.0.
    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// Whether nothing is to be sent here.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.percent())
    }
}

/// Weights that are neither 0 in all nor sum to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the weights sum to {}, not 100", f64::from(*.hundredths) / 100.0)]
pub struct WeightSumError {
    /// What they sum to, in hundredths of a percent.
    pub hundredths: u32,
}

/// The weights of a service's versions, by version index: they sum to 100, or all are 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WeightTable(Box<[Weight]>);

impl WeightTable {
    /// Checks the sum.
    pub fn new(weights: impl Into<Box<[Weight]>>) -> Result<Self, WeightSumError> {
        let weights = weights.into();
        let hundredths = weights.iter().map(|w| w.hundredths()).sum();
        if hundredths == 0 || hundredths == Weight::FULL.hundredths() {
            Ok(Self(weights))
        } else {
            Err(WeightSumError { hundredths })
        }
    }

    /// The weight of the version with this index; 0 for one that is not listed.
    #[must_use]
    pub fn get(&self, version: usize) -> Weight {
        self.0.get(version).copied().unwrap_or_default()
    }

    /// The weights by version index.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Weight> + '_ {
        self.0.iter().copied()
    }

    /// How many versions the table knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the table knows no version.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_two_decimals() {
        assert_eq!(Weight::from_percent(33.33).map(Weight::hundredths), Some(3333));
        assert_eq!(Weight::from_percent(0.01).map(Weight::hundredths), Some(1));
        assert_eq!(Weight::from_percent(100.0), Some(Weight::FULL));
        for bad in [-1.0, 100.01, 33.333, f64::NAN, f64::INFINITY] {
            assert_eq!(Weight::from_percent(bad), None, "{bad}");
        }
        for hundredths in 0..=10_000 {
            let weight = Weight::from_hundredths(hundredths).expect("in range");
            assert_eq!(Weight::from_percent(weight.percent()), Some(weight));
        }
    }

    #[test]
    fn a_table_sums_to_100_or_to_nothing() {
        let weights = |list: &[u32]| list.iter().filter_map(|h| Weight::from_hundredths(*h)).collect::<Vec<_>>();
        assert!(WeightTable::new(weights(&[9_000, 1_000])).is_ok());
        assert!(WeightTable::new(weights(&[0, 0])).is_ok());
        let error = WeightTable::new(weights(&[9_000, 500])).expect_err("95");
        assert_eq!(error.to_string(), "the weights sum to 95, not 100");
    }
}
