//! The validated, immutable picture of all config.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use rustc_hash::FxHashMap;

use super::certificates::Names;
use super::host::HostPattern;
use super::path::PathPrefix;
use super::route::{Route, RouteMatch, RouteTable, Target};
use super::service::Service;
use super::settings::Settings;
use super::version::Preview;

/// All config, in force together. Services have dense indices.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The server's settings.
    pub settings: Arc<Settings>,
    /// The services, by index, in the order of their names.
    pub services: Box<[Arc<Service>]>,
    /// The certificates that are in folders.
    pub certificates: Arc<Names>,
    routes: Arc<RouteTable>,
    /// The services that ask clients for certificates, by host.
    asking: Arc<FxHashMap<HostPattern, usize>>,
}

/// A (host, path) that two services claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Index of the service that came later and did not get it.
    pub service: usize,
    /// The route it claims.
    pub route: Route,
    /// Who has it.
    pub holder: Target,
}

impl Snapshot {
    /// Puts services together. Each gets its custom routes, its default domain and the preview domains of its versions;
    /// the default and preview domains of all are laid before anybody's custom routes.
    pub fn new(settings: Arc<Settings>, services: Vec<Arc<Service>>) -> Result<Self, Vec<Conflict>> {
        let mut routes = RouteTable::default();
        let mut conflicts = Vec::new();
        let mut claim = |route: Route, target: Target| {
            if let Err(holder) = routes.insert(&route, target) {
                conflicts.push(Conflict { service: target.service(), route, holder });
            }
        };
        for (index, service) in services.iter().enumerate() {
            claim(own_domain(service.name.as_str(), &settings), Target::Service(index));
            for (number, version) in service.versions.iter().enumerate() {
                if version.preview != Preview::Off {
                    let target = Target::Preview { service: index, version: number };
                    claim(own_domain(version.name.as_str(), &settings), target);
                }
            }
        }
        for (index, service) in services.iter().enumerate() {
            for route in &service.routes {
                claim(route.clone(), Target::Service(index));
            }
        }
        let (services, routes) = (services.into(), Arc::new(routes));
        if conflicts.is_empty() {
            let mut snapshot =
                Self { settings, services, certificates: Arc::default(), routes, asking: Arc::default() };
            snapshot.asking = snapshot.who_asks();
            Ok(snapshot)
        } else {
            Err(conflicts)
        }
    }

    /// The same with these certificates of folders.
    #[must_use]
    pub fn with_certificates(self, certificates: Arc<Names>) -> Self {
        Self { certificates, ..self }
    }

    /// The same with other forms of some of its services, by index. Where they have the same hosts and paths, the table of all
    /// routes is shared.
    pub fn with(&self, others: Vec<(usize, Arc<Service>)>) -> Result<Self, Vec<Conflict>> {
        let same_routes = others.iter().all(|(index, other)| self.services[*index].is_routed_like(other));
        let mut services = self.services.clone();
        for (index, other) in others {
            services[index] = other;
        }
        let (settings, certificates) = (Arc::clone(&self.settings), Arc::clone(&self.certificates));
        if same_routes {
            let (routes, asking) = (Arc::clone(&self.routes), Arc::default());
            let mut snapshot = Self { settings, services, certificates, routes, asking };
            snapshot.asking = snapshot.who_asks();
            return Ok(snapshot);
        }
        Ok(Self::new(settings, services.into())?.with_certificates(certificates))
    }

    /// The route for a normalised host and path. A private preview is there only for those who may see it.
    #[must_use]
    pub fn route(&self, host: &str, path: &str, client: IpAddr) -> Option<RouteMatch<'_>> {
        let found = self.routes.find(host, path)?;
        if let Target::Preview { service, version } = found.target
            && self.services[service].versions[version].preview == Preview::Private
            && !contains(&self.settings.preview_from, client)
        {
            return None;
        }
        Some(found)
    }

    /// The hosts that a service has without being told so: its default domain, and the preview domains of its versions.
    pub fn own_hosts<'s>(&'s self, service: &'s Service) -> impl Iterator<Item = HostPattern> + 's {
        let previews = service.versions.iter().filter(|version| version.preview != Preview::Off);
        let labels = std::iter::once(service.name.as_str()).chain(previews.map(|version| version.name.as_str()));
        labels.map(|label| own_domain(label, &self.settings).host)
    }

    /// The index of the service that asks the clients of this normalised host for certificates. Where several services share a host, it
    /// is one that does.
    #[must_use]
    pub fn asks_clients_of(&self, host: &str) -> Option<usize> {
        if self.asking.is_empty() {
            return None;
        }
        let exact = self.asking.get(&HostPattern::Exact(host.into()));
        exact.or_else(|| self.asking.get(&HostPattern::Wildcard(host.split_once('.')?.1.into()))).copied()
    }

    fn who_asks(&self) -> Arc<FxHashMap<HostPattern, usize>> {
        let mut asking = FxHashMap::default();
        for (index, service) in self.services.iter().enumerate().filter(|(_, service)| service.tls.client.is_some()) {
            let routed = service.routes.iter().map(|route| route.host.clone());
            asking.extend(self.own_hosts(service).chain(routed).map(|host| (host, index)));
        }
        Arc::new(asking)
    }

    /// Whether any route is on this normalised host.
    #[must_use]
    pub fn knows_host(&self, host: &str) -> bool {
        self.routes.knows_host(host)
    }

    /// The index of a service.
    #[must_use]
    pub fn service_index(&self, name: &str) -> Option<usize> {
        self.services.binary_search_by(|s| s.name.as_str().cmp(name)).ok()
    }
}

/// Whether an address lies in one of the networks; IPv4 mapped into IPv6 counts as IPv4.
#[must_use]
pub fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

fn own_domain(label: &str, settings: &Settings) -> Route {
    let host = HostPattern::Exact(format!("{label}.{}", settings.base_domain).into());
    Route { host, path: PathPrefix::root(), strip: false }
}
