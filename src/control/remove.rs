//! Versions and services that are taken away.

use serde::Serialize;

use super::edit::{Desk, EditRefused};
use super::traffic::{Moved, Plan};
use crate::config::edit::store::{StoreError, WriteLock};
use crate::config::edit::{Change, Value};
use crate::config::home::{Draft, Home};
use crate::model::weight::Weight;

/// A version that is gone from its file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Deleted {
    /// Its name, which no other will have.
    pub version: String,
    /// What became of the traffic, where it had some.
    pub moved: Vec<Moved>,
    /// How many rules went with it.
    pub rules: usize,
}

/// Takes a version out of its service's file. With `force` also one that has traffic: others get its share in proportion to theirs, and
/// rules that point at it go.
///
/// # Errors
/// There is no such version, it has traffic, it is the only one, or the file cannot be edited.
pub fn version(home: &Home, version: &str, force: bool) -> Result<Deleted, EditRefused> {
    let (desk, name) = Desk::of_version(home, version)?;
    desk.edit(|draft| {
        let index = desk.version(draft, name.as_str())?;
        let weight = draft.service.weights.get(index);
        let service = &desk.name;
        if !weight.is_zero() && !force && draft.service.versions.len() > 1 {
            return Err(EditRefused::Senseless(format!(
                "`{name}` has {weight}% of the traffic: move it away first with `tidegate traffic {service} VERSION=PERCENT`, or `--force` gives it to the others"
            )));
        }
        let rules: Vec<usize> = (0..draft.rules.len()).filter(|&rule| draft.rules[rule] == name.as_str()).collect();
        if !rules.is_empty() && !force {
            return Err(EditRefused::Senseless(format!(
                "a rule of {service} points at `{name}`: take it out of `rules` first, or `--force` does"
            )));
        }
        let policy = &draft.service.policy;
        if draft.service.versions.len() == 1 && policy.redirect.is_none() && policy.maintenance.is_none() {
            return Err(EditRefused::Senseless(format!(
                "`{name}` is the only version of {service}: deploy another first, or remove the service with `tidegate service delete {service}`"
            )));
        }
        let (mut changes, moved) = without_weight(draft, name.as_str(), weight)?;
        changes.extend(rules.iter().rev().map(|rule| Change::remove_item(["rules"], *rule)));
        changes.push(Change::remove(["versions", name.as_str()]));
        Ok((changes, Deleted { version: name.to_string(), moved, rules: rules.len() }))
    })
}

/// The edits of all that names a version beside `versions` and `rules`.
fn without_weight(draft: &Draft, name: &str, weight: Weight) -> Result<(Vec<Change>, Vec<Moved>), EditRefused> {
    let mut changes = Vec::new();
    let highest = draft.service.versions.iter().map(|version| version.name.number()).max().unwrap_or(0);
    if draft.last_version.is_none_or(|last| last < highest) {
        changes.push(Change::set(["last_version"], Value::number(highest)));
    }
    let mut moved = Vec::new();
    if !weight.is_zero() {
        let plan = Plan::with(draft, name, Weight::ZERO)?;
        moved = plan.moved(draft);
        changes.push(plan.written(draft));
    }
    changes.push(Change::remove(["weights", name]));
    // Without its share what was before sums to less than 100, and is nothing to return to.
    let has_share = draft.previous_weights.iter().flatten().any(|(other, _)| other == name);
    changes.push(if has_share {
        Change::remove(["previous_weights"])
    } else {
        Change::remove(["previous_weights", name])
    });
    Ok((changes, moved))
}

/// Removes a service with its file. Says which versions it had.
///
/// # Errors
/// There is no such service, it has traffic and this is not forced, or the file cannot be removed.
pub fn service(home: &Home, service: &str, force: bool) -> Result<Vec<String>, EditRefused> {
    let desk = Desk::open(home, service)?;
    let lock = WriteLock::take(&home.services)?;
    let path = desk.file();
    let text = std::fs::read_to_string(&path).map_err(|source| StoreError::Read { path: path.clone(), source })?;
    let versions = match home.understand(&desk.name, &text) {
        Ok(draft) => {
            let with_traffic = draft.weights().find(|(_, weight)| !weight.is_zero());
            if let Some((version, weight)) = with_traffic.filter(|_| !force) {
                return Err(EditRefused::Senseless(format!(
                    "{service} serves traffic ({version} has {weight}%): `--force` removes it all the same, with {}",
                    path.display()
                )));
            }
            draft.service.versions.iter().map(|version| version.name.to_string()).collect()
        }
        Err(_) if force => Vec::new(),
        Err(found) => return Err(EditRefused::broken(&found)),
    };
    lock.remove(&path, &text)?;
    Ok(versions)
}
