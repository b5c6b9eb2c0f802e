//! One request to one instance, and once more where that is provably safe.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::TE;
use http::request::Parts;
use http::{Method, Response, StatusCode};

use super::alarm::{Alarm, Elapsed};
use super::awaiting::Awaiting;
use super::body::{Download, Patience, RequestBody, ResponseBody, Upload};
use super::error::ProxyError;
use super::exchange::Exchange;
use super::forward_http2::Answered as Answered2;
use super::headers::{Downstream, clean_response, has_token};
use super::outline::Outline;
use super::phase::Phase;
use super::tunnel::Limits;
use super::upgrade::{self, Tunnel};
use super::upstream::head::Head;
use super::upstream::{Arriving, Asks, Connection, DialError, FRESH, IDLE_LIMIT, Outgoing, SendError, Turn};
use super::waiting::{SOON, Waited, wait};
use super::worker::Worker;
use crate::lifecycle::lease::Lease;
use crate::lifecycle::unit::Unit;
use crate::model::policy::Policy;
use crate::model::version::Version;

/// How many instances are tried where connections are refused.
pub(super) const MAX_INSTANCES: usize = 3;

/// A request waits for its turn to connect at most so many times as long as connecting may take: whoever is before it may take all
/// of that.
const TURN: u32 = 2;

/// How long a request waits to hear that an instance which refused it has ended: its end is heard of a moment after its port is closed.
const NEWS: Duration = Duration::from_secs(1);

/// What there is to send, and by which rules.
#[derive(Debug)]
pub struct Call<'c> {
    /// The thread.
    pub worker: &'c Rc<Worker>,
    /// The client's connection.
    pub phase: &'c Phase,
    /// The head as received.
    pub parts: &'c Parts,
    /// What its headers have in them.
    pub outline: &'c Outline<'c>,
    /// The client's side.
    pub head: Downstream<'c>,
    /// The normalised path, a prefix taken off.
    pub path: &'c str,
    /// The service's policy.
    pub policy: &'c Policy,
    /// The chosen version.
    pub unit: &'c Arc<Unit>,
    /// The same, by the config.
    pub version: &'c Version,
    /// Bytes of bodies that may be held, over all versions.
    pub max_held_bodies: u64,
    /// Whether the request does not count as traffic.
    pub ignored: bool,
}

/// Sends the request; `None` where the version went away before anything was sent. What it waited for, if it did, and
/// who answered is noted in `exchange`.
pub async fn forward(
    call: Call<'_>,
    body: &mut RequestBody,
    upload: &Rc<Upload>,
    tunnel: &mut Option<Tunnel>,
    exchange: &mut Exchange,
) -> Result<Option<Response<ResponseBody>>, ProxyError> {
    let timeouts = &call.policy.timeouts;
    let total = timeouts.total.map(|limit| {
        let alarm = call.worker.alarms.alarm();
        alarm.set(limit);
        alarm
    });
    let alarms = &call.worker.alarms;
    if call.version.transport.http2 {
        return Box::pin(forward_http2(&call, body, upload, total, exchange)).await;
    }
    let sent = alarms.within(timeouts.total, call.send(body, upload, tunnel.is_some(), exchange.waited())).await;
    let Answered { lease, outgoing, head } = match sent {
        Err(Elapsed) => return Err(ProxyError::TotalTimeout),
        Ok(Err(SendFailure::Gone)) => return Ok(None),
        Ok(Err(SendFailure::Error(error))) => return Err(error),
        Ok(Ok(answered)) => answered,
    };
    // The seeded fault, which the ledger must notice: a version that was let go while it answered is taken for one that was
    // never asked, and another is asked as well.
    #[cfg(feature = "seeded-fault")]
    if call.unit.state() != crate::lifecycle::unit::State::Normal && upload.received() == 0 {
        return Ok(None);
    }
    exchange.answered_by(lease.instance().endpoint());
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let tunnel = tunnel.take().ok_or(ProxyError::BadResponse)?;
        let limits = Limits { idle: timeouts.tunnel_idle, total: timeouts.tunnel_total };
        return upgrade::switch(call.worker, tunnel, head, outgoing.into_connection(), lease, limits).map(Some);
    }
    let trailers = call.takes_trailers();
    let pools = &call.worker.pools;
    let mut answer = outgoing.into_answer(&head, pools, pools.keep(call.unit.max_concurrency()));
    answer.give_back();
    let mut headers = head.headers;
    if head.hop_by_hop {
        clean_response(&mut headers, trailers);
    }
    call.phase.begin_response(timeouts.idle, total.as_ref());
    exchange.holds(lease);
    let download = Download {
        answer: Arriving::Http1(answer),
        patience: Patience::new(timeouts.idle, alarms),
        total,
        upload: Rc::clone(upload),
        trailers,
        failed: None,
    };
    let mut response = Response::new(ResponseBody::download(download));
    *response.status_mut() = head.status;
    *response.headers_mut() = headers;
    Ok(Some(response))
}

/// The same, to a version that speaks HTTP/2.
async fn forward_http2(
    call: &Call<'_>,
    body: &mut RequestBody,
    upload: &Rc<Upload>,
    total: Option<Alarm>,
    exchange: &mut Exchange,
) -> Result<Option<Response<ResponseBody>>, ProxyError> {
    let (timeouts, alarms) = (&call.policy.timeouts, &call.worker.alarms);
    let sent = alarms.within(timeouts.total, call.send_http2(body, upload, exchange.waited())).await;
    let Answered2 { lease, outgoing, response } = match sent {
        Err(Elapsed) => return Err(ProxyError::TotalTimeout),
        Ok(Err(SendFailure::Gone)) => return Ok(None),
        Ok(Err(SendFailure::Error(error))) => return Err(error),
        Ok(Ok(answered)) => answered,
    };
    exchange.answered_by(lease.instance().endpoint());
    let (mut parts, incoming) = response.into_parts();
    if parts.status.is_informational() {
        return Err(ProxyError::BadResponse);
    }
    let trailers = call.takes_trailers();
    clean_response(&mut parts.headers, trailers);
    call.phase.begin_response(timeouts.idle, total.as_ref());
    exchange.holds(lease);
    let download = Download {
        answer: Arriving::Http2(Box::new(outgoing.into_answer(incoming))),
        patience: Patience::new(timeouts.idle, alarms),
        total,
        upload: Rc::clone(upload),
        trailers,
        failed: None,
    };
    let mut response = Response::new(ResponseBody::download(download));
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    Ok(Some(response))
}

/// Why there is no answer.
#[derive(Debug)]
pub enum SendFailure {
    /// The version went away; nothing was sent.
    Gone,
    /// What the client is told.
    Error(ProxyError),
}

impl From<ProxyError> for SendFailure {
    fn from(error: ProxyError) -> Self {
        Self::Error(error)
    }
}

/// A request that has got the head of a response.
struct Answered {
    lease: Lease,
    outgoing: Outgoing,
    head: Head,
}

impl Call<'_> {
    /// Whether the client takes trailers. Whoever speaks HTTP/2 does, asked or not.
    fn takes_trailers(&self) -> bool {
        self.phase.is_stream() || (self.outline.te && has_token(&self.parts.headers, &TE, "trailers"))
    }

    /// Leases, connects and sends until there is a response.
    async fn send(
        &self,
        body: &mut RequestBody,
        upload: &Rc<Upload>,
        upgrade: bool,
        waited: &mut Option<Box<Waited>>,
    ) -> Result<Answered, SendFailure> {
        self.worker.earn_retry();
        let repeatable = body.is_empty() && is_idempotent(&self.parts.method);
        let asks = match self.parts.method {
            _ if upgrade => Asks::Upgrade,
            Method::HEAD => Asks::NoBody,
            _ => Asks::Body,
        };
        let mut refused = 0;
        let mut only_fresh = upgrade;
        // The instance that closed a fresh connection on the request.
        let mut failed = None;
        loop {
            let other = failed.and_then(|failed| self.unit.acquire_other(failed));
            let mut lease = match other.or_else(|| self.unit.acquire(self.worker.random())) {
                Some(lease) => lease,
                // Rare, and large.
                None => Box::pin(wait(self, body, upload, waited)).await?,
            };
            if self.ignored {
                lease.make_quiet();
            }
            let max_idle = if repeatable { IDLE_LIMIT } else { FRESH };
            let pooled = if only_fresh {
                None
            } else {
                self.worker.pools.check_out(&lease, max_idle, self.version.transport.tls.as_ref())
            };
            let connection = match pooled {
                Some(connection) => connection,
                // Rare as well: what every connection keeps room for is smaller without it.
                None => match Box::pin(self.connect(&lease, !only_fresh, waited)).await {
                    Ok(connection) => connection,
                    Err(error) => {
                        refused += 1;
                        if refused < self.unit.instances().len().min(MAX_INSTANCES) {
                            continue;
                        }
                        if error == ProxyError::Connection && Box::pin(self.has_ended(lease)).await {
                            continue;
                        }
                        return Err(error.into());
                    }
                },
            };
            let sending = self.encode(std::mem::replace(body, RequestBody::Empty), upgrade);
            let mut outgoing = Outgoing::new(connection, sending, asks);
            if let Some(waited) = waited {
                waited.sends();
            }
            let response = self.response(&mut outgoing, upload).await;
            if let Some(waited) = waited {
                waited.answered();
            }
            let error = match response? {
                Ok(head) => {
                    lease.answered();
                    // Costs a look at a number, unless connects to it have failed.
                    let instance = lease.instance();
                    if !instance.is_out() {
                        instance.connect_succeeded();
                    }
                    return Ok(Answered { lease, outgoing, head });
                }
                Err(error) => error,
            };
            if let Some(problem) = upload.problem() {
                return Err(problem.into());
            }
            // What a connection that had served before did not answer may be sent once more, and so may what an instance closed a
            // fresh one on, where there is another.
            let closed = matches!(error, SendError::Closed);
            let stale = closed && outgoing.is_reused();
            let again = stale || (closed && failed.is_none() && self.has_other(&lease));
            if !stale {
                failed = Some(lease.instance().id());
            }
            let unsent = outgoing.into_unsent();
            let ended = closed && !again && unsent.is_some() && Box::pin(self.has_ended(lease)).await;
            match unsent {
                Some(unsent) if again || ended => *body = unsent.into_body(),
                _ if again && repeatable && self.worker.spend_retry() => {}
                _ => return Err(self.failure(error).into()),
            }
            only_fresh = true;
        }
    }

    /// Whether the instance that would not have a request, of which nothing was sent, turns out to have ended; the request is then
    /// for whoever comes after it. Only what tidegate started is heard of.
    pub(super) async fn has_ended(&self, lease: Lease) -> bool {
        if !self.version.backend.is_ours() {
            return false;
        }
        let instance = Arc::clone(lease.instance());
        drop(lease);
        self.worker.alarms.within(Some(NEWS), instance.draining()).await.is_ok()
    }

    /// Whether there is another instance than the lease's.
    fn has_other(&self, lease: &Lease) -> bool {
        self.unit.instances().iter().any(|instance| instance.id() != lease.instance().id())
    }

    /// What the client is told of a request that got no response; the rest goes to the log.
    fn failure(&self, error: SendError) -> ProxyError {
        match error {
            SendError::Closed => ProxyError::Closed,
            SendError::Upload => ProxyError::BodyBroken,
            SendError::Broken(error) => {
                tracing::warn!(version = %self.unit.name(), %error, "a backend's answer broke off");
                ProxyError::Closed
            }
            SendError::Invalid(error) => {
                tracing::warn!(version = %self.unit.name(), %error, "a backend's answer is not valid");
                ProxyError::BadResponse
            }
        }
    }

    /// A fresh connection, or where `reuse` is allowed one that comes back while many are being made.
    async fn connect(
        &self,
        lease: &Lease,
        reuse: bool,
        waited: &mut Option<Box<Waited>>,
    ) -> Result<Connection, ProxyError> {
        let (pools, limit) = (&self.worker.pools, self.policy.timeouts.connect);
        let most = limit.map(|limit| limit.saturating_mul(TURN));
        let outcome = match self.worker.alarms.within(most, pools.turn(lease, reuse)).await {
            Ok(Turn::Connect(_place)) => self.open(lease).await,
            Ok(Turn::Reuse(connection)) if connection.speaks(self.version.transport.tls.as_ref()) => Ok(connection),
            Ok(Turn::Reuse(_)) => self.open(lease).await,
            // No connect was tried, which says nothing of the instance.
            Err(Elapsed) => Err(ProxyError::QueueTimeout { retry_after: SOON }),
        };
        if let Some(waited) = waited {
            waited.connected();
        }
        outcome
    }

    /// Connects, and takes note of what comes of it.
    async fn open(&self, lease: &Lease) -> Result<Connection, ProxyError> {
        let limit = self.policy.timeouts.connect;
        let opening = self.worker.pools.open(lease, &self.version.transport);
        let outcome = self.worker.alarms.within(limit, opening).await;
        self.opened(lease, outcome)
    }

    /// Takes note of what came of a connect.
    pub(super) fn opened<C>(
        &self,
        lease: &Lease,
        outcome: Result<Result<C, DialError>, Elapsed>,
    ) -> Result<C, ProxyError> {
        let instance = lease.instance();
        let error = match outcome {
            Ok(Ok(connection)) => {
                instance.connect_succeeded();
                return Ok(connection);
            }
            Ok(Err(DialError::Connect(error))) if is_exhaustion(&error) => {
                tracing::warn!(version = %self.unit.name(), %error, "cannot connect, for want of our own resources");
                self.worker.pools.clear();
                return Err(ProxyError::Exhausted);
            }
            Ok(Err(error)) => {
                if let Some(untold) = self.worker.shared.refusals.note(instance.id()) {
                    let (version, instance) = (self.unit.name(), instance.endpoint());
                    tracing::warn!(%version, %instance, %error, untold, "cannot connect");
                }
                match error {
                    DialError::Connect(_) => ProxyError::Connection,
                    DialError::Tls(_) => ProxyError::Tls,
                    DialError::Certificate(_) => ProxyError::Certificate,
                    DialError::NotHttp2(_) => ProxyError::BadResponse,
                }
            }
            Err(Elapsed) => {
                if let Some(untold) = self.worker.shared.refusals.note(instance.id()) {
                    let (version, instance) = (self.unit.name(), instance.endpoint());
                    tracing::warn!(%version, %instance, untold, "connecting took too long");
                }
                ProxyError::ConnectTimeout
            }
        };
        instance.connect_failed();
        Err(error)
    }

    /// Waits for the head of the response. The time for that begins when the request is out; while it goes out, the
    /// backend only has to take some of it within every idle timeout. Where the client is waited for, the body's own
    /// deadline decides.
    pub(super) async fn response<O: Awaiting>(
        &self,
        outgoing: &mut O,
        upload: &Upload,
    ) -> Result<Result<O::Head, O::Error>, ProxyError> {
        let timeouts = &self.policy.timeouts;
        let look = match timeouts.idle {
            Some(idle) if !upload.is_passed_on() => Some(timeouts.response_head.map_or(idle, |head| head.min(idle))),
            _ => timeouts.response_head,
        };
        let mut seen = (upload.passed(), upload.is_passed_on());
        let mut waited = Duration::ZERO;
        loop {
            match self.worker.alarms.within(look, poll_fn(|cx| outgoing.poll_head(cx))).await {
                Ok(outcome) => return Ok(outcome),
                Err(Elapsed) => {
                    let now = (upload.passed(), outgoing.is_sent());
                    if now != seen || upload.is_awaited() {
                        (seen, waited) = (now, Duration::ZERO);
                        continue;
                    }
                    waited += look.unwrap_or_default();
                    let limit = if outgoing.is_sent() { timeouts.response_head } else { timeouts.idle };
                    if limit.is_some_and(|limit| waited >= limit) {
                        return Err(ProxyError::ResponseTimeout);
                    }
                }
            }
        }
    }
}

/// Whether an error says something of this host and nothing of the backend.
fn is_exhaustion(error: &io::Error) -> bool {
    let codes = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// RFC 9110, 9.2.2.
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE)
}
