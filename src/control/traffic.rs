//! Who gets how much of a service's traffic, and what it was before.

use serde::Serialize;

use super::edit::{Desk, EditRefused};
use crate::config::edit::{Change, Value};
use crate::config::home::Draft;
use crate::model::weight::Weight;

/// A version and its share, as typed: `3=10`, `shop-003=33.33`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// What was typed for the version.
    pub version: String,
    /// Its share.
    pub weight: Weight,
}

impl std::str::FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (version, percent) = text.split_once('=').ok_or("write VERSION=PERCENT, such as shop-002=10 or 2=10")?;
        let number: Option<f64> = percent.strip_suffix('%').unwrap_or(percent).parse().ok();
        let weight = number.and_then(Weight::from_percent);
        let weight =
            weight.ok_or_else(|| format!("`{percent}` is not a percentage from 0 to 100 with at most two decimals"))?;
        if version.is_empty() {
            return Err("write VERSION=PERCENT, such as shop-002=10 or 2=10".to_owned());
        }
        Ok(Self { version: version.to_owned(), weight })
    }
}

/// A version's share before and after.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Moved {
    /// The version.
    pub version: String,
    /// Percent before.
    pub before: f64,
    /// Percent now.
    pub weight: f64,
}

/// Weights to be, by version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan(Vec<(String, Weight)>);

impl Plan {
    /// As a person has typed it; versions that are not named get nothing.
    ///
    /// # Errors
    /// A version is not there or named twice, or they sum to neither 100 nor 0.
    pub fn of(desk: &Desk<'_>, draft: &Draft, shares: &[Share]) -> Result<Self, EditRefused> {
        let mut weights = vec![None; draft.service.versions.len()];
        for share in shares {
            let index = desk.version(draft, &share.version)?;
            if weights[index].replace(share.weight).is_some() {
                let name = &draft.service.versions[index].name;
                return Err(EditRefused::Senseless(format!("`{name}` is named twice: give it one percentage")));
            }
        }
        let sum: u32 = weights.iter().flatten().map(|weight| weight.hundredths()).sum();
        if sum != 0 && sum != Weight::FULL.hundredths() {
            return Err(EditRefused::Senseless(wrong_sum(draft, &weights, sum)));
        }
        let names = draft.service.versions.iter().map(|version| version.name.to_string());
        Ok(Self(names.zip(weights).map(|(name, weight)| (name, weight.unwrap_or_default())).collect()))
    }

    /// What it was before the last change.
    ///
    /// # Errors
    /// Nothing is known, or a version of then is gone.
    pub fn previous(desk: &Desk<'_>, draft: &Draft) -> Result<Self, EditRefused> {
        let service = &desk.name;
        let previous = draft.previous_weights.as_ref().ok_or_else(|| {
            EditRefused::Senseless(format!(
                "nothing to return to: `previous_weights` of {service} is written with the first change of traffic; set it with `tidegate traffic {service} VERSION=PERCENT`"
            ))
        })?;
        if let Some((gone, _)) = previous.iter().find(|(name, _)| draft.service.version(name).is_none()) {
            return Err(EditRefused::Senseless(format!(
                "cannot return to what was: `{gone}` is gone; set the traffic with `tidegate traffic {service} VERSION=PERCENT`"
            )));
        }
        let weight = |name: &str| previous.iter().find(|(other, _)| other == name).map_or(Weight::ZERO, |(_, w)| *w);
        let names = draft.service.versions.iter().map(|version| version.name.to_string());
        Ok(Self(
            names
                .map(|name| {
                    let weight = weight(&name);
                    (name, weight)
                })
                .collect(),
        ))
    }

    /// So much for one version; the others share the rest in proportion to what they have, rounded by largest remainders.
    ///
    /// # Errors
    /// No other version has anything, so that nobody would take the rest.
    pub fn with(draft: &Draft, version: &str, weight: Weight) -> Result<Self, EditRefused> {
        let others: Vec<(String, u64)> = draft
            .weights()
            .filter(|(name, _)| name.as_str() != version)
            .map(|(name, weight)| (name.to_string(), u64::from(weight.hundredths())))
            .collect();
        let rest = u64::from(Weight::FULL.hundredths() - weight.hundredths());
        let sum: u64 = others.iter().map(|(_, weight)| weight).sum();
        if sum == 0 && rest > 0 && !weight.is_zero() {
            return Err(EditRefused::Senseless(format!(
                "no other version has traffic, so {version} gets all or nothing: write `--traffic 100` or `--traffic 0`"
            )));
        }
        if weight.is_zero() && sum == 0 {
            return Ok(Self(draft.weights().map(|(name, _)| (name.to_string(), Weight::ZERO)).collect()));
        }
        let mut shares: Vec<(String, u64, u64)> = others
            .into_iter()
            .map(|(name, weight)| {
                (name, (weight * rest).checked_div(sum).unwrap_or(0), (weight * rest).checked_rem(sum).unwrap_or(0))
            })
            .collect();
        let mut left = rest - shares.iter().map(|(_, share, _)| share).sum::<u64>().min(rest);
        let mut order: Vec<usize> = (0..shares.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(shares[index].2));
        for index in order {
            if left == 0 {
                break;
            }
            shares[index].1 += 1;
            left -= 1;
        }
        let hundredths = |share: u64| u32::try_from(share).ok().and_then(Weight::from_hundredths).unwrap_or_default();
        let mut all: Vec<_> = shares.into_iter().map(|(name, share, _)| (name, hundredths(share))).collect();
        all.push((version.to_owned(), weight));
        Ok(Self(all))
    }

    /// The versions that get more than they have.
    #[must_use]
    pub fn gainers(&self, draft: &Draft) -> Vec<String> {
        self.moved(draft).into_iter().filter(|moved| moved.weight > moved.before).map(|moved| moved.version).collect()
    }

    /// What comes of it, by version's number.
    #[must_use]
    pub fn moved(&self, draft: &Draft) -> Vec<Moved> {
        let after =
            |name: &str| self.0.iter().find(|(other, _)| other == name).map_or(0.0, |(_, weight)| weight.percent());
        draft
            .weights()
            .map(|(name, before)| Moved {
                version: name.to_string(),
                before: before.percent(),
                weight: after(name.as_str()),
            })
            .collect()
    }

    /// The edit: `weights`, and what they were in `previous_weights`.
    #[must_use]
    pub fn changes(&self, draft: &Draft) -> Vec<Change> {
        let before: Vec<_> = draft.weights().map(|(name, weight)| (name.to_string(), weight)).collect();
        let is_same = before.iter().all(|(name, weight)| self.weight(name) == *weight);
        let mut changes = vec![self.written(draft)];
        // What nobody was served by is nothing to return to.
        if !is_same && before.iter().any(|(_, weight)| !weight.is_zero()) {
            let shares = before.iter().filter(|(_, weight)| !weight.is_zero());
            let value = Value::map(shares.map(|(name, weight)| (name, Value::number(weight))));
            changes.push(Change::set(["previous_weights"], value));
        }
        changes
    }

    /// The edit of `weights` alone.
    #[must_use]
    pub fn written(&self, draft: &Draft) -> Change {
        // Who is in the file stays there, also with 0; for a file without weights all are told.
        let kept = |name: &String| draft.weighted.as_ref().is_none_or(|weighted| weighted.contains(name));
        let shares = self.0.iter().filter(|(name, weight)| !weight.is_zero() || kept(name));
        Change::set(["weights"], Value::map(shares.map(|(name, weight)| (name, Value::number(weight)))))
    }

    fn weight(&self, name: &str) -> Weight {
        self.0.iter().find(|(other, _)| other == name).map_or(Weight::ZERO, |(_, weight)| *weight)
    }
}

/// What is wrong with a sum, and a command that would be right: the rest for who has most now and was not named.
fn wrong_sum(draft: &Draft, weights: &[Option<Weight>], sum: u32) -> String {
    let percent = |hundredths: u32| f64::from(hundredths) / 100.0;
    let message = format!("the percentages sum to {}, not 100", percent(sum));
    let Some(missing) = Weight::FULL.hundredths().checked_sub(sum) else {
        return format!("{message}: take {} off somewhere", percent(sum - Weight::FULL.hundredths()));
    };
    let unnamed = draft.weights().zip(weights).filter(|(_, weight)| weight.is_none()).map(|(version, _)| version);
    let taker = unnamed.max_by_key(|(name, weight)| (*weight, std::cmp::Reverse(name.number())));
    let named =
        draft.weights().zip(weights).filter_map(|((name, _), weight)| weight.map(|weight| format!("{name}={weight}")));
    match taker {
        Some((taker, _)) => {
            let all: Vec<_> = named.chain([format!("{taker}={}", percent(missing))]).collect();
            format!(
                "{message}; versions that are not named get 0. Did you mean: tidegate traffic {} {}",
                draft.service.name,
                all.join(" ")
            )
        }
        None => format!("{message}: add {} somewhere", percent(missing)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::home::Home;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().join("tidegate.yaml");
        std::fs::write(&root, "{}\n").expect("write");
        let home = Home::read(&root).expect("good");
        (dir, home)
    }

    /// Versions with these weights, in hundredths.
    fn draft(home: &Home, hundredths: &[u32]) -> Draft {
        let percent = |number: &u32| f64::from(*number) / 100.0;
        let name = |index: usize| format!("shop-{:03}", index + 1);
        let weights: Vec<_> =
            hundredths.iter().enumerate().map(|(at, w)| format!("{}: {}", name(at), percent(w))).collect();
        let versions = (0..hundredths.len()).map(|at| format!("{}: {{urls: [\"http://h:1\"]}}", name(at)));
        let versions: Vec<_> = versions.collect();
        let text = format!("weights: {{{}}}\nversions: {{{}}}\n", weights.join(", "), versions.join(", "));
        let shop = crate::model::name::ServiceName::new("shop").expect("a name");
        home.understand(&shop, &text).expect("good")
    }

    #[test]
    fn shares_are_typed_with_two_decimals() {
        let share = |text: &str| text.parse::<Share>().map(|share| share.weight.hundredths());
        assert_eq!((share("3=10"), share("shop-003=33.33%")), (Ok(1_000), Ok(3_333)));
        for wrong in ["3", "=5", "3=", "3=x", "3=1.234", "3=101", "3=-1"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn the_others_share_the_rest_in_proportion(cuts in prop::collection::vec(0_u32..=10_000, 0..8), own in 0_u32..=10_000) {
            let (_dir, home) = home();
            let mut cuts = cuts;
            cuts.sort_unstable();
            let edges: Vec<u32> = [0].into_iter().chain(cuts).chain([10_000]).collect();
            let mut shares: Vec<u32> = edges.windows(2).map(|pair| pair[1] - pair[0]).collect();
            shares.push(0);
            let draft = draft(&home, &shares);
            let newest = format!("shop-{:03}", shares.len());
            let plan = Plan::with(&draft, &newest, Weight::from_hundredths(own).expect("in range")).expect("others have all");
            let after: Vec<u32> = plan.0.iter().map(|(_, weight)| weight.hundredths()).collect();
            prop_assert_eq!(after.iter().sum::<u32>(), 10_000);
            prop_assert_eq!(*after.last().expect("the new one"), own);
            for (before, after) in shares.iter().zip(&after[..after.len() - 1]) {
                let exact = f64::from(*before) * f64::from(10_000 - own) / 10_000.0;
                prop_assert!((f64::from(*after) - exact).abs() < 1.0, "{} became {}", before, after);
                prop_assert!(*before > 0 || *after == 0, "who has nothing gets nothing");
            }
        }
    }
}
