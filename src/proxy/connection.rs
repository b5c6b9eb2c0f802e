//! One client connection: HTTP/1.1 by hyper, deadlines by us.
//!
//! hyper keeps 20 KiB and more for a connection, most of it buffers and room for a request's future. One that has been quiet for
//! `REST` has no use for any of that: hyper is taken off it, and is put on it again by the next byte.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::mem;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1::{self, UpgradeableConnection};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;

use super::alarm::{Alarm, NEVER};
use super::body::ResponseBody;
use super::client_io::{ClientIo, Traffic};
use super::handler::Handler;
use super::secured::Secured;
use super::worker::{Stage, Worker};
use crate::model::settings::ClientLimits;

/// How long a close lingers for a client that is still sending (as nginx's `lingering_timeout`, but for the whole).
const LINGER: Duration = Duration::from_secs(2);

/// How long a connection idles before hyper is taken off it. Putting it on again takes about a tenth of what a request does, so this
/// is longer than the pauses of whoever is busy.
const REST: Duration = Duration::from_millis(500);

/// The most that hyper reads of an upload at a time, as long as reads fill all the room there is; it begins with 8 KiB.
const BUFFER: usize = 256 * 1024;

/// The most headers of a request.
const MAX_HEADERS: usize = 100;

/// What a connection is doing, and how long it may.
#[derive(Debug)]
pub struct Phase {
    alarm: Alarm,
    traffic: Arc<Traffic>,
    doing: Cell<Doing>,
    /// Of [`Traffic`], as of the last change.
    mark: Cell<u64>,
    /// When the exchange has to be over, on the coarse clock.
    until: Cell<u64>,
    limits: ClientLimits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Between requests.
    Idle,
    /// The same, for longer: without hyper.
    Resting,
    /// Some bytes of a head have come.
    Head,
    /// A request is being served; the handler has deadlines of its own.
    Serving,
    /// A response is being sent; the client must take some of it now and then.
    Sending(Option<Duration>),
    /// The whole response is with hyper, and the last of it on its way; as before.
    Flushing(Option<Duration>),
    /// Closing, once the client stops sending.
    Lingering,
}

impl Phase {
    fn new(alarm: Alarm, traffic: Arc<Traffic>, limits: ClientLimits) -> Self {
        alarm.set(limits.request_head);
        Self { alarm, traffic, doing: Cell::new(Doing::Resting), mark: Cell::new(0), until: Cell::new(NEVER), limits }
    }

    /// What passes through the client's socket.
    #[must_use]
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// A head has come.
    pub fn begin_request(&self) {
        self.doing.set(Doing::Serving);
        self.until.set(NEVER);
        self.alarm.off();
    }

    /// A response is on its way; the client must take some of it within every `idle`, and all of it before `total`.
    pub fn begin_response(&self, idle: Option<Duration>, total: Option<&Alarm>) {
        self.until.set(total.map_or(NEVER, Alarm::due));
        self.doing.set(Doing::Sending(idle));
        self.watch_writing(idle);
    }

    /// The response has been handed over to hyper.
    pub fn end_request(&self) {
        // Until the client has taken the rest, the connection is not idle: a slow client would lose the end.
        match self.doing.get() {
            Doing::Sending(idle) => self.doing.set(Doing::Flushing(idle)),
            _ => {
                self.doing.set(Doing::Flushing(Some(self.limits.keep_alive)));
                self.watch_writing(Some(self.limits.keep_alive));
            }
        }
    }

    /// Nobody is there any more: the connection ends as soon as the handler has nothing more to do at present.
    pub fn give_up(&self) {
        self.alarm.at_latest(0);
    }

    fn watch_writing(&self, idle: Option<Duration>) {
        self.mark.set(self.traffic.written());
        match idle {
            Some(idle) => self.alarm.set(idle),
            None => self.alarm.off(),
        }
        self.alarm.at_latest(self.until.get());
    }

    /// Looks at what passed since the last look.
    fn observe(&self) {
        match self.doing.get() {
            Doing::Lingering => {}
            _ if self.traffic.is_lingering() => {
                self.doing.set(Doing::Lingering);
                self.alarm.set(LINGER);
            }
            Doing::Flushing(_) if !self.traffic.is_blocked() => {
                self.doing.set(Doing::Idle);
                self.mark.set(self.traffic.read());
                self.alarm.set(REST.min(self.limits.keep_alive));
            }
            Doing::Idle | Doing::Resting if self.traffic.read() != self.mark.get() => {
                self.doing.set(Doing::Head);
                self.alarm.set(self.limits.request_head);
            }
            _ => {}
        }
    }

    /// Whether the connection did for too long what it is doing, or idles for so long that it may rest.
    fn verdict(&self, cx: &Context<'_>) -> Verdict {
        while self.alarm.poll(cx).is_ready() {
            // The client is late only with what waits for it; that there is more to come is the backend's part.
            let moves = self.traffic.written() != self.mark.get() || !self.traffic.is_blocked();
            let moves = moves && self.alarm.alarms().now() < self.until.get();
            match self.doing.get() {
                Doing::Sending(idle) | Doing::Flushing(idle) if moves => self.watch_writing(idle),
                Doing::Idle if REST < self.limits.keep_alive => {
                    self.doing.set(Doing::Resting);
                    self.alarm.set(self.limits.keep_alive - REST);
                    return Verdict::Rest;
                }
                _ => return Verdict::Overdue,
            }
        }
        Verdict::GoOn
    }
}

/// What [`Phase`] says of a connection that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    GoOn,
    Rest,
    Overdue,
}

/// Who is at the other end.
#[derive(Debug, Clone)]
pub struct Client {
    /// The address.
    pub peer: SocketAddr,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// What the handshake was about, if there was one.
    pub secured: Option<Rc<Secured>>,
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
    let phase = Rc::new(Phase::new(worker.alarms.alarm(), Arc::clone(io.traffic()), limits));
    let peer = client.peer;
    let handler = Rc::new(Handler::new(Rc::clone(&worker), Rc::clone(&phase), client));
    let service = service_fn(move |request| {
        let handler = Rc::clone(&handler);
        async move { Ok::<_, Infallible>(handler.handle(request).await) }
    });
    let mut talk = Talk::Resting(io, service);
    let mut closing = false;
    poll_fn(|cx| {
        loop {
            match &mut talk {
                Talk::Over => return Poll::Ready(()),
                Talk::Closing(io) => return Pin::new(io).poll_shutdown(cx).map(drop),
                Talk::Resting(io, _) => match io.poll_read_ahead(cx) {
                    Poll::Ready(Ok(1..)) => talk.wake(max_head),
                    Poll::Ready(_) => talk.close(),
                    Poll::Pending if worker.stage() == Stage::Closing => talk.close(),
                    Poll::Pending if phase.verdict(cx) == Verdict::GoOn => return Poll::Pending,
                    Poll::Pending => return Poll::Ready(()),
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
                        return Poll::Ready(());
                    }
                    phase.observe();
                    match phase.verdict(cx) {
                        Verdict::GoOn => return Poll::Pending,
                        Verdict::Rest => {
                            talk.rest();
                            worker.leftovers.add();
                        }
                        Verdict::Overdue => return Poll::Ready(()),
                    }
                }
            }
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    /// Of the future that a function returns.
    fn size<'a, A: 'a, R>(_: impl Fn(&'a A, Request<Incoming>) -> R) -> usize {
        size_of::<R>()
    }

    /// hyper keeps room for both as long as a connection is busy.
    #[test]
    fn what_serves_a_request_is_small() {
        let (future, body) = (size(Handler::handle), size_of::<ResponseBody>());
        assert!(future <= 5 * 1024 && body <= 512, "{future} and {body} bytes");
    }
}
