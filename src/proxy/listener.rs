//! Listening sockets: bound before anything else changes, accepted from on one thread, handed to the least busy.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::threads::{Mailboxes, Shared};

/// Connections that the kernel keeps for us to accept.
const BACKLOG: i32 = 4096;

/// How long accepting rests when there are no descriptors left.
const REST: Duration = Duration::from_millis(50);

/// A connection on its way to a data thread.
#[derive(Debug)]
pub struct Accepted {
    /// Non-blocking, not yet with any runtime.
    pub stream: TcpStream,
    /// Who is at the other end.
    pub peer: SocketAddr,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Its place among the connections there may be.
    pub place: OwnedSemaphorePermit,
}

/// Binds an address for listening. A port that an ended server has just left can be had at once.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    listen(address, false)
}

/// The same beside a socket of this very process that is about to be closed, and for now has `SO_REUSEPORT` set.
pub fn bind_beside(address: SocketAddr) -> io::Result<TcpListener> {
    listen(address, true)
}

fn listen(address: SocketAddr, beside: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 too, as everywhere; an IPv4 address beside it then is a conflict that `check` names.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_port(beside)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    // Left on, it would let any other process of this user take a part of the connections.
    socket.set_reuse_port(false)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Accepts until `until` is dropped, and hands each connection to the thread with the fewest.
pub(super) async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    tls: bool,
    mut until: oneshot::Receiver<()>,
    threads: Mailboxes,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "cannot accept connections");
            return;
        }
    };
    let mut next = 0;
    let mut hand_over = |(stream, peer, place)| {
        next = (next + 1) % shared.connections.len();
        threads.serve(least_busy(&shared, next), Accepted { stream, peer, tls, place });
    };
    loop {
        let accepted = tokio::select! {
            _ = &mut until => break,
            accepted = accept_one(&shared, &listener) => accepted,
        };
        match accepted {
            Ok(accepted) => hand_over(accepted),
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again shortly");
                tokio::time::sleep(REST).await;
            }
        }
    }
    match last_accepted(&shared, listener) {
        Ok(last) => last.into_iter().for_each(hand_over),
        Err(error) => tracing::warn!(%error, "who has just connected is cut off with the listener"),
    }
}

/// A connection, and its place among those there may be.
type Placed = (TcpStream, SocketAddr, OwnedSemaphorePermit);

/// Those whom the kernel has let in already; closing the listener would reset them. Nobody is let in from here on, so that
/// whoever tries just then does so again a second later, where another listener may have taken this one's place.
fn last_accepted(shared: &Shared, listener: tokio::net::TcpListener) -> io::Result<Vec<Placed>> {
    let listener = listener.into_std()?;
    // `ret #0`: takes no packet (socket(7), SO_ATTACH_FILTER).
    if let Err(error) = SockRef::from(&listener).attach_filter(&[SockFilter::new(0x06, 0, 0, 0)]) {
        tracing::debug!(%error, "who connects just now may be cut off with the listener");
    }
    let mut last = Vec::new();
    while let Ok(place) = Arc::clone(&shared.places).try_acquire_owned() {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if is_of_the_connection(&error) => continue,
            // There is no more, or there are no descriptors.
            Err(_) => break,
        };
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        last.push((stream, peer, place));
    }
    Ok(last)
}

async fn accept_one(shared: &Shared, listener: &tokio::net::TcpListener) -> io::Result<Placed> {
    // Without a free place the client waits in the kernel's queue.
    let place = Arc::clone(&shared.places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    // Off this thread's runtime, for the thread that will serve it.
    Ok((stream.into_std()?, peer, place))
}

/// The thread with the fewest connections; among equals the first from `from` on.
fn least_busy(shared: &Shared, from: usize) -> usize {
    let count = shared.connections.len();
    (0..count)
        .map(|i| (from + i) % count)
        .min_by_key(|thread| shared.connections[*thread].load(Ordering::Relaxed))
        .unwrap_or_default()
}

/// Errors of `accept` that say something of one connection and nothing of the listener (accept(2)).
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | TimedOut)
}
