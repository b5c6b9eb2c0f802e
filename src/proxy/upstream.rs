//! Connections to backends: pooled per thread, checked out for one exchange at a time.
//!
//! The seam is narrow on purpose: [`Pools::check_out`], [`connect`], [`Upstream::send`] and [`CheckIn::give_back`] are all
//! that the rest of the data plane knows.

use std::cell::RefCell;
use std::error::Error as _;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustc_hash::FxHashMap;
use tokio::net::TcpStream;

use super::alarm::Alarms;
use super::backend_io::BackendIo;
use super::body::RequestBody;
use crate::lifecycle::instance::Instance;
use crate::model::version::Endpoint;

/// Pooled connections are closed after this long without use. Below the 60 s and more of most servers; the 5 s of Node.js
/// are met by retries of what is safe to repeat, and by [`FRESH`] for what is not.
pub const IDLE_LIMIT: Duration = Duration::from_secs(55);

/// What may not be sent twice goes only onto connections that were in use this recently.
pub const FRESH: Duration = Duration::from_secs(1);

/// The most connections kept idle per instance and thread.
const MAX_IDLE: usize = 1024;

/// The largest head of a response, in bytes, and its most headers.
const MAX_HEAD: usize = 256 * 1024;
const MAX_HEADERS: usize = 256;

/// The idle connections of one thread, by instance.
#[derive(Debug)]
pub struct Pools {
    idle: RefCell<FxHashMap<u64, Pool>>,
    alarms: Rc<Alarms>,
    filled: tokio::sync::Notify,
}

#[derive(Debug)]
struct Pool {
    instance: Arc<Instance>,
    idle: Vec<Idle>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<RequestBody>,
    /// Of the thread's coarse clock, in milliseconds.
    since: u64,
}

/// One connection, checked out.
#[derive(Debug)]
pub struct Upstream {
    sender: SendRequest<RequestBody>,
    instance: Arc<Instance>,
    /// Whether it has served before: what fails on it may be stale, and no fault of the backend's.
    pub reused: bool,
}

/// Gives a connection back to its pool.
#[derive(Debug)]
pub struct CheckIn {
    upstream: Upstream,
    pools: Rc<Pools>,
}

/// What became of a request that got no response.
#[derive(Debug)]
pub enum SendError {
    /// Not a byte of it left: it can go anywhere else.
    Unsent(Box<Request<RequestBody>>),
    /// The backend closed before the first byte of a response.
    Closed,
    /// What the backend sent is no response.
    Invalid(hyper::Error),
    /// The request's body failed.
    Upload,
}

impl Pools {
    /// No connections yet. [`Self::evict`] has to run on the thread.
    #[must_use]
    pub fn new(alarms: &Rc<Alarms>) -> Rc<Self> {
        Rc::new(Self { idle: RefCell::default(), alarms: Rc::clone(alarms), filled: tokio::sync::Notify::new() })
    }

    /// The connection to this instance that was in use last, if it was within `max_idle`.
    #[must_use]
    pub fn check_out(&self, instance: &Arc<Instance>, max_idle: Duration) -> Option<Upstream> {
        let mut pools = self.idle.borrow_mut();
        let idle = &mut pools.get_mut(&instance.id())?.idle;
        let oldest = self.alarms.now().saturating_sub(u64::try_from(max_idle.as_millis()).unwrap_or(u64::MAX));
        while idle.last()?.since >= oldest {
            let Idle { sender, .. } = idle.pop()?;
            // One that is closed, or still busy with an upload that nobody waits for, is of no use.
            if sender.is_ready() {
                return Some(Upstream { sender, instance: Arc::clone(instance), reused: true });
            }
        }
        None
    }

    fn check_in(&self, upstream: Upstream) {
        if upstream.sender.is_closed() || upstream.instance.is_retired() {
            return;
        }
        let mut pools = self.idle.borrow_mut();
        if pools.is_empty() {
            self.filled.notify_one();
        }
        let Upstream { sender, instance, .. } = upstream;
        let pool = pools.entry(instance.id()).or_insert_with(|| Pool { instance, idle: Vec::new() });
        if pool.idle.len() < MAX_IDLE {
            pool.idle.push(Idle { sender, since: self.alarms.now() });
        }
    }

    /// Closes what was idle for too long and what leads to instances that are gone, once a second while there is anything.
    /// Never returns.
    pub async fn evict(self: Rc<Self>) {
        loop {
            while self.idle.borrow().is_empty() {
                self.filled.notified().await;
            }
            // An alarm keeps the coarse clock going, also while no client is connected.
            let _clock = self.alarms.alarm();
            tokio::time::sleep(Duration::from_secs(1)).await;
            let limit = u64::try_from(IDLE_LIMIT.as_millis()).unwrap_or(u64::MAX);
            let oldest = self.alarms.now().saturating_sub(limit);
            self.idle.borrow_mut().retain(|_, pool| {
                pool.idle.retain(|idle| idle.since >= oldest && !idle.sender.is_closed());
                !pool.idle.is_empty() && !pool.instance.is_retired()
            });
        }
    }
}

/// Opens a connection to an instance. With `upgrade` it can become a tunnel.
pub async fn connect(instance: &Arc<Instance>, upgrade: bool) -> io::Result<Upstream> {
    let stream = open(instance.endpoint()).await?;
    stream.set_nodelay(true)?;
    if stream.local_addr()? == stream.peer_addr()? {
        // Nobody listens: on loopback a socket can connect to itself.
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    let (sender, connection) = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD)
        .handshake::<_, RequestBody>(TokioIo::new(BackendIo::new(stream, !upgrade)))
        .await
        .map_err(io::Error::other)?;
    // How the connection ends is told to the exchange on it; nobody else asks.
    if upgrade {
        tokio::task::spawn_local(async move { drop(connection.with_upgrades().await) });
    } else {
        tokio::task::spawn_local(async move { drop(connection.await) });
    }
    Ok(Upstream { sender, instance: Arc::clone(instance), reused: false })
}

async fn open(endpoint: &Endpoint) -> io::Result<TcpStream> {
    match endpoint.host.parse::<IpAddr>() {
        Ok(address) => TcpStream::connect((address, endpoint.port)).await,
        Err(_) => TcpStream::connect((&*endpoint.host, endpoint.port)).await,
    }
}

impl Upstream {
    /// Sends a request and waits for the head of the response.
    pub async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, SendError> {
        self.sender.try_send_request(request).await.map_err(|mut error| {
            if let Some(unsent) = error.take_message() {
                return SendError::Unsent(Box::new(unsent));
            }
            let error = error.into_error();
            if error.is_user() {
                SendError::Upload
            } else if is_close(&error) {
                SendError::Closed
            } else {
                SendError::Invalid(error)
            }
        })
    }

    /// What gives the connection back when the response has been read to its end.
    #[must_use]
    pub fn check_in(self, pools: &Rc<Pools>) -> CheckIn {
        CheckIn { upstream: self, pools: Rc::clone(pools) }
    }
}

impl CheckIn {
    /// Back into the pool. Dropping it instead closes the connection.
    pub fn give_back(self) {
        self.pools.check_in(self.upstream);
    }
}

/// Whether an error means that the backend closed the connection before it answered.
fn is_close(error: &hyper::Error) -> bool {
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return true;
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
            return matches!(
                io.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof
            );
        }
        source = cause.source();
    }
    false
}
