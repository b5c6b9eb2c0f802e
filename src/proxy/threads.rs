//! The data threads: each a runtime of its own, told what to do through one mailbox.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_rustls::LazyConfigAcceptor;

use super::client_io::ClientIo;
use super::connection::{self, Client};
use super::held::HeldBodies;
use super::http2;
use super::listener::{self, Accepted, Door};
use super::proxy_protocol;
use super::refusals::Refusals;
use super::secured::Secured;
use super::worker::{Stage, Worker};
use crate::live::Published;
use crate::model::settings::ClientLimits;
use crate::model::snapshot::contains;
use crate::telemetry::counters::ProxyCounters;
use crate::tls::challenge::ACME_TLS;
use crate::tls::resolver::Configs;

/// How long whoever connects in the last moment of a drain may take.
const LAST: Duration = Duration::from_secs(5);

/// What all data threads share.
#[derive(Debug)]
pub struct Shared {
    /// What is in force.
    pub published: Published,
    /// How TLS is spoken.
    pub tls: Configs,
    /// Seats taken, by thread.
    seats: Box<[Seats]>,
    /// What is counted whatever the service.
    pub counters: ProxyCounters,
    /// Places for client connections.
    pub places: Arc<Semaphore>,
    /// Bodies of requests that wait.
    pub held: Arc<HeldBodies>,
    /// Connects that fail, as the log is told of them.
    pub refusals: Refusals,
}

impl Shared {
    /// For `threads` data threads and so many client connections.
    #[must_use]
    pub fn new(published: Published, tls: Configs, threads: usize, max_connections: usize) -> Arc<Self> {
        Arc::new(Self {
            published,
            tls,
            seats: (0..threads).map(|_| Seats::default()).collect(),
            counters: ProxyCounters::new(threads),
            places: Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS))),
            held: Arc::default(),
            refusals: Refusals::default(),
        })
    }

    /// Client connections and tunnels over all threads.
    #[must_use]
    pub fn open(&self) -> usize {
        self.seats.iter().map(|seats| seats.taken.load(Ordering::Relaxed)).sum()
    }
}

/// How much a thread has to do: client connections, tunnels, and on the first thread its listeners.
#[derive(Debug, Default)]
struct Seats {
    taken: AtomicUsize,
    /// Told when the last is given back.
    none: Notify,
}

impl Shared {
    /// How many data threads there are.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.seats.len()
    }

    /// The thread with the fewest seats taken; among equals the first from `from` on.
    #[must_use]
    pub fn least_busy(&self, from: usize) -> usize {
        let count = self.seats.len();
        (0..count)
            .map(|i| (from + i) % count)
            .min_by_key(|thread| self.seats[*thread].taken.load(Ordering::Relaxed))
            .unwrap_or_default()
    }

    /// Takes a seat at a thread, which does not end before it is given back.
    #[must_use]
    pub fn seat(self: &Arc<Self>, thread: usize) -> Seat {
        self.seats[thread].taken.fetch_add(1, Ordering::AcqRel);
        Seat { shared: Arc::clone(self), thread }
    }

    /// Waits until a thread has nothing to do.
    pub async fn idle(&self, thread: usize) {
        let seats = &self.seats[thread];
        loop {
            let none = seats.none.notified();
            if seats.taken.load(Ordering::Acquire) == 0 {
                return;
            }
            none.await;
        }
    }
}

/// A connection, tunnel or listener of a thread.
#[derive(Debug)]
pub struct Seat {
    shared: Arc<Shared>,
    thread: usize,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let seats = &self.shared.seats[self.thread];
        if seats.taken.fetch_sub(1, Ordering::AcqRel) == 1 {
            seats.none.notify_waiters();
        }
    }
}

/// What a data thread is told.
enum Mail {
    /// Accept here from now on, until the sender is dropped; only the first thread is told so.
    Listen { listener: TcpListener, door: Arc<Door>, until: oneshot::Receiver<()> },
    /// Serve this connection.
    Serve(Accepted),
    /// A listener has closed.
    Left,
    /// Look at what is in force, so that nothing old is held by a thread without work.
    Look,
    /// Finish: no more keep-alive; idle connections are closed after the linger.
    Drain { linger: Duration },
    /// Drop everything.
    Abort,
}

/// The running data threads.
#[derive(Debug)]
pub struct DataThreads {
    shared: Arc<Shared>,
    mailboxes: Mailboxes,
    handles: Vec<JoinHandle<()>>,
    done: mpsc::UnboundedReceiver<()>,
}

/// The way to the data threads.
#[derive(Debug, Clone)]
pub struct Mailboxes(Arc<[mpsc::UnboundedSender<Mail>]>);

/// A port that is being listened on; dropping it ends that.
#[derive(Debug)]
pub struct Listening {
    _until: oneshot::Sender<()>,
}

impl DataThreads {
    /// Starts as many as `shared` is made for.
    pub fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let (senders, receivers): (Vec<_>, Vec<_>) = shared.seats.iter().map(|_| mpsc::unbounded_channel()).unzip();
        let mailboxes = Mailboxes(senders.into());
        let (done_sender, done) = mpsc::unbounded_channel();
        let handles = receivers
            .into_iter()
            .enumerate()
            .map(|(index, mailbox)| {
                let (shared, others, done) = (Arc::clone(shared), mailboxes.clone(), done_sender.clone());
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                std::thread::Builder::new().name(format!("data-{index}")).spawn(move || {
                    tokio::task::LocalSet::new().block_on(&runtime, run(Worker::new(index, shared), mailbox, others));
                    if done.send(()).is_err() {
                        tracing::debug!(thread = index, "nobody waits for this thread any more");
                    }
                })
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self { shared: Arc::clone(shared), mailboxes, handles, done })
    }

    /// The way to them.
    #[must_use]
    pub fn mailboxes(&self) -> Mailboxes {
        self.mailboxes.clone()
    }

    /// Lets requests finish, for at most `timeout`, then drops what is left. Listeners have to be dropped before.
    pub async fn drain(mut self, linger: Duration, timeout: Duration) {
        for thread in 0..self.handles.len() {
            self.mailboxes.tell(thread, Mail::Drain { linger });
        }
        let all = async {
            for _ in 0..self.handles.len() {
                // None comes only where a thread panicked, which is its end too.
                if self.done.recv().await.is_none() {
                    return;
                }
            }
        };
        if tokio::time::timeout(timeout, all).await.is_err() {
            tracing::warn!(open = self.shared.open(), "the drain's deadline passed; what is open is cut");
        }
        self.abort();
    }

    /// Drops everything at once.
    pub fn abort(self) {
        for thread in 0..self.handles.len() {
            self.mailboxes.tell(thread, Mail::Abort);
        }
        for handle in self.handles {
            if handle.join().is_err() {
                tracing::error!("a data thread ended by a panic");
            }
        }
    }
}

impl Mailboxes {
    /// Accepts connections on a bound socket, until what is returned is dropped.
    #[must_use]
    pub fn listen(&self, listener: TcpListener, tls: bool) -> Listening {
        let (sender, until) = oneshot::channel();
        self.tell(0, Mail::Listen { listener, door: Door::new(tls), until });
        Listening { _until: sender }
    }

    /// Something else is in force.
    pub fn look(&self) {
        for thread in 0..self.0.len() {
            self.tell(thread, Mail::Look);
        }
    }

    /// A listener has closed: whoever came in there looks around.
    pub(super) fn leave(&self) {
        for thread in 0..self.0.len() {
            self.tell(thread, Mail::Left);
        }
    }

    fn tell(&self, thread: usize, mail: Mail) {
        if self.0[thread].send(mail).is_err() {
            tracing::debug!(thread, "a data thread has ended already");
        }
    }

    /// Hands a connection to a thread; gives it back where that has ended.
    pub(super) fn serve(&self, thread: usize, accepted: Accepted) -> Result<(), Accepted> {
        self.0[thread].send(Mail::Serve(accepted)).map_err(|refused| match refused.0 {
            Mail::Serve(accepted) => accepted,
            _ => unreachable!("what is given back is what was sent"),
        })
    }
}

/// The life of one data thread.
async fn run(worker: Rc<Worker>, mut mailbox: mpsc::UnboundedReceiver<Mail>, others: Mailboxes) {
    tokio::task::spawn_local(Rc::clone(&worker.alarms).sweep());
    tokio::task::spawn_local(Rc::clone(&worker.pools).evict());
    tokio::task::spawn_local(Rc::clone(&worker.leftovers).clear());
    while let Some(mail) = mailbox.recv().await {
        match mail {
            Mail::Listen { listener, door, until } => {
                let accept = listener::accept(Rc::clone(&worker), listener, door, until, others.clone());
                tokio::task::spawn_local(accept);
            }
            Mail::Serve(accepted) => {
                tokio::task::spawn_local(serve(Rc::clone(&worker), accepted));
            }
            Mail::Drain { linger } => return drain(&worker, mailbox, linger).await,
            Mail::Left => worker.alarms.wake_all(),
            Mail::Look => drop(worker.live.load()),
            Mail::Abort => return,
        }
    }
}

/// The end of a data thread: answers close their connections, idle ones are closed after the linger.
async fn drain(worker: &Rc<Worker>, mut mailbox: mpsc::UnboundedReceiver<Mail>, linger: Duration) {
    worker.advance(Stage::Draining);
    let closing = async {
        tokio::select! {
            () = tokio::time::sleep(linger) => {}
            () = worker.idle() => {}
        }
        worker.advance(Stage::Closing);
        worker.idle().await;
    };
    tokio::select! {
        () = closing => {}
        () = aborted(&mut mailbox, worker) => return,
    }
    // Whoever was handed over in this very moment is served; from now on nobody can be.
    mailbox.close();
    while let Ok(mail) = mailbox.try_recv() {
        match mail {
            Mail::Serve(accepted) => drop(tokio::task::spawn_local(serve(Rc::clone(worker), accepted))),
            Mail::Abort => return,
            Mail::Listen { .. } | Mail::Drain { .. } | Mail::Left | Mail::Look => {}
        }
    }
    if tokio::time::timeout(LAST, worker.idle()).await.is_err() {
        tracing::debug!(thread = worker.thread, "the last connections are cut");
    }
}

/// Waits for the order to abort; connections that were on their way are served.
async fn aborted(mailbox: &mut mpsc::UnboundedReceiver<Mail>, worker: &Rc<Worker>) {
    while let Some(mail) = mailbox.recv().await {
        match mail {
            Mail::Abort => return,
            Mail::Serve(accepted) => {
                tokio::task::spawn_local(serve(Rc::clone(worker), accepted));
            }
            Mail::Listen { .. } | Mail::Drain { .. } | Mail::Left | Mail::Look => {}
        }
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(worker: Rc<Worker>, accepted: Accepted) {
    worker.counters().connections_accepted.add(1);
    let Accepted { stream, peer, door, place, seat } = accepted;
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::warn!(%error, "cannot serve a connection");
            worker.counters().connections_closed.add(1);
            return;
        }
    };
    let live = worker.shared.published.load();
    let settings = &live.snapshot.settings;
    let limits = settings.client.clone();
    let is_told = !settings.proxy_protocol.is_empty() && contains(&settings.proxy_protocol, peer.ip().to_canonical());
    drop(live);
    let (stream, peer) = if is_told {
        match Box::pin(told(&worker, stream, peer, &limits)).await {
            Some(told) => told,
            None => {
                worker.counters().connections_closed.add(1);
                return;
            }
        }
    } else {
        (stream, peer)
    };
    let tls = door.tls;
    let client = Client { peer, tls, secured: None, listener: door };
    if tls {
        // A handshake is large; a connection without should not keep room for one.
        Box::pin(handshake(Rc::clone(&worker), stream, place, client, limits)).await;
    } else {
        connection::serve(Rc::clone(&worker), stream, place, client, limits).await;
    }
    worker.counters().connections_closed.add(1);
    drop(seat);
}

/// Hears from a balancer who the client is.
async fn told(
    worker: &Worker,
    mut stream: TcpStream,
    peer: SocketAddr,
    limits: &ClientLimits,
) -> Option<(TcpStream, SocketAddr)> {
    match worker.alarms.within(Some(limits.request_head), proxy_protocol::receive(&mut stream)).await {
        Ok(Ok(client)) => return Some((stream, client.unwrap_or(peer))),
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a connection is refused"),
        Err(_) => tracing::debug!(%peer, "a PROXY header took too long"),
    }
    None
}

/// The same, by TLS.
async fn handshake(
    worker: Rc<Worker>,
    stream: TcpStream,
    place: OwnedSemaphorePermit,
    client: Client,
    limits: ClientLimits,
) {
    let secure = async {
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
        let asked = hello.client_hello();
        if asked.alpn().is_some_and(|mut protocols| protocols.any(|protocol| protocol == ACME_TLS)) {
            // The handshake is all that an authority wants to see.
            let shown = asked.server_name().and_then(|name| worker.shared.tls.challenges().config_of(name));
            let shown = shown.ok_or_else(|| io::Error::other("nobody has asked for a certificate for that name"))?;
            let mut stream = hello.into_stream(shown).await?;
            stream.shutdown().await?;
            return Ok(None);
        }
        let (secured, config) = Secured::begin(&worker, asked.server_name())?;
        Ok::<_, io::Error>(Some((hello.into_stream(config).await?, secured)))
    };
    let accepted = Box::pin(worker.alarms.within(Some(limits.request_head), secure)).await;
    match accepted {
        Ok(Ok(None)) => tracing::info!(peer = %client.peer, "an authority has looked at a challenge"),
        Ok(Ok(Some((stream, secured)))) => {
            let client = Client { secured: Some(Rc::new(secured)), ..client };
            if stream.get_ref().1.alpn_protocol() == Some(http2::ALPN) {
                Box::pin(http2::serve(worker, ClientIo::new(stream, place), client, limits)).await;
            } else {
                connection::serve(worker, stream, place, client, limits).await;
            }
        }
        Ok(Err(error)) => tracing::debug!(peer = %client.peer, %error, "a TLS handshake failed"),
        Err(_) => tracing::debug!(peer = %client.peer, "a TLS handshake took too long"),
    }
}
