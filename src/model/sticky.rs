//! Sticky choices: the same client goes to the same version for as long as the weights allow.
//!
//! A key is mapped by weighted rendezvous hashing (C. Schindelhauer and G. Schomaker, "Weighted Distributed Hash Tables",
//! SPAA 2005): each version scores `-weight / ln(h)` with `h` in (0, 1) hashed from key and version, and the highest score
//! wins. So between two versions exactly the shifted share of the keys moves when weights change, and restoring a table
//! restores every user. The hash is our own and fixed: it may never change between releases.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderName;

use super::weight::WeightTable;

/// Where the key of a client comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sticky {
    /// A cookie of this name; a random key is set where there is none, for this long.
    Cookie {
        /// The cookie's name.
        name: Box<str>,
        /// `Max-Age` of the cookie; `None` for one that ends with the browser session.
        ttl: Option<Duration>,
    },
    /// The value of a header; requests without it go by weights.
    Header(HeaderName),
    /// The client's address.
    Client,
}

/// A client's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StickyKey(u64);

impl StickyKey {
    /// The key of a text.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        Self(hash_bytes(text.as_bytes()))
    }

    /// The key of an address; an IPv4 address mapped into IPv6 has the key of the IPv4 address.
    #[must_use]
    pub fn of_address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(hash_bytes(&v4.octets())),
            IpAddr::V6(v6) => Self(hash_bytes(&v6.octets())),
        }
    }

    /// The version (by index) that this key goes to; `None` where all weights are 0. `numbers` are the versions' numbers,
    /// by index: they and not the indices are hashed, since they never change.
    #[must_use]
    pub fn pick(self, weights: &WeightTable, numbers: impl Iterator<Item = u32>) -> Option<usize> {
        weights
            .iter()
            .zip(numbers)
            .enumerate()
            .filter(|(_, (weight, _))| !weight.is_zero())
            .map(|(index, (weight, number))| {
                (index, weight.percent() / -unit(mix(self.0 ^ mix(u64::from(number)))).ln())
            })
            .max_by(|(_, a), (_, b)| a.total_cmp(b))
            .map(|(index, _)| index)
    }
}

/// FNV-1a, then mixed.
fn hash_bytes(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)))
}

/// The finaliser of SplitMix64 (S. Vigna, public domain).
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number in (0, 1), never its ends, from the upper 53 bits.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
fn unit(hash: u64) -> f64 {
    ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::weight::Weight;

    fn table(percents: &[f64]) -> WeightTable {
        WeightTable::new(percents.iter().filter_map(|p| Weight::from_percent(*p)).collect::<Vec<_>>()).expect("sums")
    }

    fn picks(table: &WeightTable, keys: usize) -> Vec<usize> {
        (0..keys)
            .map(|k| StickyKey::of_text(&format!("user-{k}")).pick(table, 1..=table.len() as u32).expect("not all 0"))
            .collect()
    }

    fn moved(a: &WeightTable, b: &WeightTable) -> f64 {
        let keys = 40_000;
        let (a, b) = (picks(a, keys), picks(b, keys));
        a.iter().zip(&b).filter(|(x, y)| x != y).count() as f64 / keys as f64
    }

    #[test]
    fn shares_follow_the_weights_and_zero_is_never_picked() {
        let keys = 40_000;
        let picks = picks(&table(&[70.0, 0.0, 25.0, 5.0]), keys);
        for (version, share) in [(0, 0.70), (1, 0.0), (2, 0.25), (3, 0.05)] {
            let got = picks.iter().filter(|p| **p == version).count() as f64 / keys as f64;
            assert!((got - share).abs() < 0.01, "version {version}: {got} of {share}");
        }
        assert!(!picks.contains(&1));
    }

    #[test]
    fn between_two_versions_exactly_the_shifted_share_moves() {
        for (from, to) in [(90.0, 80.0), (50.0, 10.0), (100.0, 99.0), (0.0, 5.0)] {
            let (before, after) = (table(&[from, 100.0 - from]), table(&[to, 100.0 - to]));
            let (a, b) = (picks(&before, 40_000), picks(&after, 40_000));
            let toward = usize::from(to < from);
            for (x, y) in a.iter().zip(&b) {
                assert!(x == y || *y == toward, "a key moved against the shift");
            }
            let share = moved(&before, &after);
            assert!((share - f64::abs(to - from) / 100.0).abs() < 0.01, "{from} -> {to}: {share}");
        }
    }

    #[test]
    fn with_more_versions_a_shift_moves_at_most_the_bound() {
        for (before, after, shift) in [
            ([60.0, 30.0, 10.0], [50.0, 30.0, 20.0], 0.10),
            ([34.0, 33.0, 33.0], [4.0, 63.0, 33.0], 0.30),
            ([80.0, 10.0, 10.0], [10.0, 80.0, 10.0], 0.70),
        ] {
            let share = moved(&table(&before), &table(&after));
            assert!(share <= 2.0 * shift / (1.0 + shift) + 0.01, "{before:?} -> {after:?}: {share}");
            assert!(share >= shift - 0.01, "fewer keys moved than weight did: {share}");
        }
    }

    #[test]
    fn restoring_a_table_restores_every_user() {
        let before = table(&[60.0, 30.0, 10.0]);
        let _elsewhere = picks(&table(&[0.0, 0.0, 100.0]), 100);
        assert_eq!(picks(&before, 5_000), picks(&table(&[60.0, 30.0, 10.0]), 5_000));
    }

    #[test]
    fn the_hash_never_changes() {
        let picks = picks(&table(&[50.0, 50.0]), 16);
        assert_eq!(picks, [1, 1, 1, 1, 0, 1, 0, 1, 1, 1, 0, 0, 1, 0, 1, 1]);
    }
}
