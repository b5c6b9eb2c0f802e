//! The balanced schedule behind the weights: which version the n-th weighted choice goes to.
//!
//! A coin per request drifts: after 1,000 requests at 90/10 it is off by 9 or so. This is Tijdeman's solution of the
//! chairman assignment problem instead (R. Tijdeman, "The chairman assignment problem", Discrete Mathematics 32, 1980):
//! after every single choice each version has had its exact share to within 1 - 1/(2k - 2) for k versions, hence to
//! within 1. All in whole numbers, so it is exact.

use std::cmp::Ordering;

use super::weight::{Weight, WeightTable};

/// Who gets the n-th weighted choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// All weights are 0.
    Nobody,
    /// One version has everything; there is nothing to count.
    Always(u8),
    /// Two or more versions share: one period of version indices, 10,000 / gcd of the weights long.
    Slots(Box<[u8]>),
}

impl Schedule {
    /// Lays out the period of a table. The table has at most 256 versions.
    #[must_use]
    pub fn of(table: &WeightTable) -> Self {
        debug_assert!(table.len() <= 256, "a service has at most 10 versions");
        let shares: Vec<(u8, u32)> =
            (0..=u8::MAX).zip(table.iter()).filter(|(_, w)| !w.is_zero()).map(|(v, w)| (v, w.hundredths())).collect();
        match shares[..] {
            [] => Self::Nobody,
            [(only, _)] => Self::Always(only),
            _ => Self::Slots(lay_out(&shares)),
        }
    }

    /// The version index of choice number `n`, counted from 0; `None` where all weights are 0.
    #[must_use]
    pub fn version(&self, n: u64) -> Option<usize> {
        match self {
            Self::Nobody => None,
            Self::Always(version) => Some(usize::from(*version)),
            Self::Slots(slots) => {
                let slot = usize::try_from(n % slots.len() as u64).expect("a period is at most 10,000");
                Some(usize::from(slots[slot]))
            }
        }
    }

    /// How many choices until the schedule repeats itself (1 where nothing is shared).
    #[must_use]
    pub fn period(&self) -> usize {
        match self {
            Self::Slots(slots) => slots.len(),
            Self::Nobody | Self::Always(_) => 1,
        }
    }
}

/// Tijdeman's algorithm over one period. With share p/q of version i after `n` choices and `c` of them its own, the
/// version may be chosen if p*n/q - c >= 1/(2k - 2), where n counts the choice being made; among those, whose next
/// choice is due first wins. Multiplied out by q * (2k - 2), everything is an integer.
fn lay_out(shares: &[(u8, u32)]) -> Box<[u8]> {
    let divisor = shares.iter().fold(Weight::FULL.hundredths(), |a, (_, share)| gcd(a, *share));
    let period = i64::from(Weight::FULL.hundredths() / divisor);
    let spread = 2 * shares.len() as i64 - 2;
    let mut given = vec![0_i64; shares.len()];
    (1..=period)
        .map(|n| {
            let (next, _) = shares
                .iter()
                .enumerate()
                .map(|(i, (_, share))| (i, i64::from(share / divisor)))
                .filter(|(i, share)| (share * n - given[*i] * period) * spread >= period)
                // Due at (given + 1 - 1/spread) / share: the fractions compare multiplied out crosswise.
                .min_by_key(|(i, share)| Due { numerator: (given[*i] + 1) * spread - 1, share: *share })
                .expect("Tijdeman: some version is always eligible");
            given[next] += 1;
            shares[next].0
        })
        .collect()
}

/// The moment by which a version must have its next choice, as a fraction.
#[derive(PartialEq, Eq)]
struct Due {
    numerator: i64,
    share: i64,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.numerator * other.share).cmp(&(other.numerator * self.share))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(hundredths: &[u32]) -> WeightTable {
        let weights: Vec<Weight> = hundredths.iter().filter_map(|h| Weight::from_hundredths(*h)).collect();
        WeightTable::new(weights).expect("sums to 100 or 0")
    }

    /// Random tables that sum to 100%: cut points in 0..=10,000 at a random granularity.
    fn tables() -> impl Strategy<Value = WeightTable> {
        (prop::sample::select(vec![1_u32, 10, 100, 500, 1_000, 2_500]), prop::collection::vec(0_u32..=10_000, 0..9))
            .prop_map(|(step, cuts)| {
                let mut cuts: Vec<u32> = cuts.into_iter().map(|c| c / step * step).chain([0, 10_000]).collect();
                cuts.sort_unstable();
                table(&cuts.windows(2).map(|w| w[1] - w[0]).collect::<Vec<_>>())
            })
    }

    /// Asserts that after every choice each version is within 1 of its share.
    fn assert_within_one(table: &WeightTable, choices: u64) {
        let schedule = Schedule::of(table);
        let mut counts = vec![0_i64; table.len()];
        for n in 0..choices {
            let version = schedule.version(n).expect("weights are not all 0");
            counts[version] += 1;
            for (count, weight) in counts.iter().zip(table.iter()) {
                let off = count * 10_000 - i64::from(weight.hundredths()) * (n as i64 + 1);
                assert!(off.abs() < 10_000, "after {} choices {counts:?} of {table:?}", n + 1);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn every_version_is_within_one_of_its_share_after_every_choice(table in tables(), extra in 0_u64..1_000) {
            let period = Schedule::of(&table).period() as u64;
            assert_within_one(&table, period * 2 + extra);
        }

        #[test]
        fn weight_zero_is_never_chosen_and_periods_are_exact(table in tables()) {
            let schedule = Schedule::of(&table);
            let mut counts = vec![0_usize; table.len()];
            for n in 0..schedule.period() as u64 {
                counts[schedule.version(n).expect("not all 0")] += 1;
            }
            for (count, weight) in counts.iter().zip(table.iter()) {
                prop_assert_eq!(count * 10_000, weight.hundredths() as usize * schedule.period());
            }
        }
    }

    #[test]
    fn a_period_is_as_short_as_the_weights_allow() {
        assert_eq!(Schedule::of(&table(&[9_000, 1_000, 0])).period(), 10);
        assert_eq!(Schedule::of(&table(&[5_000, 5_000])).period(), 2);
        assert_eq!(Schedule::of(&table(&[9_999, 1])).period(), 10_000);
        assert_eq!(Schedule::of(&table(&[0, 10_000])), Schedule::Always(1));
        assert_eq!(Schedule::of(&table(&[0, 0])).version(7), None);
    }

    #[test]
    fn many_threads_share_one_cursor_exactly() {
        use std::sync::atomic::{AtomicU64, Ordering};

        let table = table(&[3_333, 3_333, 3_334]);
        let schedule = Schedule::of(&table);
        let cursor = AtomicU64::new(0);
        let counts: Vec<AtomicU64> = (0..3).map(|_| AtomicU64::new(0)).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..12_345 {
                        let n = cursor.fetch_add(1, Ordering::Relaxed);
                        counts[schedule.version(n).expect("not all 0")].fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let total = 4.0 * 12_345.0;
        for (count, weight) in counts.iter().zip(table.iter()) {
            let off = count.load(Ordering::Relaxed) as f64 - total * weight.percent() / 100.0;
            assert!(off.abs() < 1.0, "{counts:?}");
        }
    }
}
