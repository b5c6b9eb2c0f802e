//! What the handshake of a connection was about, and which requests may come over it.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;

use super::error::ProxyError;
use super::worker::Worker;
use crate::live::{Live, ServiceState};
use crate::model::host;
use crate::model::service::Service;

/// A connection over TLS.
#[derive(Debug)]
pub struct Secured {
    /// The server that the client named, in its normalised form.
    name: Option<Box<str>>,
    /// How TLS is spoken, if by the rules of a service that asks for certificates.
    asked: Option<Arc<ServerConfig>>,
}

impl Secured {
    /// A client has named a server: how to go on.
    ///
    /// # Errors
    /// The certificates of its clients cannot be checked.
    pub fn begin(worker: &Worker, name: Option<&str>) -> io::Result<(Self, Arc<ServerConfig>)> {
        let live = worker.live.load();
        let configs = &worker.shared.tls;
        let name = name.and_then(host::normalise).map(Box::<str>::from);
        let Some(index) = name.as_deref().and_then(|name| live.snapshot.asks_clients_of(name)) else {
            return Ok((Self { name, asked: None }, Arc::clone(configs.plain())));
        };
        let auth = live.snapshot.services[index].tls.client.as_deref();
        let config = auth.and_then(|auth| configs.asking(&live.services[index].asking, auth));
        let config = config.ok_or_else(|| io::Error::other("clients' certificates cannot be checked"))?;
        Ok((Self { name, asked: Some(Arc::clone(config)) }, Arc::clone(config)))
    }

    /// Whether a request for this host may come over the connection. Browsers send requests for several hosts over one, where its
    /// certificate is for all of them (RFC 9113, 9.1.1).
    ///
    /// # Errors
    /// 421: the service asks of clients what they were not asked here, or the certificate is not for the host. The client takes
    /// another connection.
    pub fn admits(
        &self,
        live: &Live,
        (service, state): (&Service, &ServiceState),
        host: &str,
    ) -> Result<(), ProxyError> {
        let is_its_own = self.name.as_deref() == Some(host);
        let asked_alike = match (&service.tls.client, &self.asked) {
            (Some(_), Some(asked)) => state.asking.get().is_some_and(|asking| Arc::ptr_eq(asking, asked)),
            (Some(_), None) => false,
            // Another service on the same host asks.
            (None, Some(_)) => is_its_own,
            (None, None) => true,
        };
        if asked_alike && (is_its_own || self.certificate_covers(live, host)) {
            Ok(())
        } else {
            Err(ProxyError::Misdirected)
        }
    }

    fn certificate_covers(&self, live: &Live, host: &str) -> bool {
        let store = &live.certificates;
        match self.name.as_deref().and_then(|name| store.find(name)) {
            Some(choices) => choices.all().any(|certificate| certificate.covers_name(host)),
            None => store.fallback().is_some_and(|certificate| certificate.covers_name(host)),
        }
    }
}
