//! Routing, rules, sticky keys and the schedule, put together: from a request to a version, and why.
//!
//! Pure: what is random or counted comes in through [`Draw`], so `tidegate explain` walks the very road of the proxy.

use super::request::RequestView;
use super::service::Service;
use super::sticky::{Sticky, StickyKey};

/// What the choice needs from outside.
pub trait Draw {
    /// The number of this weighted choice, counted from 0; asked only where two or more versions share.
    fn next_weighted(&mut self) -> u64;
    /// 64 random bits, for the key of a new sticky client.
    fn random(&mut self) -> u64;
}

/// A version (by index in its service) and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The version.
    pub version: usize,
    /// Why this one.
    pub reason: Reason,
}

/// Why a version was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The request came by the version's preview domain.
    Preview,
    /// The rule with this index holds.
    Rule(usize),
    /// The client's key says so. `issue` is the cookie value to set, where the client had none.
    Sticky {
        /// The value of a new key.
        issue: Option<Box<str>>,
    },
    /// The weights say so.
    Weight,
}

impl Reason {
    /// One word for logs: `preview`, `rule`, `sticky` or `weight`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Preview => "preview",
            Self::Rule(_) => "rule",
            Self::Sticky { .. } => "sticky",
            Self::Weight => "weight",
        }
    }
}

/// All weights are 0, and no rule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no version of the service has traffic: all weights are 0")]
pub struct NoTraffic;

/// Chooses the version of a service for a request: the first rule that holds, else the sticky key, else the weights.
pub fn choose(service: &Service, request: &RequestView<'_>, draw: &mut impl Draw) -> Result<Choice, NoTraffic> {
    if let Some(rule) = service.rules.iter().position(|rule| rule.holds(request)) {
        return Ok(Choice { version: service.rules[rule].version, reason: Reason::Rule(rule) });
    }
    if let Some(sticky) = &service.sticky
        && let Some((key, issue)) = sticky_key(sticky, request, draw)
    {
        let numbers = service.versions.iter().map(|v| v.name.number());
        let version = key.pick(&service.weights, numbers).ok_or(NoTraffic)?;
        return Ok(Choice { version, reason: Reason::Sticky { issue } });
    }
    let n = if service.schedule.period() > 1 { draw.next_weighted() } else { 0 };
    let version = service.schedule.version(n).ok_or(NoTraffic)?;
    Ok(Choice { version, reason: Reason::Weight })
}

/// The client's key, and the cookie value to set where it is a new one.
fn sticky_key(
    sticky: &Sticky,
    request: &RequestView<'_>,
    draw: &mut impl Draw,
) -> Option<(StickyKey, Option<Box<str>>)> {
    match sticky {
        Sticky::Client => Some((StickyKey::of_address(request.client), None)),
        Sticky::Header(name) => {
            let value = request.headers.get(name)?.to_str().ok().filter(|v| !v.is_empty())?;
            Some((StickyKey::of_text(value), None))
        }
        Sticky::Cookie { name, .. } => match request.cookie_values(name).find(|v| !v.is_empty()) {
            Some(value) => Some((StickyKey::of_text(value), None)),
            None => {
                let value = format!("{:016x}", draw.random());
                Some((StickyKey::of_text(&value), Some(value.into())))
            }
        },
    }
}
