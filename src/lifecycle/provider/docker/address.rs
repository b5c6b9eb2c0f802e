//! How a container is reached from here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;

use super::container::Container;
use crate::model::settings::{Docker, Reach};

/// A way to a port of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) address: SocketAddr,
    /// By a port of the host, where the engine's proxy accepts before the container does.
    pub(super) is_published: bool,
}

/// The way to `port` of a container that runs; an error says why there is none, and the cure.
pub(super) fn way(container: &Container, port: u16, settings: &Docker) -> Result<Way, String> {
    let on_network = |ip: IpAddr| Way { address: SocketAddr::new(ip, port), is_published: false };
    let mut networks: Vec<(&str, IpNet)> = container.networks.iter().map(|(name, net)| (&**name, *net)).collect();
    // The configured one first.
    networks.sort_by_key(|(name, _)| **name != *settings.network);
    let near = |networks: &[(&str, IpNet)]| {
        let local = interfaces();
        networks.iter().find(|(_, net)| local.iter().any(|ip| net.contains(ip))).map(|(_, net)| net.addr())
    };
    if container.answer.host_config.as_ref().and_then(|host| host.network_mode.as_deref()) == Some("host") {
        return Ok(on_network(Ipv4Addr::LOCALHOST.into()));
    }
    let by_port = || {
        let host = container.published(port)?;
        Some(Way { address: (Ipv4Addr::LOCALHOST, host).into(), is_published: true })
    };
    let (network, name) = (&settings.network, &container.name);
    match settings.reach {
        Reach::Network => {
            let ip = near(&networks).or_else(|| networks.first().map(|(_, net)| net.addr()));
            ip.map(on_network).ok_or_else(|| {
                format!("it is on no network: `docker network connect {network} {name}` (`docker: {{reach: network}}` asks for that)")
            })
        }
        Reach::Published => by_port().ok_or_else(|| {
            format!("its port {port} is published on no loopback port (`-p 127.0.0.1::{port}`), as `docker: {{reach: published}}` asks")
        }),
        Reach::Auto => near(&networks).map(on_network).or_else(by_port).ok_or_else(|| {
            let on: Vec<String> = networks.iter().map(|(name, net)| format!("`{name}` ({})", net.trunc())).collect();
            let on = if on.is_empty() { "no network".to_owned() } else { on.join(", ") };
            format!(
                "it is on {on}, where this host has no address, and its port {port} is not published on loopback. Where tidegate is a container itself, put it on that network (`docker network connect {network} TIDEGATE`); else have the container made with `-p 127.0.0.1::{port}`"
            )
        }),
    }
}

/// Whether this host has an address in one of these networks.
pub(super) fn is_here(networks: &[IpNet]) -> bool {
    interfaces().iter().any(|ip| networks.iter().any(|net| net.contains(ip)))
}

/// This host's own addresses, as far as others can be reached by them.
fn interfaces() -> Vec<IpAddr> {
    let Ok(all) = getifaddrs() else { return Vec::new() };
    let address = |of: nix::ifaddrs::InterfaceAddress| {
        let storage = of.address?;
        let four = storage.as_sockaddr_in().map(|four| four.ip().into());
        four.or_else(|| storage.as_sockaddr_in6().map(|six| six.ip().into()))
    };
    all.filter_map(address).filter(|ip: &IpAddr| !ip.is_loopback()).collect()
}
