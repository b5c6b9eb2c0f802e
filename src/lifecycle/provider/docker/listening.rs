//! On which ports a container listens, for one that does not on its own.

use std::fs;
use std::net::SocketAddr;

use super::container::Container;
use crate::lifecycle::provider::listeners;

/// The TCP addresses on which it listens, inside of it; nothing where this host's `/proc` does not show it.
pub(super) fn addresses(container: &Container) -> Option<Vec<SocketAddr>> {
    let pid = container.state.pid?;
    // Another process may have this number here, where the engine is in another machine or tidegate in a container.
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    if !groups.contains(&*container.id) {
        return None;
    }
    let mut found = listeners::of_namespace(pid).ok()?;
    // Docker's own resolver, in networks that have names, is on loopback with a port of its own at an address of its own.
    found.retain(|address| address.ip() != std::net::IpAddr::from([127, 0, 0, 11]));
    found.sort_unstable();
    found.dedup();
    Some(found)
}
