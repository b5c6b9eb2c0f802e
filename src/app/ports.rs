//! The ports that are listened on, as the settings come and go.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::model::settings::Settings;
use crate::proxy::listener::{HALF_WAY, bind, bind_beside};
use crate::proxy::threads::{Listening, Mailboxes};
use crate::reload::reloader::ListenError;

/// An address, and whether TLS is spoken there.
type Port = (SocketAddr, bool);

/// When a socket that was left is closed for certain.
const CLOSED: Duration = HALF_WAY.saturating_mul(5);

/// All ports; dropping one ends the listening.
#[derive(Debug)]
pub(super) struct ListeningPorts {
    /// Bound, before there are threads to accept.
    bound: Vec<(Port, TcpListener)>,
    accepting: HashMap<Port, Accepting>,
    /// Left a moment ago: their sockets are open until those have been served who were half way in.
    left: Vec<(SocketAddr, Instant)>,
    threads: Option<Mailboxes>,
}

#[derive(Debug)]
struct Accepting {
    /// The address asked for, but with the port that the system gave where 0 was asked for.
    address: SocketAddr,
    /// The same socket as the data threads', to change its options.
    socket: TcpListener,
    _listening: Listening,
}

impl ListeningPorts {
    /// Binds what the settings name.
    pub(super) fn bind(settings: &Settings) -> Result<Self, ListenError> {
        let bound = wanted(settings).map(open).collect::<Result<_, _>>()?;
        Ok(Self { bound, accepting: HashMap::new(), left: Vec::new(), threads: None })
    }

    /// Has the data threads accept from what is bound.
    pub(super) fn accept_by(&mut self, threads: Mailboxes) {
        for (port, listener) in std::mem::take(&mut self.bound) {
            self.accept(port, listener, &threads);
        }
        self.threads = Some(threads);
    }

    /// Binds what is new, all of it or nothing, then leaves what is not named any more.
    pub(super) fn follow(&mut self, settings: &Settings) -> Result<(), ListenError> {
        let Some(threads) = self.threads.clone() else { return Ok(()) };
        let wanted: Vec<Port> = wanted(settings).collect();
        let new = wanted.iter().copied().filter(|port| !self.accepting.contains_key(port));
        let leaving = self.accepting.iter().filter(|(port, _)| !wanted.contains(port)).map(|(_, accepting)| accepting);
        let leaving: Vec<&Accepting> = leaving.collect();
        self.left.retain(|(_, since)| since.elapsed() < CLOSED);
        let left: Vec<u16> = self.left.iter().map(|(address, _)| address.port()).collect();
        let bound = new.map(|port| open_beside(port, &leaving, &left)).collect::<Result<Vec<_>, _>>()?;
        for accepting in leaving {
            // So that the address can be had again before the socket is closed. It lets nobody in any more.
            if let Err(error) = SockRef::from(&accepting.socket).set_reuse_port(true) {
                tracing::debug!(%error, "an address that was left cannot be had again at once");
            }
            self.left.push((accepting.address, Instant::now()));
        }
        self.accepting.retain(|port, _| wanted.contains(port));
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
        let socket = match listener.try_clone() {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(%address, %error, "cannot listen");
                return;
            }
        };
        tracing::info!("listening on {}", url(address, tls));
        self.accepting.insert(port, Accepting { address, socket, _listening: threads.listen(listener, tls) });
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

/// The same where a port that is about to be left may be in the way: `127.0.0.1:80` of `0.0.0.0:80`, or plain HTTP of HTTPS. Both
/// are then listened on until the old one is left, so that no client finds the door shut. `left` are ports that were left a moment ago, whose
/// sockets may still be open.
fn open_beside(port: Port, leaving: &[&Accepting], left: &[u16]) -> Result<(Port, TcpListener), ListenError> {
    let error = match open(port) {
        Err(error) if error.source.kind() == io::ErrorKind::AddrInUse => error,
        outcome => return outcome,
    };
    let in_the_way: Vec<_> = leaving.iter().filter(|old| old.address.port() == port.0.port()).collect();
    if in_the_way.is_empty() && !left.contains(&port.0.port()) {
        return Err(error);
    }
    let share = |on: bool| in_the_way.iter().try_for_each(|old| SockRef::from(&old.socket).set_reuse_port(on));
    let listener = share(true).and_then(|()| bind_beside(port.0));
    share(false).and(listener).map(|listener| (port, listener)).map_err(|source| ListenError { source, ..error })
}

fn url(address: SocketAddr, tls: bool) -> String {
    format!("{}://{address}", if tls { "https" } else { "http" })
}
