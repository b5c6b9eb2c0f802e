//! The socket to a backend, with what was read from it and not yet taken.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use crate::lifecycle::instance::Instance;
use crate::model::version::Endpoint;

/// What is first made room for: the head and body of most answers come in one read.
const FIRST_READ: usize = 4 * 1024;

/// A connection to an instance. It is checked out for one exchange at a time.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    instance: Arc<Instance>,
    /// Read and not yet taken.
    pub(super) unread: BytesMut,
    /// Whether it has served before: what fails on it may be stale, and no fault of the backend's.
    reused: bool,
}

impl Connection {
    /// Connects.
    pub async fn open(instance: &Arc<Instance>) -> io::Result<Self> {
        let stream = connect(instance.endpoint()).await?;
        stream.set_nodelay(true)?;
        if stream.local_addr()? == stream.peer_addr()? {
            // Nobody listens: on loopback a socket can connect to itself.
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(Self { stream, instance: Arc::clone(instance), unread: BytesMut::new(), reused: false })
    }

    /// Who is at the other end.
    #[must_use]
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// Whether it has served before.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Gives up the buffer, which an idle connection has no use for.
    pub(super) fn rest(&mut self) {
        self.unread = BytesMut::new();
        self.reused = true;
    }

    /// Whether an idle connection is still good: nothing has come, no byte and no end. As far as the runtime has heard; costs no
    /// system call.
    pub(super) fn is_quiet(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        match self.stream.poll_read_ready(&mut cx) {
            Poll::Pending => true,
            Poll::Ready(Err(_)) => false,
            // Perhaps only what the last read left behind.
            Poll::Ready(Ok(())) => {
                matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
        }
    }

    /// Reads more, at most about `want` bytes; 0 is the end.
    pub(super) fn poll_fill(&mut self, want: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.unread.reserve(want.max(FIRST_READ));
        pin!(self.stream.read_buf(&mut self.unread)).poll(cx)
    }

    /// Writes some of these, in their order.
    pub(super) fn poll_write(&mut self, parts: &[io::IoSlice<'_>], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        // A request without a body is one part, which is cheaper to send by itself.
        let written = match parts {
            [only, rest @ ..] if rest.iter().all(|part| part.is_empty()) => ready!(stream.poll_write(cx, only))?,
            _ => ready!(stream.poll_write_vectored(cx, parts))?,
        };
        Poll::Ready(if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) })
    }

    /// The socket and what was read from it, for a tunnel.
    #[must_use]
    pub fn into_tunnel(self) -> (TcpStream, BytesMut) {
        (self.stream, self.unread)
    }
}

async fn connect(endpoint: &Endpoint) -> io::Result<TcpStream> {
    match endpoint.host.parse::<IpAddr>() {
        Ok(address) => TcpStream::connect((address, endpoint.port)).await,
        Err(_) => TcpStream::connect((&*endpoint.host, endpoint.port)).await,
    }
}
