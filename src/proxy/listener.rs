//! Listening sockets: bound before anything else changes, accepted from on one thread, handed to the least busy.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, TcpKeepalive, Type};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::threads::{Mailboxes, Seat, Shared, serve};
use super::worker::Worker;

/// Connections that the kernel keeps for us to accept.
const BACKLOG: i32 = 4096;

/// A peer is probed after being quiet for so long, so often and so many times: one that has vanished is noticed after two minutes.
const QUIET: Duration = Duration::from_secs(60);
const PROBE: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;

/// How long a listener that is left waits for clients who are half way through the handshake: a long round trip.
pub const HALF_WAY: Duration = Duration::from_millis(200);

/// How long accepting rests when there are no descriptors left.
const REST: Duration = Duration::from_millis(50);

/// Where clients come in.
#[derive(Debug)]
pub struct Door {
    /// Whether TLS is spoken there.
    pub tls: bool,
    left: AtomicBool,
}

impl Door {
    /// One that is open.
    #[must_use]
    pub fn new(tls: bool) -> Arc<Self> {
        Arc::new(Self { tls, left: AtomicBool::new(false) })
    }

    /// Nobody is let in any more.
    pub(super) fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    /// Whether nobody is let in any more, so that those who are in should come in elsewhere.
    #[must_use]
    pub fn is_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }
}

/// A connection on its way to a data thread.
#[derive(Debug)]
pub struct Accepted {
    /// Non-blocking, not yet with any runtime.
    pub stream: TcpStream,
    /// Who is at the other end.
    pub peer: SocketAddr,
    /// Where it came in.
    pub door: Arc<Door>,
    /// Its place among the connections there may be.
    pub place: OwnedSemaphorePermit,
    /// Its seat at the thread that it is for.
    pub seat: Seat,
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
    worker: Rc<Worker>,
    listener: TcpListener,
    door: Arc<Door>,
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
    let shared = &worker.shared;
    // The thread does not end before those who have connected are served.
    let _seat = worker.seat();
    let serve_here = |accepted| drop(tokio::task::spawn_local(serve(Rc::clone(&worker), accepted)));
    let mut next = 0;
    loop {
        let accepted = tokio::select! {
            _ = &mut until => break,
            accepted = accept_one(shared, &listener) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                next = (next + 1) % shared.threads();
                let thread = shared.least_busy(next);
                let accepted = Accepted { stream, peer, door: Arc::clone(&door), place, seat: shared.seat(thread) };
                // A thread that has ended is about to be followed by this one.
                threads.serve(thread, accepted).unwrap_or_else(serve_here);
            }
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again shortly");
                tokio::time::sleep(REST).await;
            }
        }
    }
    let last = Arc::clone(&door);
    let serve_last = |(stream, peer, place)| {
        serve_here(Accepted { stream, peer, door: Arc::clone(&last), place, seat: worker.seat() });
    };
    accept_last(shared, &listener, serve_last).await;
    drop(listener);
    door.leave();
    threads.leave();
}

/// A connection, and its place among those there may be.
type Placed = (TcpStream, SocketAddr, OwnedSemaphorePermit);

/// Takes no packet that would begin a connection, and every other (classic BPF over the TCP header; socket(7), SO_ATTACH_FILTER).
const NOBODY_NEW: [SockFilter; 5] = [
    // The flags.
    SockFilter::new(0x30, 0, 0, 13),
    // Of them SYN and ACK: a first packet has only the former.
    SockFilter::new(0x54, 0, 0, 0x12),
    SockFilter::new(0x15, 0, 1, 0x02),
    SockFilter::new(0x06, 0, 0, 0),
    SockFilter::new(0x06, 0, 0, u32::MAX),
];

/// Those who have connected already or are half way there; closing the listener would reset them. Nobody is let in any more, so that
/// whoever tries just then does so again a second later, where another listener may have taken this one's place.
async fn accept_last(shared: &Shared, listener: &tokio::net::TcpListener, mut serve: impl FnMut(Placed)) {
    if let Err(error) = SockRef::from(listener).attach_filter(&NOBODY_NEW) {
        tracing::debug!(%error, "who connects just now may be cut off with the listener");
    }
    let all = async {
        loop {
            match accept_one(shared, listener).await {
                Ok(placed) => serve(placed),
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "who has just connected is cut off with the listener");
                    break;
                }
            }
        }
    };
    // That time passes is how it ends.
    drop(tokio::time::timeout(HALF_WAY, all).await);
}

/// Small answers go out at once, and a client that has vanished is noticed, which matters to tunnels.
pub(super) fn prepare(stream: &impl AsFd) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(QUIET).with_interval(PROBE).with_retries(PROBES))
}

async fn accept_one(shared: &Shared, listener: &tokio::net::TcpListener) -> io::Result<Placed> {
    // Without a free place the client waits in the kernel's queue.
    let place = Arc::clone(&shared.places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    prepare(&stream)?;
    // Off this thread's runtime, for the thread that will serve it.
    Ok((stream.into_std()?, peer, place))
}

/// Errors of `accept` that say something of one connection and nothing of the listener (accept(2)).
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | TimedOut)
}
