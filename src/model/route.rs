//! From a host and a path to a service.

use rustc_hash::FxHashMap;

use super::host::HostPattern;
use super::path::PathPrefix;

/// Hosts and paths that a service claims. (host, path) is unique over all services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The host, or all one label below it.
    pub host: HostPattern,
    /// The longest prefix that covers the path wins.
    pub path: PathPrefix,
    /// Whether the prefix is taken off before forwarding.
    pub strip: bool,
}

/// What a route leads to. Indices into the snapshot's services and the service's versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A service: its rules, sticky keys and weights decide.
    Service(usize),
    /// One version, by its preview domain.
    Preview {
        /// The service.
        service: usize,
        /// The version.
        version: usize,
    },
}

impl Target {
    /// The service's index.
    #[must_use]
    pub fn service(self) -> usize {
        match self {
            Self::Service(service) | Self::Preview { service, .. } => service,
        }
    }
}

/// A route as found for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteMatch<'t> {
    /// Where it leads.
    pub target: Target,
    /// The prefix to take off, if any.
    pub strip: Option<&'t PathPrefix>,
}

#[derive(Debug, Clone)]
struct Entry {
    path: PathPrefix,
    strip: bool,
    target: Target,
}

/// All routes. Look-ups cost one hash for an exact host, one more for a wildcard, whatever the number of routes.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    exact: FxHashMap<Box<str>, Vec<Entry>>,
    wildcard: FxHashMap<Box<str>, Vec<Entry>>,
}

impl RouteTable {
    /// Adds a route; `Err` with the present holder where (host, path) is taken.
    pub fn insert(&mut self, route: &Route, target: Target) -> Result<(), Target> {
        let entries = match &route.host {
            HostPattern::Exact(host) => self.exact.entry(host.clone()).or_default(),
            HostPattern::Wildcard(parent) => self.wildcard.entry(parent.clone()).or_default(),
        };
        if let Some(holder) = entries.iter().find(|e| e.path == route.path) {
            return Err(holder.target);
        }
        let at = entries.partition_point(|e| e.path.len() > route.path.len());
        entries.insert(at, Entry { path: route.path.clone(), strip: route.strip, target });
        Ok(())
    }

    /// The route for a normalised host and path: the exact host before the wildcard, the longest prefix first. A wildcard
    /// is asked also where the exact host has no prefix that covers the path.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<RouteMatch<'_>> {
        let covering = |entries: &'_ Vec<Entry>| entries.iter().position(|e| e.path.covers(path));
        let exact = self.exact.get(host).and_then(|entries| covering(entries).map(|i| &entries[i]));
        let entry = exact.or_else(|| {
            let (_, parent) = host.split_once('.')?;
            self.wildcard.get(parent).and_then(|entries| covering(entries).map(|i| &entries[i]))
        })?;
        Some(RouteMatch { target: entry.target, strip: (entry.strip && !entry.path.is_empty()).then_some(&entry.path) })
    }

    /// Whether any route is on this normalised host, whatever the path.
    #[must_use]
    pub fn knows_host(&self, host: &str) -> bool {
        self.exact.contains_key(host)
            || host.split_once('.').is_some_and(|(_, parent)| self.wildcard.contains_key(parent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(routes: &[(&str, &str, usize)]) -> RouteTable {
        let mut table = RouteTable::default();
        for (host, path, service) in routes {
            let route = Route {
                host: HostPattern::parse(host).expect("host"),
                path: PathPrefix::parse(path).expect("path"),
                strip: true,
            };
            table.insert(&route, Target::Service(*service)).expect("unique");
        }
        table
    }

    #[test]
    fn exact_before_wildcard_and_longest_prefix_first() {
        let table = table(&[
            ("example.com", "/", 0),
            ("example.com", "/shop", 1),
            ("example.com", "/shop/admin", 2),
            ("*.example.com", "/", 3),
            ("api.example.com", "/v1", 4),
        ]);
        for (host, path, service) in [
            ("example.com", "/", Some(0)),
            ("example.com", "/shopping", Some(0)),
            ("example.com", "/shop", Some(1)),
            ("example.com", "/shop/x", Some(1)),
            ("example.com", "/shop/admin/x", Some(2)),
            ("www.example.com", "/x", Some(3)),
            ("api.example.com", "/v1/x", Some(4)),
            ("api.example.com", "/v2", Some(3)),
            ("a.b.example.com", "/", None),
            ("example.org", "/", None),
            ("com", "/", None),
        ] {
            assert_eq!(table.find(host, path).map(|m| m.target.service()), service, "{host}{path}");
        }
    }

    #[test]
    fn a_claim_is_unique() {
        let mut table = table(&[("a.com", "/x", 7)]);
        let again = Route {
            host: HostPattern::parse("A.com.").expect("host"),
            path: PathPrefix::parse("/x/").expect("path"),
            strip: false,
        };
        assert_eq!(table.insert(&again, Target::Service(8)), Err(Target::Service(7)));
    }
}
