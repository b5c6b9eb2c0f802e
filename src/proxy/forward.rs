//! One request to one instance, and once more where that is provably safe.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body, Incoming};

use super::alarm::Elapsed;
use super::body::{Download, Patience, RequestBody, ResponseBody, Upload};
use super::connection::Phase;
use super::error::ProxyError;
use super::headers::{Downstream, clean_response, has_token, is_plainly_coded, request_headers};
use super::upgrade::{self, Tunnel};
use super::upstream::{self, SendError, Upstream};
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
    /// Whether that is the path as received.
    pub path_is_original: bool,
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
    let (lease, upstream, mut response) = match sent {
        Err(Elapsed) => return Err(ProxyError::TotalTimeout),
        Ok(Err(SendFailure::Gone)) => return Ok(None),
        Ok(Err(SendFailure::Error(error))) => return Err(error),
        Ok(Ok(answered)) => answered,
    };
    let instance = Arc::clone(lease.instance());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let tunnel = tunnel.take().ok_or(ProxyError::BadResponse)?;
        let response = upgrade::switch(call.worker, tunnel, response, lease)?;
        return Ok(Some((instance, response)));
    }
    // Both lengths at once could be read two ways (RFC 9112, 6.3), and so could a coding that is left in the body.
    let headers = response.headers();
    let both = headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH);
    if both || !is_plainly_coded(headers) {
        return Err(ProxyError::BadResponse);
    }
    // Ours, not that of the backend (RFC 9110, 2.5); hyper lowers it for an HTTP/1.0 client.
    *response.version_mut() = Version::HTTP_11;
    let trailers = has_token(&call.parts.headers, &TE, "trailers");
    clean_response(response.headers_mut(), trailers);
    call.phase.begin_response(timeouts.idle, total.as_ref());
    // A connection that is still taking an upload, or could become a tunnel, is not for others.
    let check_in = (upload.is_finished() && tunnel.is_none()).then(|| upstream.check_in(&call.worker.pools));
    let response = response.map(|incoming| {
        ResponseBody::download(Download {
            incoming,
            check_in,
            lease,
            patience: Patience::new(timeouts.idle, alarms),
            total,
            trailers,
        })
    });
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

type Answered = (Lease, Upstream, Response<Incoming>);

impl Call<'_> {
    /// Leases, connects and sends until there is a response.
    async fn send(&self, body: &mut RequestBody, upload: &Rc<Upload>, upgrade: bool) -> Result<Answered, SendFailure> {
        self.worker.earn_retry();
        let repeatable = body.is_empty() && is_idempotent(&self.parts.method);
        let mut refused = 0;
        let mut only_fresh = upgrade;
        loop {
            let lease = self.lease().await?;
            let max_idle = if repeatable { upstream::IDLE_LIMIT } else { upstream::FRESH };
            let pooled = if only_fresh { None } else { self.worker.pools.check_out(lease.instance(), max_idle) };
            let mut upstream = match pooled {
                Some(upstream) => upstream,
                None => match self.connect(&lease, upgrade).await {
                    Ok(upstream) => upstream,
                    Err(error) => {
                        refused += 1;
                        if refused < self.unit.instances().len().min(MAX_INSTANCES) {
                            continue;
                        }
                        return Err(error.into());
                    }
                },
            };
            let request = self.request(std::mem::replace(body, RequestBody::Empty), upgrade)?;
            match self.response(upstream.send(request), upload).await? {
                Ok(response) => return Ok((lease, upstream, response)),
                Err(error) => {
                    if let Some(problem) = upload.problem() {
                        return Err(problem.into());
                    }
                    match error {
                        SendError::Unsent(unsent) if upstream.reused => *body = unsent.into_body(),
                        SendError::Closed if upstream.reused && repeatable && self.worker.spend_retry() => {}
                        SendError::Unsent(_) | SendError::Closed => return Err(ProxyError::Closed.into()),
                        SendError::Upload => return Err(ProxyError::BodyBroken.into()),
                        SendError::Invalid(error) => {
                            tracing::warn!(version = %self.unit.name(), %error, "a backend's answer is not valid");
                            return Err(ProxyError::BadResponse.into());
                        }
                    }
                    only_fresh = true;
                }
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

    async fn connect(&self, lease: &Lease, upgrade: bool) -> Result<Upstream, ProxyError> {
        let instance = lease.instance();
        let connecting = upstream::connect(instance, upgrade);
        let error = match self.worker.alarms.within(self.policy.timeouts.connect, connecting).await {
            Ok(Ok(upstream)) => {
                instance.connect_succeeded();
                return Ok(upstream);
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
    async fn response<T>(&self, send: impl Future<Output = T>, upload: &Upload) -> Result<T, ProxyError> {
        let mut send = std::pin::pin!(send);
        let timeouts = &self.policy.timeouts;
        let look = match timeouts.idle {
            Some(idle) if !upload.is_finished() => Some(timeouts.response_head.map_or(idle, |head| head.min(idle))),
            _ => timeouts.response_head,
        };
        let mut seen = (upload.received(), upload.is_finished());
        let mut waited = Duration::ZERO;
        loop {
            match self.worker.alarms.within(look, send.as_mut()).await {
                Ok(outcome) => return Ok(outcome),
                Err(Elapsed) => {
                    let now = (upload.received(), upload.is_finished());
                    if now != seen || upload.is_awaited() {
                        (seen, waited) = (now, Duration::ZERO);
                        continue;
                    }
                    waited += look.unwrap_or_default();
                    let limit = if upload.is_finished() { timeouts.response_head } else { timeouts.idle };
                    if limit.is_some_and(|limit| waited >= limit) {
                        return Err(ProxyError::ResponseTimeout);
                    }
                }
            }
        }
    }

    /// The request as the backend gets it.
    fn request(&self, body: RequestBody, upgrade: bool) -> Result<Request<RequestBody>, ProxyError> {
        let mut headers = request_headers(&self.parts.headers, &self.head);
        if upgrade {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        self.policy.request_headers.apply(&mut headers);
        if body.size_hint().exact().is_none() {
            // Said by us, since hyper sends a GET without a length as one without a body.
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let mut request = Request::new(body);
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = self.uri()?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Origin-form, whatever the client sent.
    fn uri(&self) -> Result<Uri, ProxyError> {
        let original = self.parts.uri.path_and_query();
        let path_and_query = match original {
            Some(original) if self.path_is_original => original.clone(),
            _ => {
                let query = self.parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
                PathAndQuery::try_from(format!("{}{query}", self.path)).map_err(|_| ProxyError::BadHost)?
            }
        };
        Ok(Uri::from(path_and_query))
    }
}

/// RFC 9110, 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE)
}
