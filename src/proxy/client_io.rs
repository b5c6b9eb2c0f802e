//! The client's socket, with what the rest of the data plane needs to know of it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

use super::hangup::Hangup;

/// How much of an unread upload is thrown away before the connection is closed all the same.
const LINGER_BYTES: u64 = 1024 * 1024;

/// How much of what wakes a connection is read at first: the whole head of most requests.
const AHEAD: usize = 4 * 1024;

/// What has passed through a socket. Atomics, since hyper wants upgradable I/O to be `Send`; only one thread uses them.
#[derive(Debug)]
pub struct Traffic {
    read: AtomicU64,
    written: AtomicU64,
    blocked: AtomicBool,
    unread_upload: AtomicBool,
    lingering: AtomicBool,
    hangup: Hangup,
}

impl Traffic {
    fn of(socket: &impl AsRawFd) -> Self {
        Self {
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            unread_upload: AtomicBool::new(false),
            lingering: AtomicBool::new(false),
            hangup: Hangup::of(socket),
        }
    }

    /// Whether the client has gone, also where nobody reads and so nobody has been told. Costs a system call.
    #[must_use]
    pub fn client_has_left(&self) -> bool {
        self.hangup.has_happened()
    }

    /// Bytes read from the client.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes written to the client.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Whether something waits to be written until the client has taken what came before.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Says that the client may still be sending a body that nobody reads. Closing at once would reset the connection and
    /// with it lose the answer, so the close lingers (RFC 9112, 9.6).
    pub fn expect_unread_upload(&self) {
        self.unread_upload.store(true, Ordering::Relaxed);
    }

    /// Whether [`Self::expect_unread_upload`] was said.
    #[must_use]
    pub fn has_unread_upload(&self) -> bool {
        self.unread_upload.load(Ordering::Relaxed)
    }

    /// Whether the write side is closed and what the client still sends is thrown away.
    #[must_use]
    pub fn is_lingering(&self) -> bool {
        self.lingering.load(Ordering::Relaxed)
    }

    fn add(counter: &AtomicU64, bytes: usize) {
        counter.store(counter.load(Ordering::Relaxed) + bytes as u64, Ordering::Relaxed);
    }
}

/// A client's stream, plain or TLS.
#[derive(Debug)]
pub struct ClientIo<S> {
    stream: S,
    traffic: Arc<Traffic>,
    /// Read while nobody wanted it yet, and not taken since.
    ahead: Vec<u8>,
    discarded: u64,
    /// Given back when the socket is closed, wherever an upgrade has taken it.
    _place: OwnedSemaphorePermit,
}

impl<S: AsRawFd> ClientIo<S> {
    /// Wraps a stream, with its place among the connections there may be.
    pub fn new(stream: S, place: OwnedSemaphorePermit) -> Self {
        let traffic = Arc::new(Traffic::of(&stream));
        Self { stream, traffic, ahead: Vec::new(), discarded: 0, _place: place }
    }
}

impl<S> ClientIo<S> {
    /// Puts back what was read and not used, before anything that comes.
    pub fn unread(&mut self, bytes: &[u8]) {
        self.ahead.splice(..0, bytes.iter().copied());
    }

    /// What was read and not taken.
    pub(super) fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// What passes through.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    fn wrote(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.traffic.blocked.store(outcome.is_pending(), Ordering::Relaxed);
        if let Poll::Ready(Ok(written)) = outcome {
            Traffic::add(&self.traffic.written, written);
        }
        outcome
    }
}

impl<S: AsyncRead + Unpin> ClientIo<S> {
    /// Waits for a byte, into no more memory than it takes. Adds to what was read ahead; nothing at the end.
    pub fn poll_read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut scratch = [MaybeUninit::uninit(); AHEAD];
        let mut buf = ReadBuf::uninit(&mut scratch);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        let read = buf.filled();
        Traffic::add(&self.traffic.read, read.len());
        self.ahead.extend_from_slice(read);
        Poll::Ready(Ok(read.len()))
    }

    /// Gives out what was read ahead.
    fn take_ahead(&mut self, buf: &mut ReadBuf<'_>) {
        let taken = buf.remaining().min(self.ahead.len());
        buf.put_slice(&self.ahead[..taken]);
        self.ahead.drain(..taken);
        if self.ahead.is_empty() {
            self.ahead = Vec::new();
        }
    }
}

impl<S> Drop for ClientIo<S> {
    fn drop(&mut self) {
        self.traffic.hangup.forget();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            self.take_ahead(buf);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        Traffic::add(&self.traffic.read, buf.filled().len() - before);
        outcome
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        // hyper flushes when it has written all that it has, so that a flush that is done leaves nothing waiting.
        self.traffic.blocked.store(outcome.is_pending(), Ordering::Relaxed);
        outcome
    }

    /// Closes the write side; after an unread upload also reads and throws away until the client closes, or until
    /// 1 MiB. The connection's task bounds the time.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.traffic.is_lingering() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            if !self.traffic.unread_upload.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
            self.traffic.lingering.store(true, Ordering::Relaxed);
        }
        let mut scratch = [MaybeUninit::uninit(); AHEAD];
        loop {
            let mut buf = ReadBuf::uninit(&mut scratch);
            let end = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf)).is_err() || buf.filled().is_empty();
            self.discarded += buf.filled().len() as u64;
            if end || self.discarded > LINGER_BYTES {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
