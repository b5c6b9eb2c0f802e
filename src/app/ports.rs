//! The ports that are listened on, as the settings come and go.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};

use crate::model::settings::Settings;
use crate::proxy::listener::bind;
use crate::proxy::threads::{Listening, Mailboxes};
use crate::reload::reloader::ListenError;

/// An address, and whether TLS is spoken there.
type Port = (SocketAddr, bool);

/// All ports; dropping one ends the listening.
#[derive(Debug)]
pub(super) struct ListeningPorts {
    /// Bound, before there are threads to accept.
    bound: Vec<(Port, TcpListener)>,
    accepting: HashMap<Port, Accepting>,
    threads: Option<Mailboxes>,
}

#[derive(Debug)]
struct Accepting {
    /// The address asked for, but with the port that the system gave where 0 was asked for.
    address: SocketAddr,
    _listening: Listening,
}

impl ListeningPorts {
    /// Binds what the settings name.
    pub(super) fn bind(settings: &Settings) -> Result<Self, ListenError> {
        let bound = wanted(settings).map(open).collect::<Result<_, _>>()?;
        Ok(Self { bound, accepting: HashMap::new(), threads: None })
    }

    /// Has the data threads accept from what is bound.
    pub(super) fn accept_by(&mut self, threads: Mailboxes) {
        for (port, listener) in std::mem::take(&mut self.bound) {
            self.accept(port, listener, &threads);
        }
        self.threads = Some(threads);
    }

    /// Binds what is new, all of it or nothing, then leaves what is not named any more. A port that changes between HTTP and HTTPS is
    /// left first.
    pub(super) fn follow(&mut self, settings: &Settings) -> Result<(), ListenError> {
        let Some(threads) = self.threads.clone() else { return Ok(()) };
        let wanted: Vec<Port> = wanted(settings).collect();
        let (changing, new): (Vec<Port>, Vec<Port>) = wanted
            .iter()
            .copied()
            .filter(|port| !self.accepting.contains_key(port))
            .partition(|(address, tls)| self.accepting.contains_key(&(*address, !tls)));
        let mut bound = new.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        self.accepting.retain(|port, _| wanted.contains(port));
        for port in changing {
            bound.push(open(port)?);
        }
        for (port, listener) in bound {
            self.accept(port, listener, &threads);
        }
        Ok(())
    }

    /// Where clients connect, as URLs.
    pub(super) fn urls(&self) -> Vec<String> {
        let mut urls: Vec<String> =
            self.accepting.iter().map(|((_, tls), accepting)| url(accepting.address, *tls)).collect();
        urls.sort();
        urls
    }

    fn accept(&mut self, port: Port, listener: TcpListener, threads: &Mailboxes) {
        let (asked, tls) = port;
        let address = listener.local_addr().unwrap_or(asked);
        tracing::info!("listening on {}", url(address, tls));
        self.accepting.insert(port, Accepting { address, _listening: threads.listen(listener, tls) });
    }

    /// Leaves all ports.
    pub(super) fn close(&mut self) {
        self.accepting.clear();
    }
}

fn wanted(settings: &Settings) -> impl Iterator<Item = Port> {
    let http = settings.http.iter().map(|address| (*address, false));
    http.chain(settings.https.iter().map(|address| (*address, true)))
}

fn open(port: Port) -> Result<(Port, TcpListener), ListenError> {
    let listener = bind(port.0).map_err(|source| ListenError { address: port.0, source })?;
    Ok((port, listener))
}

fn url(address: SocketAddr, tls: bool) -> String {
    format!("{}://{address}", if tls { "https" } else { "http" })
}
