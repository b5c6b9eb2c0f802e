//! Who has which (host, path): it is unique over all services, and only seen when all files are together.
//!
//! Where two files claim the same, the one that has just changed is held back; of two that both have, the later by name.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::diagnostic::{Diagnostic, Label};
use crate::config::source::{Source, Span};
use crate::model::host::HostPattern;
use crate::model::name::ServiceName;
use crate::model::path::PathPrefix;
use crate::model::route::Route;
use crate::model::service::Service;
use crate::model::version::Preview;

/// A form of a service that could be in force.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) service: Arc<Service>,
    /// Its file.
    pub(crate) path: std::path::PathBuf,
    /// Where the file claims its routes, by index of the route.
    pub(crate) places: Vec<Span>,
}

/// A service that wants to be in force, by its newest good form.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) form: Arc<Form>,
    /// What was in force before, if that is another form.
    pub(crate) fallback: Option<Arc<Form>>,
    /// Whether the form is a new one.
    pub(crate) changed: bool,
}

/// What came of a candidate.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// The form to be in force, if any.
    pub(crate) form: Option<Arc<Form>>,
    /// Why it is not the one that the file has.
    pub(crate) conflicts: Vec<Diagnostic>,
}

type Place = (HostPattern, PathPrefix);

/// Who holds a place: the form, and the index of its route; no index for a default or preview domain.
type Holders = HashMap<Place, (Arc<Form>, Option<usize>)>;

/// Decides for all candidates at once; they come and the verdicts go in the order of their names.
///
/// # Errors
/// Forms that have been in force together are in conflict now: `base_domain` must have changed, and tidegate.yaml is at fault.
pub(crate) fn settle(
    candidates: &[(ServiceName, Candidate)],
    base_domain: &str,
) -> Result<Vec<Verdict>, Vec<Diagnostic>> {
    let mut verdicts: Vec<Verdict> =
        candidates.iter().map(|(_, c)| Verdict { form: Some(Arc::clone(&c.form)), conflicts: Vec::new() }).collect();
    // Whoever was sent back to an earlier form; each round sends at least one more back, or is the last.
    let mut sent_back = vec![false; candidates.len()];
    'round: loop {
        let mut holders = Holders::with_capacity(candidates.len() * 2);
        let is_old = |index: &usize, sent_back: &[bool]| !candidates[*index].1.changed || sent_back[*index];
        let old: Vec<usize> = (0..candidates.len()).filter(|index| is_old(index, &sent_back)).collect();
        let new: Vec<usize> = (0..candidates.len()).filter(|index| !is_old(index, &sent_back)).collect();
        for index in old {
            let Some(form) = verdicts[index].form.clone() else { continue };
            claim(&mut holders, &form, base_domain)?;
        }
        for index in new {
            let candidate = &candidates[index].1;
            let Err(conflicts) = claim(&mut holders, &candidate.form, base_domain) else { continue };
            sent_back[index] = true;
            verdicts[index] = Verdict { form: candidate.fallback.clone(), conflicts };
            if candidate.fallback.is_some() {
                // What was in force goes before all that is new, and some of that has been let in already.
                continue 'round;
            }
        }
        return Ok(verdicts);
    }
}

/// Takes all places of a form, or none.
fn claim(holders: &mut Holders, form: &Arc<Form>, base_domain: &str) -> Result<(), Vec<Diagnostic>> {
    let service = &form.service;
    let own = |label: &str| (HostPattern::Exact(format!("{label}.{base_domain}").into()), PathPrefix::root());
    let previews = service.versions.iter().filter(|version| version.preview != Preview::Off);
    let mut places: Vec<(Place, Option<usize>)> = vec![(own(service.name.as_str()), None)];
    places.extend(previews.map(|version| (own(version.name.as_str()), None)));
    let own_places = places.len();
    places.extend(service.routes.iter().enumerate().map(|(index, route)| (place(route), Some(index))));

    let mut conflicts = Vec::new();
    for (at, (place, route)) in places.iter().enumerate() {
        if let Some((holder, held_by)) = holders.get(place) {
            let (here, there) = (label(form, *route), label(holder, *held_by));
            let message =
                format!("`{}{}` is claimed by {} and by {}", place.0, place.1, holder.service.name, service.name);
            conflicts.push(
                Diagnostic::error(message, here.text(what(*route)))
                    .also(there.text(what(*held_by)))
                    .help("each host and path belongs to one service: take it out of one of the files"),
            );
        } else if at >= own_places && places[..own_places].iter().any(|(own, _)| own == place) {
            let message = format!("service {} has `{}` without being told so", service.name, place.0);
            conflicts.push(Diagnostic::error(message, label(form, *route)).help("take it out, or give it a path"));
        }
    }
    if conflicts.is_empty() {
        holders.extend(places.into_iter().map(|(place, route)| (place, (Arc::clone(form), route))));
        Ok(())
    } else {
        Err(conflicts)
    }
}

fn place(route: &Route) -> Place {
    (route.host.clone(), route.path.clone())
}

fn what(route: Option<usize>) -> &'static str {
    if route.is_some() { "claimed here" } else { "its own domain" }
}

/// The place of a claim, by the index of its route. The text is read again, since keeping all texts for this rare case would cost memory.
pub(crate) fn label(form: &Form, route: Option<usize>) -> Label {
    let place = route.and_then(|index| form.places.get(index));
    match (place, Source::read(&form.path)) {
        (Some(place), Ok(source)) if place.end <= source.text.len() => Label::at(&Arc::new(source), *place),
        _ => Label::file(&form.path),
    }
}
