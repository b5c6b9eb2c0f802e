//! Connections to backends: HTTP/1.1 spoken straight onto a socket, pooled per thread, one exchange at a time.
//!
//! hyper's client is a task of its own behind a channel, with a header map between the two; this is one `poll` in the request's
//! own task, from the client's parsed head to the backend's socket and back, at about half the user instructions. In return it
//! has to be strict by itself: [`head`] and `chunked` refuse what could be read two ways.
//!
//! The seam is narrow on purpose: [`Pools`], [`http2`], [`Outgoing`] and [`Answer`] are all that the rest of the data
//! plane knows.

mod awaited;
mod buffers;
mod chunked;
mod connection;
mod dial;
pub mod head;
pub mod http2;
mod idle_limit;
mod pool;
mod receiving;
mod sending;
mod turns;
mod wire;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;
use tokio::task::AbortHandle;

pub use self::awaited::{Asks, Awaited};
use self::buffers::Buffers;
pub use self::chunked::ChunkError;
pub use self::connection::Connection;
pub use self::dial::DialError;
use self::head::{Head, HeadError};
pub use self::pool::{FRESH, IDLE_LIMIT, Pools};
pub use self::receiving::{ReceiveError, Received, Receiving, Taken};
pub use self::sending::{Framing, Sending, Stopped};
pub use self::turns::{Place, Turn};
pub use self::wire::Wire;
use self::wire::Writing;

/// What is read at a time while a head is awaited.
const HEAD_READ: usize = Buffers::ROOM;

/// A request on its way, until the head of its response has come.
#[derive(Debug)]
pub struct Outgoing {
    connection: Connection,
    sending: Sending,
    awaited: Awaited,
    /// The backend takes no more of the request, but may have answered.
    stopped: bool,
    /// Whether a byte of a response has come.
    heard: bool,
}

/// What became of a request that got no response.
#[derive(Debug)]
pub enum SendError {
    /// The connection ended before the first byte of a response.
    Closed,
    /// The connection ended within the head of a response, or failed.
    Broken(io::Error),
    /// What came is no response.
    Invalid(HeadError),
    /// The client's body failed.
    Upload,
}

impl Outgoing {
    /// Puts a request on a connection.
    #[must_use]
    pub fn new(connection: Connection, sending: Sending, asks: Asks) -> Self {
        Self { connection, sending, awaited: Awaited::new(asks), stopped: false, heard: false }
    }

    /// Whether a failure may be that of a connection which the backend had closed already.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.connection.is_reused()
    }

    /// The request, if not a byte of it has left.
    #[must_use]
    pub fn into_unsent(self) -> Option<Sending> {
        (!self.sending.has_begun()).then_some(self.sending)
    }

    /// Whether the backend has all of the request that it will get.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        self.stopped || self.sending.is_done()
    }

    /// Sends and waits for the head; informational responses are passed over.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, SendError>> {
        if !self.stopped && !self.sending.is_done() {
            match self.connection.poll_send(&mut self.sending, cx) {
                Poll::Pending | Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(Stopped::Upload)) => return Poll::Ready(Err(SendError::Upload)),
                // It may have answered before it closed.
                Poll::Ready(Err(Stopped::Closed)) => self.stopped = true,
            }
        }
        loop {
            if !self.connection.unread.is_empty() {
                self.heard = true;
                if let Some(head) = self.awaited.take(&mut self.connection.unread).map_err(SendError::Invalid)? {
                    return Poll::Ready(Ok(head));
                }
            }
            match ready!(self.connection.poll_fill(HEAD_READ, cx)) {
                Ok(0) if !self.heard => return Poll::Ready(Err(SendError::Closed)),
                Ok(0) => return Poll::Ready(Err(SendError::Broken(io::ErrorKind::UnexpectedEof.into()))),
                Ok(_) => {}
                Err(_) if !self.heard => return Poll::Ready(Err(SendError::Closed)),
                Err(error) => return Poll::Ready(Err(SendError::Broken(error))),
            }
        }
    }

    /// The body behind the head. The connection is then kept as one of at most `keep` that are idle.
    #[must_use]
    pub fn into_answer(self, head: &Head, pools: &Rc<Pools>, keep: usize) -> Answer {
        let Self { mut connection, sending, stopped, awaited, .. } = self;
        // Once is enough: a backend says the same each time.
        if !connection.is_reused()
            && let Some(limit) = idle_limit::announced(&head.headers)
        {
            connection.idle_limit = limit;
        }
        let (connection, uploading) = if sending.is_done() || stopped {
            (connection, None)
        } else {
            let (connection, writing) = connection.split();
            (connection, writing.map(|writing| Uploading::start(sending, writing)))
        };
        // One that was asked to switch protocols may be half way there, whatever it says.
        let reusable = head.keep_alive && !stopped && awaited.asks() != Asks::Upgrade && uploading.is_none();
        Answer {
            receiving: Receiving::new(head.length),
            keep: reusable.then_some(keep),
            uploading,
            connection: Some(connection),
            pools: Rc::clone(pools),
        }
    }

    /// The connection, after a 101.
    #[must_use]
    pub fn into_connection(self) -> Connection {
        self.connection
    }
}

/// A response's body, with the connection that it comes from. The connection goes back to its pool with the last byte.
#[derive(Debug)]
pub struct Answer {
    receiving: Receiving,
    uploading: Option<Uploading>,
    /// Until it has gone back to its pool.
    connection: Option<Connection>,
    pools: Rc<Pools>,
    /// How many idle ones it may be among, if it can be used again.
    keep: Option<usize>,
}

impl Answer {
    /// The next piece. What the client still uploads is sent on meanwhile.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, ReceiveError>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(Ok(Received::End)) };
        if let Some(uploading) = &mut self.uploading
            && let Poll::Ready(outcome) = uploading.poll(cx)
        {
            self.uploading = None;
            // Where the backend has heard enough, its answer is what counts.
            if let Err(Stopped::Upload) = outcome {
                return Poll::Ready(Err(ReceiveError::Upload));
            }
        }
        let received = ready!(self.receiving.poll(connection, cx))?;
        self.give_back();
        Poll::Ready(Ok(received))
    }

    /// Whether the client's upload still goes on.
    #[must_use]
    pub fn is_sending(&self) -> bool {
        self.uploading.is_some()
    }

    /// Whether the last byte has been handed out.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.receiving.is_done()
    }

    /// How many bytes are still to come, where that is known.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        self.receiving.left()
    }

    /// Gives the connection back once it has nothing more to do with this exchange.
    pub fn give_back(&mut self) {
        if !self.receiving.is_done() {
            return;
        }
        if let Some(connection) = self.connection.take()
            && let Some(keep) = self.keep
        {
            self.pools.check_in(connection, keep);
        }
    }
}

/// A response's body, whatever the backend speaks.
#[derive(Debug)]
pub enum Arriving {
    /// HTTP/1.1.
    Http1(Answer),
    /// HTTP/2.
    Http2(Box<http2::Answer>),
}

impl Arriving {
    /// The next piece. What the client still uploads is sent on meanwhile.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, ReceiveError>> {
        match self {
            Self::Http1(answer) => answer.poll(cx),
            Self::Http2(answer) => answer.poll(cx),
        }
    }

    /// Whether the client's upload still goes on.
    #[must_use]
    pub fn is_sending(&self) -> bool {
        match self {
            Self::Http1(answer) => answer.is_sending(),
            Self::Http2(answer) => answer.is_sending(),
        }
    }

    /// Whether the last byte has been handed out.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match self {
            Self::Http1(answer) => answer.is_done(),
            Self::Http2(answer) => answer.is_done(),
        }
    }

    /// How many bytes are still to come, where that is known.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match self {
            Self::Http1(answer) => answer.left(),
            Self::Http2(answer) => answer.is_done().then_some(0),
        }
    }
}

/// An upload that goes on while the answer comes, in a task of its own: a client may well send everything before it reads, and an
/// answer that it does not take must not hold up what it sends. Ends when dropped.
#[derive(Debug)]
struct Uploading {
    outcome: oneshot::Receiver<Result<(), Stopped>>,
    task: AbortHandle,
}

impl Uploading {
    fn start(mut sending: Sending, mut writing: Writing) -> Self {
        Self::spawn(async move {
            let outcome = poll_fn(|cx| sending.poll(&mut writing, cx)).await;
            writing.forget();
            outcome
        })
    }

    fn spawn(upload: impl Future<Output = Result<(), Stopped>> + 'static) -> Self {
        let (told, outcome) = oneshot::channel();
        let task = tokio::task::spawn_local(async move {
            let outcome = upload.await;
            // Nobody listens any more where the answer is over.
            drop(told.send(outcome));
        });
        Self { outcome, task: task.abort_handle() }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        // A sender that is gone without a word: the task was ended, and with it the upload.
        Pin::new(&mut self.outcome).poll(cx).map(|told| told.unwrap_or(Err(Stopped::Upload)))
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        self.task.abort();
    }
}
