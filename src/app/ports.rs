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
    accepting: HashMap<Port, Listening>,
    threads: Option<Mailboxes>,
}

impl ListeningPorts {
    /// Binds what the settings name.
    pub(super) fn bind(settings: &Settings) -> Result<Self, ListenError> {
        let bound = wanted(settings).map(open).collect::<Result<_, _>>()?;
        Ok(Self { bound, accepting: HashMap::new(), threads: None })
    }

    /// Has the data threads accept from what is bound.
    pub(super) fn accept_by(&mut self, threads: Mailboxes) {
        for (port, listener) in self.bound.drain(..) {
            self.accepting.insert(port, threads.listen(listener, port.1));
        }
        self.threads = Some(threads);
    }

    /// Binds what is new, all of it or nothing, then leaves what is not named any more. A port that changes between HTTP and HTTPS is
    /// left first.
    pub(super) fn follow(&mut self, settings: &Settings) -> Result<(), ListenError> {
        let Some(threads) = &self.threads else { return Ok(()) };
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
            tracing::info!(address = %port.0, tls = port.1, "listening");
            self.accepting.insert(port, threads.listen(listener, port.1));
        }
        Ok(())
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
