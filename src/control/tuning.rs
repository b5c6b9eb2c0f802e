//! What of a service can be changed at any time by a command: how many instances a version has, and the domains.

use super::edit::{Desk, EditRefused, names};
use crate::config::edit::{Change, Value};
use crate::config::home::Home;
use crate::model::host::HostPattern;
use crate::model::version::Replicas;

/// Sets how many instances a version has; what is not given stays as it is.
///
/// # Errors
/// There is no such version, there would be fewer at most than at least, or the file cannot be edited.
pub fn scale(
    home: &Home,
    version: &str,
    min: Option<u32>,
    max: Option<u32>,
) -> Result<(String, Replicas), EditRefused> {
    let (desk, name) = Desk::of_version(home, version)?;
    desk.edit(|draft| {
        let before = draft.service.versions[desk.version(draft, name.as_str())?].replicas;
        let after = Replicas { min: min.unwrap_or(before.min), max: max.unwrap_or(before.max) };
        if after.min > after.max {
            let Replicas { min, max } = after;
            let cure = format!("tidegate scale {name} --min {min} --max {min}");
            return Err(EditRefused::Senseless(format!("at least {min} and at most {max} cannot be: try {cure}")));
        }
        let value = Value::map([("min", Value::number(after.min)), ("max", Value::number(after.max))]);
        let changes = if after == before {
            Vec::new()
        } else {
            vec![Change::set(["versions", name.as_str(), "replicas"], value)]
        };
        Ok((changes, (name.to_string(), after)))
    })
}

/// Gives a service one more domain; false if it has it already.
///
/// # Errors
/// It is none, another service has it, or the file cannot be edited.
pub fn add_domain(home: &Home, service: &str, domain: &str) -> Result<bool, EditRefused> {
    let desk = Desk::open(home, service)?;
    let host = host(domain)?;
    for other in home.names().into_iter().filter(|other| *other != desk.name) {
        // A file with errors is for others to mend; the server decides whose the domain is then.
        let Ok(draft) = Desk { home, name: other.clone() }.read() else { continue };
        if draft.service.routes.iter().any(|route| route.host == host && route.path.is_empty()) {
            return Err(EditRefused::Senseless(format!(
                "`{domain}` is a domain of service {other}: take it out there first, with `tidegate domain remove {other} {domain}`"
            )));
        }
    }
    desk.edit(|draft| {
        let has_it = draft.service.routes.iter().any(|route| route.host == host && route.path.is_empty());
        let changes = if has_it { Vec::new() } else { vec![Change::push(["domains"], Value::text(&host.to_string()))] };
        Ok((changes, !has_it))
    })
}

/// Takes a domain from a service.
///
/// # Errors
/// It has no such domain, or the file cannot be edited.
pub fn remove_domain(home: &Home, service: &str, domain: &str) -> Result<(), EditRefused> {
    let desk = Desk::open(home, service)?;
    let host = host(domain)?;
    desk.edit(|draft| {
        let is = |written: &String| HostPattern::parse(written).is_ok_and(|other| other == host);
        let Some(index) = draft.domains.iter().position(is) else {
            let in_routes = draft.service.routes.iter().any(|route| route.host == host);
            return Err(EditRefused::Senseless(match in_routes {
                true => {
                    format!("`{domain}` is in `routes` of {service}: take it out by hand in {}", desk.file().display())
                }
                false => format!("{service} has no domain `{domain}`; those are: {}", names(&draft.domains)),
            }));
        };
        let is_last = draft.domains.len() == 1;
        let change = if is_last { Change::remove(["domains"]) } else { Change::remove_item(["domains"], index) };
        Ok((vec![change], ()))
    })
}

fn host(domain: &str) -> Result<HostPattern, EditRefused> {
    HostPattern::parse(domain).map_err(|error| {
        let cure = "write a host like `shop.example.com`, or `*.shop.example.com` for all one label below";
        EditRefused::Senseless(format!("{error}; {cure}"))
    })
}
