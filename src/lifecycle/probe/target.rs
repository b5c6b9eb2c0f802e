//! What is probed where it is known by name.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::NotReady;
use crate::model::version::Endpoint;

/// How long a name's addresses count. Names of containers come and go with them, and a name server is not to be asked at the pace of
/// probes.
const RESOLVED_FOR: Duration = Duration::from_millis(100);

/// An endpoint and its addresses.
#[derive(Debug)]
pub(super) struct Target<'a> {
    endpoint: &'a Endpoint,
    addresses: Vec<SocketAddr>,
    /// When they are to be looked up again; never for an address.
    stale_at: Option<Instant>,
}

impl<'a> Target<'a> {
    /// Not looked up yet.
    pub(super) fn new(endpoint: &'a Endpoint) -> Self {
        match endpoint.host.parse::<IpAddr>() {
            Ok(ip) => Self { endpoint, addresses: vec![SocketAddr::new(ip, endpoint.port)], stale_at: None },
            Err(_) => Self { endpoint, addresses: Vec::new(), stale_at: Some(Instant::now()) },
        }
    }

    /// Its addresses. Waits, where there were none a moment ago.
    ///
    /// # Errors
    /// When the name has none, or there is no answer before `deadline`.
    pub(super) async fn addresses(&mut self, deadline: Instant) -> Result<&[SocketAddr], NotReady> {
        let Some(stale_at) = self.stale_at else { return Ok(&self.addresses) };
        if self.addresses.is_empty() {
            sleep_until(stale_at.min(deadline)).await;
        }
        if stale_at <= Instant::now() {
            let host = &self.endpoint.host;
            let found = timeout_at(deadline, lookup_host((&**host, self.endpoint.port))).await;
            self.stale_at = Some(Instant::now() + RESOLVED_FOR);
            let found = match found {
                Ok(found) => found,
                // Nobody answers in time, which says nothing against what was found before.
                Err(_) if !self.addresses.is_empty() => return Ok(&self.addresses),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
            self.addresses.clear();
            match found {
                Ok(found) => self.addresses.extend(found),
                Err(source) => return Err(NotReady::Name { host: host.clone(), source }),
            }
        }
        Ok(&self.addresses)
    }
}
