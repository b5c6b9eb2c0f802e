//! A service: a name, its domains, its versions, its weights.

use super::name::ServiceName;
use super::policy::Policy;
use super::route::Route;
use super::rule::Rule;
use super::schedule::Schedule;
use super::sticky::Sticky;
use super::tls::ServiceTls;
use super::version::{Preview, Version};
use super::weight::WeightTable;

/// At most this many versions of a service exist at a time.
pub const MAX_VERSIONS: usize = 10;

/// A service. Rules, weights and the schedule name versions by their index in `versions`.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Its custom domains and routes; the default domain is not among them.
    pub routes: Box<[Route]>,
    /// How its hosts are served over TLS.
    pub tls: ServiceTls,
    /// At most [`MAX_VERSIONS`].
    pub versions: Box<[Version]>,
    /// By version index.
    pub weights: WeightTable,
    /// What the weights come to; made by [`Schedule::of`].
    pub schedule: Schedule,
    /// In order; the first that holds wins.
    pub rules: Box<[Rule]>,
    /// Whether and how clients stay with a version.
    pub sticky: Option<Sticky>,
    /// The rest.
    pub policy: Policy,
}

impl Service {
    /// The index of the version with this name.
    #[must_use]
    pub fn version(&self, name: &str) -> Option<usize> {
        self.versions.iter().position(|v| v.name.as_str() == name)
    }

    /// Whether a version has weight, or a rule points at it.
    #[must_use]
    pub fn has_traffic(&self, version: usize) -> bool {
        !self.weights.get(version).is_zero() || self.rules.iter().any(|rule| rule.version == version)
    }

    /// Whether `other` would serve in the same way in all respects.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        let Self { name, routes, tls, versions, weights, schedule, rules, sticky, policy } = self;
        (name, routes, versions, weights) == (&other.name, &other.routes, &other.versions, &other.weights)
            && (schedule, rules, sticky, policy) == (&other.schedule, &other.rules, &other.sticky, &other.policy)
            && tls.is_same_as(&other.tls)
    }

    /// Whether the same hosts and paths lead to `other`, and to its versions by the same indices.
    #[must_use]
    pub fn is_routed_like(&self, other: &Self) -> bool {
        let previews = |service: &Self| -> Vec<_> {
            service.versions.iter().map(|version| (version.name.clone(), version.preview == Preview::Off)).collect()
        };
        (&self.name, &self.routes) == (&other.name, &other.routes) && previews(self) == previews(other)
    }

    /// Whether weighted choices of `self` and `other` follow the same schedule over the same versions, so that a cursor
    /// can be carried over.
    #[must_use]
    pub fn splits_like(&self, other: &Self) -> bool {
        let shares = |service: &Self| {
            let mut shares: Vec<(u32, u32)> = service
                .versions
                .iter()
                .zip(service.weights.iter())
                .filter(|(_, weight)| !weight.is_zero())
                .map(|(version, weight)| (version.name.number(), weight.hundredths()))
                .collect();
            shares.sort_unstable();
            shares
        };
        shares(self) == shares(other)
    }
}
