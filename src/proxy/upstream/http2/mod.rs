//! Connections to backends that speak HTTP/2: shared by the requests of one thread, and more than one where a backend allows each
//! fewer streams than there are requests.

mod exchange;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong};
use rustc_hash::FxHashMap;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

pub use self::exchange::{Answer, Outgoing, SendError};
use super::Pools;
use super::dial::DialError;
use crate::lifecycle::instance::Instance;
use crate::lifecycle::lease::Lease;
use crate::model::transport::{Transport, UpstreamTls};

/// The most requests at a time on one connection, whatever the backend allows.
const MAX_STREAMS: usize = 100;

/// Bytes of one answer that may be under way, and of all on a connection: one that is not taken does not hold up the others.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 100 * STREAM_WINDOW;

/// Bytes of an upload that wait for the backend to take them.
const SEND_BUFFER: usize = 128 * 1024;

/// The largest head of an answer, as with HTTP/1.1.
const MAX_HEAD: u32 = 256 * 1024;

/// How often a connection is looked at: one with requests on it is pinged, one without is closed once it has idled for long.
const LOOK: Duration = Duration::from_secs(15);

/// How long a ping may be without an answer.
const PONG: Duration = Duration::from_secs(20);

/// How long a connection without requests is kept, and how old one gets before others are opened in its place.
const IDLE: Duration = Duration::from_secs(55);
const MAX_AGE: Duration = Duration::from_secs(60 * 60);

/// The connections of one thread, by instance.
#[derive(Debug, Default)]
pub(super) struct Http2Pools(RefCell<FxHashMap<u64, Rc<Shared>>>);

/// The connections to one instance.
#[derive(Debug, Default)]
struct Shared {
    connections: RefCell<Vec<Rc<Connection>>>,
    /// Held while one is opened: whoever comes meanwhile may find room on it.
    opening: Mutex<()>,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Bytes>,
    /// Of the gate, when it was opened.
    epoch: u32,
    tls: Option<Arc<UpstreamTls>>,
    /// Requests on it.
    open: Cell<usize>,
    /// Whether it has served before.
    reused: Cell<bool>,
    /// Whether it takes no more requests.
    over: Cell<bool>,
    idle_since: Cell<Instant>,
    born: Instant,
}

/// A place for one request on a connection.
#[derive(Debug)]
pub struct Place {
    connection: Rc<Connection>,
    reused: bool,
}

impl Place {
    fn on(connection: &Rc<Connection>) -> Self {
        connection.open.set(connection.open.get() + 1);
        Self { connection: Rc::clone(connection), reused: connection.reused.replace(true) }
    }

    /// Whether the connection has served before.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Nobody else gets a place there.
    pub fn condemn(&self) {
        self.connection.over.set(true);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connection.open.set(self.connection.open.get() - 1);
        self.connection.idle_since.set(Instant::now());
    }
}

impl Connection {
    fn has_room(&self) -> bool {
        self.open.get() < self.sender.current_max_send_streams().min(MAX_STREAMS)
    }
}

impl Shared {
    /// A place on the connection that has the fewest requests.
    fn room(&self, lease: &Lease, transport: &Transport) -> Option<Place> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| {
            !connection.over.get()
                && connection.epoch == lease.epoch()
                && connection.tls == transport.tls
                && connection.born.elapsed() < MAX_AGE
        });
        let free = connections.iter().filter(|connection| connection.has_room());
        free.min_by_key(|connection| connection.open.get()).map(Place::on)
    }

    fn remove(&self, connection: &Weak<Connection>) {
        self.connections.borrow_mut().retain(|one| !std::ptr::eq(Rc::as_ptr(one), connection.as_ptr()));
    }
}

impl Pools {
    /// A place on a connection to the lease's instance, on one that is opened where the others are full.
    pub async fn place(&self, lease: &Lease, transport: &Transport) -> Result<Place, DialError> {
        let shared = {
            let mut all = self.http2().0.borrow_mut();
            all.retain(|_, shared| Rc::strong_count(shared) > 1 || !shared.connections.borrow().is_empty());
            Rc::clone(all.entry(lease.instance().id()).or_default())
        };
        if let Some(place) = shared.room(lease, transport) {
            return Ok(place);
        }
        let _opening = shared.opening.lock().await;
        if let Some(place) = shared.room(lease, transport) {
            return Ok(place);
        }
        let connection = self.open_http2(lease, transport, &shared).await?;
        shared.connections.borrow_mut().push(Rc::clone(&connection));
        Ok(Place::on(&connection))
    }

    async fn open_http2(
        &self,
        lease: &Lease,
        transport: &Transport,
        shared: &Rc<Shared>,
    ) -> Result<Rc<Connection>, DialError> {
        let wire = self.dialer().dial(lease.instance().endpoint(), transport).await?;
        let (sender, mut connection) = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEAD)
            .max_send_buffer_size(SEND_BUFFER)
            .handshake(wire)
            .await
            .map_err(|error| DialError::NotHttp2(Some(error)))?;
        let mut pings = connection.ping_pong().expect("asked for once");
        let driver = tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a backend ended early");
            }
        });
        let ends = Ends(driver.abort_handle());
        // With the answer its settings are known, its limit on streams among them, and that it speaks HTTP/2 at all.
        pings.ping(Ping::opaque()).await.map_err(|error| DialError::NotHttp2(Some(error)))?;
        std::mem::forget(ends);
        let now = Instant::now();
        let connection = Rc::new(Connection {
            sender,
            epoch: lease.epoch(),
            tls: transport.tls.clone(),
            open: Cell::new(0),
            reused: Cell::new(false),
            over: Cell::new(false),
            idle_since: Cell::new(now),
            born: now,
        });
        let (weak, shared, instance) =
            (Rc::downgrade(&connection), Rc::downgrade(shared), Arc::clone(lease.instance()));
        tokio::task::spawn_local(async move {
            let cut = driver.abort_handle();
            tokio::select! {
                _ = driver => {}
                stuck = look_after(&weak, &instance, pings) => if stuck {
                    cut.abort();
                },
            }
            // Nobody begins anything on it any more; what is on its way keeps it until that is over.
            if let Some(connection) = weak.upgrade() {
                connection.over.set(true);
            }
            if let Some(shared) = shared.upgrade() {
                shared.remove(&weak);
            }
        });
        Ok(connection)
    }
}

/// Ends a task, if it is not told otherwise.
struct Ends(AbortHandle);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits until a connection is of no more use; says whether the backend does not answer any more.
async fn look_after(connection: &Weak<Connection>, instance: &Instance, mut pings: PingPong) -> bool {
    loop {
        if timeout(LOOK, instance.draining()).await.is_ok() {
            return false;
        }
        let Some(connection) = connection.upgrade() else { return false };
        if connection.open.get() == 0 {
            if connection.over.get() || connection.idle_since.get().elapsed() >= IDLE {
                return false;
            }
            continue;
        }
        drop(connection);
        if !matches!(timeout(PONG, pings.ping(Ping::opaque())).await, Ok(Ok(_))) {
            return true;
        }
    }
}
