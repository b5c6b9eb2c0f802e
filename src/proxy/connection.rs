//! One client connection: HTTP/1.1 by hyper, deadlines by us; HTTP/2 is handed on to `http2`.
//!
//! hyper keeps 20 KiB and more for a connection, most of it buffers and room for a request's future. One that has been quiet for
//! some time has no use for any of that: hyper is taken off it, and is put on it again by the next byte.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::mem;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use hyper::body::Incoming;
use hyper::server::conn::http1::{self, UpgradeableConnection};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;

use super::body::ResponseBody;
use super::client_io::ClientIo;
use super::handler::Handler;
use super::http2::{self, PREFACE};
use super::listener::Door;
use super::phase::{Phase, Verdict};
use super::secured::Secured;
use super::worker::{Stage, Worker};
use crate::model::settings::ClientLimits;

/// The most that hyper reads of an upload at a time, as long as reads fill all the room there is; it begins with 8 KiB.
const BUFFER: usize = 256 * 1024;

/// The most headers of a request.
const MAX_HEADERS: usize = 100;

/// Who is at the other end.
#[derive(Debug, Clone)]
pub struct Client {
    /// The address.
    pub peer: SocketAddr,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// What the handshake was about, if there was one.
    pub secured: Option<Rc<Secured>>,
    /// Where it came in.
    pub listener: Arc<Door>,
}

/// Who has the client's socket.
enum Talk<S, H: HttpService<Incoming>> {
    /// Nobody, until the next byte comes.
    Resting(ClientIo<S>, H),
    /// hyper, from the first byte of a request on.
    Going(Box<UpgradeableConnection<TokioIo<ClientIo<S>>, H>>),
    /// Nobody, and it is being closed.
    Closing(ClientIo<S>),
    /// It is closed, or the other end of a tunnel.
    Over,
}

impl<S, H> Talk<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: HttpService<Incoming, ResBody = ResponseBody, Error = Infallible>,
{
    fn wake(&mut self, max_head: usize) {
        *self = match mem::replace(self, Self::Over) {
            Self::Resting(io, service) => Self::Going(Box::new(
                http1::Builder::new()
                    .max_headers(MAX_HEADERS)
                    .max_header_size(max_head)
                    .max_buf_size(max_head.max(BUFFER))
                    .serve_connection(TokioIo::new(io), service)
                    .with_upgrades(),
            )),
            other => other,
        };
    }

    fn rest(&mut self) {
        *self = match mem::replace(self, Self::Over) {
            Self::Going(connection) => connection.into_parts().map_or(Self::Over, |parts| {
                let mut io = parts.io.into_inner();
                io.unread(&parts.read_buf);
                Self::Resting(io, parts.service)
            }),
            other => other,
        };
    }

    fn leave(&mut self) -> Option<ClientIo<S>> {
        match mem::replace(self, Self::Over) {
            Self::Resting(io, _) => Some(io),
            _ => None,
        }
    }

    fn close(&mut self) {
        *self = match mem::replace(self, Self::Over) {
            Self::Resting(io, _) => Self::Closing(io),
            other => other,
        };
    }
}

/// Serves a connection to its end.
pub async fn serve<S>(worker: Rc<Worker>, stream: S, place: OwnedSemaphorePermit, client: Client, limits: ClientLimits)
where
    S: AsyncRead + AsyncWrite + AsRawFd + Unpin + Send + 'static,
{
    let io = ClientIo::new(stream, place);
    let max_head = limits.max_head;
    let peer = client.peer;
    let phase = Rc::new(Phase::of_connection(worker.alarms.alarm(), Arc::clone(io.traffic()), &limits));
    let handler = Rc::new((Handler::new(Rc::clone(&worker), client.clone()), Rc::clone(&phase)));
    let service = service_fn(move |request| {
        let handler = Rc::clone(&handler);
        async move { Ok::<_, Infallible>(handler.0.handle(request, &handler.1).await) }
    });
    let mut talk = Talk::Resting(io, service);
    let mut closing = false;
    // Who speaks HTTP/2 says so with the first bytes. By TLS it has been said before.
    let mut is_first = !client.tls;
    let other = poll_fn(|cx| {
        loop {
            match &mut talk {
                Talk::Over => return Poll::Ready(None),
                Talk::Closing(io) => return Pin::new(io).poll_shutdown(cx).map(|_| None),
                Talk::Resting(io, _) => match io.poll_read_ahead(cx) {
                    Poll::Ready(Ok(1..)) if is_first && io.ahead().starts_with(PREFACE) => {
                        return Poll::Ready(talk.leave());
                    }
                    // It could still become either; the deadline for a head holds meanwhile.
                    Poll::Ready(Ok(1..)) if is_first && PREFACE.starts_with(io.ahead()) => {}
                    Poll::Ready(Ok(1..)) => {
                        is_first = false;
                        talk.wake(max_head);
                    }
                    Poll::Ready(_) => talk.close(),
                    Poll::Pending if worker.stage() == Stage::Closing => talk.close(),
                    Poll::Pending if phase.verdict(cx) == Verdict::GoOn => return Poll::Pending,
                    Poll::Pending => return Poll::Ready(None),
                },
                Talk::Going(connection) => {
                    let mut connection = Pin::new(&mut **connection);
                    let mut outcome = connection.as_mut().poll(cx);
                    if outcome.is_pending() && !closing && worker.stage() == Stage::Closing {
                        // Only now, for a request may have come that hyper has not read before.
                        closing = true;
                        connection.as_mut().graceful_shutdown();
                        outcome = connection.as_mut().poll(cx);
                    }
                    if let Poll::Ready(outcome) = outcome {
                        if let Err(error) = outcome {
                            tracing::debug!(%peer, %error, "a client connection ended early");
                        }
                        return Poll::Ready(None);
                    }
                    phase.observe();
                    match phase.verdict(cx) {
                        Verdict::GoOn => return Poll::Pending,
                        Verdict::Rest => {
                            talk.rest();
                            worker.leftovers.add();
                        }
                        Verdict::Overdue => return Poll::Ready(None),
                    }
                }
            }
        }
    })
    .await;
    if let Some(io) = other {
        drop((talk, phase));
        // Large, and most connections never need it.
        Box::pin(http2::serve(worker, io, client, limits)).await;
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    /// Of the future that a function returns.
    fn size<'a, A: 'a, R>(_: impl Fn(&'a A, Request<Incoming>, &'a Rc<Phase>) -> R) -> usize {
        size_of::<R>()
    }

    /// hyper keeps room for both as long as a connection is busy.
    #[test]
    fn what_serves_a_request_is_small() {
        let (future, body) = (size(Handler::handle), size_of::<ResponseBody>());
        assert!(future <= 5 * 1024 && body <= 512, "{future} and {body} bytes");
    }
}
