//! One request to one instance, and once more where that is provably safe.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, TE, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body::Body;

use super::alarm::Elapsed;
use super::body::{Download, Patience, RequestBody, ResponseBody, Upload};
use super::connection::Phase;
use super::error::ProxyError;
use super::headers::{Downstream, clean_response, forwarded, has_token};
use super::upgrade::{self, Tunnel};
use super::upstream::head::Head;
use super::upstream::{Asks, Connection, FRESH, Framing, IDLE_LIMIT, Outgoing, SendError, Sending};
use super::worker::Worker;
use crate::lifecycle::instance::Instance;
use crate::lifecycle::lease::Lease;
use crate::lifecycle::unit::{AcquireError, Unit};
use crate::model::policy::Policy;

/// How many instances are tried where connections are refused.
const MAX_INSTANCES: usize = 3;

/// What there is to send, and by which rules.
#[derive(Debug)]
pub struct Call<'c> {
    /// The thread.
    pub worker: &'c Rc<Worker>,
    /// The client's connection.
    pub phase: &'c Phase,
    /// The head as received.
    pub parts: &'c Parts,
    /// The client's side.
    pub head: Downstream<'c>,
    /// The normalised path, a prefix taken off.
    pub path: &'c str,
    /// The service's policy.
    pub policy: &'c Policy,
    /// The chosen version.
    pub unit: &'c Arc<Unit>,
    /// How long a request waits for the version to come up.
    pub start_timeout: Duration,
}

/// Who answered, and what.
pub type Forwarded = (Arc<Instance>, Response<ResponseBody>);

/// Sends the request; `None` where the version went away before anything was sent.
pub async fn forward(
    call: Call<'_>,
    body: &mut RequestBody,
    upload: &Rc<Upload>,
    tunnel: &mut Option<Tunnel>,
) -> Result<Option<Forwarded>, ProxyError> {
    let timeouts = &call.policy.timeouts;
    let total = timeouts.total.map(|limit| {
        let alarm = call.worker.alarms.alarm();
        alarm.set(limit);
        alarm
    });
    let alarms = &call.worker.alarms;
    let sent = alarms.within(timeouts.total, call.send(body, upload, tunnel.is_some())).await;
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
    let instance = Arc::clone(lease.instance());
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let tunnel = tunnel.take().ok_or(ProxyError::BadResponse)?;
        let response = upgrade::switch(call.worker, tunnel, head, outgoing.into_connection(), lease)?;
        return Ok(Some((instance, response)));
    }
    let trailers = call.parts.headers.contains_key(TE) && has_token(&call.parts.headers, &TE, "trailers");
    let mut answer = outgoing.into_answer(&head, &call.worker.pools);
    answer.give_back();
    let mut headers = head.headers;
    clean_response(&mut headers, trailers);
    call.phase.begin_response(timeouts.idle, total.as_ref());
    let download = Download {
        answer,
        lease,
        patience: Patience::new(timeouts.idle, alarms),
        total,
        upload: Rc::clone(upload),
        trailers,
        failed: None,
    };
    let mut response = Response::new(ResponseBody::download(download));
    *response.status_mut() = head.status;
    *response.headers_mut() = headers;
    Ok(Some((instance, response)))
}

enum SendFailure {
    /// The version went away; nothing was sent.
    Gone,
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
    /// Leases, connects and sends until there is a response.
    async fn send(&self, body: &mut RequestBody, upload: &Rc<Upload>, upgrade: bool) -> Result<Answered, SendFailure> {
        self.worker.earn_retry();
        let repeatable = body.is_empty() && is_idempotent(&self.parts.method);
        let asks = match self.parts.method {
            _ if upgrade => Asks::Upgrade,
            Method::HEAD => Asks::NoBody,
            _ => Asks::Body,
        };
        let mut refused = 0;
        let mut only_fresh = upgrade;
        loop {
            let lease = self.lease().await?;
            let max_idle = if repeatable { IDLE_LIMIT } else { FRESH };
            let pooled = if only_fresh { None } else { self.worker.pools.check_out(lease.instance(), max_idle) };
            let connection = match pooled {
                Some(connection) => connection,
                None => match self.connect(&lease).await {
                    Ok(connection) => connection,
                    Err(error) => {
                        refused += 1;
                        if refused < self.unit.instances().len().min(MAX_INSTANCES) {
                            continue;
                        }
                        return Err(error.into());
                    }
                },
            };
            let sending = self.encode(std::mem::replace(body, RequestBody::Empty), upgrade);
            let mut outgoing = Outgoing::new(connection, sending, asks);
            let error = match self.response(&mut outgoing, upload).await? {
                Ok(head) => return Ok(Answered { lease, outgoing, head }),
                Err(error) => error,
            };
            if let Some(problem) = upload.problem() {
                return Err(problem.into());
            }
            // Only what a connection that had served before did not answer may be sent once more.
            let stale = outgoing.is_reused() && matches!(error, SendError::Closed);
            match outgoing.into_unsent() {
                Some(unsent) if stale => *body = unsent.into_body(),
                _ if stale && repeatable && self.worker.spend_retry() => {}
                _ => return Err(self.failure(error).into()),
            }
            only_fresh = true;
        }
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

    /// A lease on an instance: at once where the version takes requests, else when it does.
    async fn lease(&self) -> Result<Lease, SendFailure> {
        if let Some(lease) = self.unit.acquire(self.worker.random()) {
            return Ok(lease);
        }
        let version = || self.unit.name().as_str().into();
        self.unit.acquire_waiting(self.worker.random(), self.start_timeout).await.map_err(|error| match error {
            AcquireError::Gone => SendFailure::Gone,
            AcquireError::Failed { retry_in } => {
                ProxyError::VersionFailed { version: version(), retry_after: retry_in }.into()
            }
            AcquireError::Timeout => ProxyError::StartTimeout { version: version() }.into(),
            AcquireError::Full => ProxyError::QueueFull.into(),
        })
    }

    async fn connect(&self, lease: &Lease) -> Result<Connection, ProxyError> {
        let instance = lease.instance();
        let connecting = Connection::open(instance);
        let error = match self.worker.alarms.within(self.policy.timeouts.connect, connecting).await {
            Ok(Ok(connection)) => {
                instance.connect_succeeded();
                return Ok(connection);
            }
            Ok(Err(error)) if is_exhaustion(&error) => {
                tracing::warn!(version = %self.unit.name(), %error, "cannot connect, for want of our own resources");
                self.worker.pools.clear();
                return Err(ProxyError::Exhausted);
            }
            Ok(Err(error)) => {
                tracing::warn!(version = %self.unit.name(), instance = %instance.endpoint(), %error, "cannot connect");
                ProxyError::Connection
            }
            Err(Elapsed) => {
                tracing::warn!(version = %self.unit.name(), instance = %instance.endpoint(), "connecting took too long");
                ProxyError::ConnectTimeout
            }
        };
        instance.connect_failed();
        Err(error)
    }

    /// Waits for the head of the response. The time for that begins when the request is out; while it goes out, the
    /// backend only has to take some of it within every idle timeout. Where the client is waited for, the body's own
    /// deadline decides.
    async fn response(&self, outgoing: &mut Outgoing, upload: &Upload) -> Result<Result<Head, SendError>, ProxyError> {
        let timeouts = &self.policy.timeouts;
        let look = match timeouts.idle {
            Some(idle) if !upload.is_finished() => Some(timeouts.response_head.map_or(idle, |head| head.min(idle))),
            _ => timeouts.response_head,
        };
        let mut seen = (upload.received(), upload.is_finished());
        let mut waited = Duration::ZERO;
        loop {
            match self.worker.alarms.within(look, poll_fn(|cx| outgoing.poll_head(cx))).await {
                Ok(outcome) => return Ok(outcome),
                Err(Elapsed) => {
                    let now = (upload.received(), outgoing.is_sent());
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

    /// The request as the backend gets it: origin-form, whatever the client sent, straight from the parsed head into bytes.
    fn encode(&self, body: RequestBody, upgrade: bool) -> Sending {
        let mut head = BytesMut::with_capacity(HEAD_CAPACITY);
        head.extend_from_slice(self.parts.method.as_str().as_bytes());
        head.extend_from_slice(b" ");
        head.extend_from_slice(self.path.as_bytes());
        if let Some(query) = self.parts.uri.query() {
            head.extend_from_slice(b"?");
            head.extend_from_slice(query.as_bytes());
        }
        head.extend_from_slice(b" HTTP/1.1\r\n");
        let edits = &self.policy.request_headers;
        if edits.is_empty() {
            forwarded(&self.parts.headers, &self.head, |name, value| put(&mut head, name, value));
        } else {
            let mut headers = HeaderMap::with_capacity(self.parts.headers.len() + 4);
            forwarded(&self.parts.headers, &self.head, |name, value| {
                if let Ok(value) = HeaderValue::from_bytes(value) {
                    headers.append(name, value);
                }
            });
            edits.apply(&mut headers);
            headers.iter().for_each(|(name, value)| put(&mut head, name, value.as_bytes()));
        }
        if upgrade {
            head.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
        }
        let framing = match body.size_hint().exact() {
            None => {
                put(&mut head, &TRANSFER_ENCODING, b"chunked");
                Framing::Chunked
            }
            Some(0) if !self.parts.headers.contains_key(CONTENT_LENGTH) => Framing::Length,
            Some(length) => {
                put(&mut head, &CONTENT_LENGTH, length.to_string().as_bytes());
                Framing::Length
            }
        };
        head.extend_from_slice(b"\r\n");
        Sending::new(head, framing, body)
    }
}

/// Room for the head of most requests.
const HEAD_CAPACITY: usize = 1024;

fn put(head: &mut BytesMut, name: &HeaderName, value: &[u8]) {
    let name = name.as_str().as_bytes();
    head.reserve(name.len() + value.len() + 4);
    head.extend_from_slice(name);
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

/// Whether an error says something of this host and nothing of the backend.
fn is_exhaustion(error: &io::Error) -> bool {
    let codes = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// RFC 9110, 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE)
}
