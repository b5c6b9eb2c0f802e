//! Ports for processes, each lent to one instance at a time.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use socket2::{Domain, Socket, Type};

/// The range `process.ports`, and which of it is lent out. Clones share the range.
#[derive(Debug, Clone)]
pub struct Ports {
    range: RangeInclusive<u16>,
    // Held for a look at a set and one bind; guards are dropped on whichever thread drops an instance.
    lent: Arc<Mutex<Lent>>,
}

#[derive(Debug)]
struct Lent {
    ports: HashSet<u16>,
    /// Where the next search starts: a port just given back rests until the range has been gone through.
    next: u16,
}

/// No port of the range is free.
#[derive(Debug, thiserror::Error)]
#[error("no port between {} and {} is free: {lent} are lent to instances, the others are taken; widen `process.ports`", range.start(), range.end())]
pub struct NoFreePort {
    range: RangeInclusive<u16>,
    lent: usize,
}

/// A port that is ours until dropped.
#[derive(Debug)]
pub struct PortGuard {
    port: u16,
    lent: Arc<Mutex<Lent>>,
}

impl Ports {
    /// Lends ports of `range`, which should lie outside the kernel's ephemeral range: there, a probe could connect to itself, and
    /// any outgoing connection could take the port first. The first search starts at `seed` modulo the range's size, so that
    /// several tidegates of one host rarely try the same.
    pub fn new(range: RangeInclusive<u16>, seed: u16) -> Self {
        let skipped = usize::from(seed) % range.len().max(1);
        let next = range.clone().nth(skipped).unwrap_or(*range.start());
        Self { range, lent: Arc::new(Mutex::new(Lent { ports: HashSet::new(), next })) }
    }

    /// Lends a port that nobody, tidegate or stranger, has bound at this moment.
    ///
    /// # Errors
    /// When the whole range is taken.
    pub fn take(&self) -> Result<PortGuard, NoFreePort> {
        let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        let start = lent.next;
        let rotated = (start..=*self.range.end()).chain(*self.range.start()..start);
        for port in rotated {
            if !lent.ports.contains(&port) && is_free(port) {
                lent.ports.insert(port);
                lent.next = if port == *self.range.end() { *self.range.start() } else { port + 1 };
                return Ok(PortGuard { port, lent: Arc::clone(&self.lent) });
            }
        }
        Err(NoFreePort { range: self.range.clone(), lent: lent.ports.len() })
    }
}

impl PortGuard {
    /// The port's number.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for PortGuard {
    fn drop(&mut self) {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner).ports.remove(&self.port);
    }
}

/// Whether a program could listen on `port` now, on loopback as on all addresses.
fn is_free(port: u16) -> bool {
    match bind(Domain::IPV6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => false,
        // A kernel without IPv6.
        Err(_) => bind(Domain::IPV4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).is_ok(),
    }
}

/// Binds without listening, so nobody can mistake it for a server, and without `SO_REUSEADDR`: a port with connections still in
/// TIME_WAIT is left alone, for programs that bind without it.
fn bind(domain: Domain, address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(domain, Type::STREAM, None)?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Three neighbouring ports from `base` on that were free a moment ago. The tests run side by side, each with a base of its own,
    /// and begin somewhere else where they run twice.
    fn three(base: u16) -> RangeInclusive<u16> {
        let own = u16::try_from(std::process::id() % 100).expect("small") * 3;
        let mut starts = (base + own..base + 300).step_by(3).chain((base..base + own).step_by(3));
        let start = starts.find(|start| (*start..start + 3).all(is_free));
        let start = start.expect("three free ports in three hundred");
        start..=start + 2
    }

    #[test]
    fn lends_each_port_once_and_says_when_all_are_gone() {
        let range = three(18000);
        let ports = Ports::new(range.clone(), 1);
        let guards: Vec<PortGuard> = (0..3).map(|_| ports.take().expect("three are free")).collect();
        let numbers: Vec<u16> = guards.iter().map(PortGuard::port).collect();
        assert_eq!(numbers, [range.start() + 1, range.start() + 2, *range.start()]);
        let error = ports.take().expect_err("all three are lent").to_string();
        assert!(
            error.contains(&format!("between {} and {}", range.start(), range.end()))
                && error.contains("process.ports"),
            "{error}"
        );
        drop(guards);
        assert!(ports.take().is_ok());
    }

    #[test]
    fn passes_over_a_port_that_a_stranger_has() {
        let range = three(18300);
        let first = *range.start();
        let stranger = TcpListener::bind(("127.0.0.1", first)).expect("it was free");
        let ports = Ports::new(range, 0);
        assert_eq!(ports.take().expect("two are free").port(), first + 1);
        drop(stranger);
    }

    #[test]
    fn a_range_of_one_port_works() {
        let port = *three(18600).start();
        let ports = Ports::new(port..=port, 12345);
        let guard = ports.take().expect("it is free");
        assert!(ports.take().is_err());
        drop(guard);
        assert_eq!(ports.take().expect("given back").port(), port);
    }
}
