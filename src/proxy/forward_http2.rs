//! One request to one instance that speaks HTTP/2, and once more where the backend says that it has not looked at it.

use std::rc::Rc;

use h2::RecvStream;
use http::header::{CONTENT_LENGTH, HOST};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body::Body as _;

use super::body::{RequestBody, Upload};
use super::error::ProxyError;
use super::forward::{Call, MAX_INSTANCES, SendFailure, is_idempotent};
use super::headers::forwarded;
use super::upstream::http2::{Outgoing, Place, SendError};
use super::waiting::{SOON, Waited, wait};
use crate::lifecycle::lease::Lease;

/// How often a request that no backend has looked at is sent again: each of several may be about to end.
const MAX_AGAIN: u32 = 5;

/// A request that has got the head of a response.
pub(super) struct Answered {
    pub(super) lease: Lease,
    pub(super) outgoing: Outgoing,
    pub(super) response: Response<RecvStream>,
}

impl Call<'_> {
    /// Leases, connects and sends until there is a response.
    pub(super) async fn send_http2(
        &self,
        body: &mut RequestBody,
        upload: &Rc<Upload>,
        waited: &mut Option<Box<Waited>>,
    ) -> Result<Answered, SendFailure> {
        self.worker.earn_retry();
        let repeatable = body.is_empty() && is_idempotent(&self.parts.method);
        let (mut refused, mut again) = (0, 0);
        let mut failed = None;
        loop {
            let other = failed.take().and_then(|failed| self.unit.acquire_other(failed));
            let mut lease = match other.or_else(|| self.unit.acquire(self.worker.random())) {
                Some(lease) => lease,
                None => Box::pin(wait(self, body, upload, waited)).await?,
            };
            if self.ignored {
                lease.make_quiet();
            }
            let place = match self.place(&lease, waited).await {
                Ok(place) => place,
                Err(error) => {
                    refused += 1;
                    if refused < self.unit.instances().len().min(MAX_INSTANCES) {
                        continue;
                    }
                    if error == ProxyError::Connection && self.has_ended(lease).await {
                        continue;
                    }
                    return Err(error.into());
                }
            };
            let reused = place.is_reused();
            let sent = std::mem::replace(body, RequestBody::Empty);
            let request = self.request(&sent)?;
            let trailers = self.policy.request_headers.is_empty();
            if let Some(waited) = waited {
                waited.sends();
            }
            let mut outgoing = match Outgoing::begin(place, request, sent, trailers).await {
                Ok(outgoing) => outgoing,
                // Nothing has been sent.
                Err((error, unsent)) => {
                    *body = unsent;
                    again += 1;
                    if again <= MAX_AGAIN {
                        continue;
                    }
                    return Err(self.failed(&SendError::Failed(error)).into());
                }
            };
            let response = self.response(&mut outgoing, upload).await;
            if let Some(waited) = waited {
                waited.answered();
            }
            let error = match response? {
                Ok(response) => {
                    lease.answered();
                    let instance = lease.instance();
                    if !instance.is_out() {
                        instance.connect_succeeded();
                    }
                    return Ok(Answered { lease, outgoing, response });
                }
                Err(error) => error,
            };
            if let Some(problem) = upload.problem() {
                return Err(problem.into());
            }
            if error.is_of_connection() {
                outgoing.place().condemn();
            }
            again += 1;
            failed = Some(lease.instance().id());
            let untaken = outgoing.into_untaken();
            match untaken {
                Some(untaken) if error.is_unprocessed() && again <= MAX_AGAIN => *body = untaken,
                Some(_)
                    if repeatable && error.is_of_connection() && reused && again == 1 && self.worker.spend_retry() => {}
                _ => return Err(self.failed(&error).into()),
            }
        }
    }

    /// A place for the request on a connection.
    async fn place(&self, lease: &Lease, waited: &mut Option<Box<Waited>>) -> Result<Place, ProxyError> {
        let limit = self.policy.timeouts.connect;
        let outcome = self.worker.alarms.within(limit, self.worker.pools.place(lease, &self.version.transport)).await;
        if let Some(waited) = waited {
            waited.connected();
        }
        self.opened(lease, outcome)
    }

    /// What the client is told; the rest goes to the log.
    fn failed(&self, error: &SendError) -> ProxyError {
        match error {
            SendError::Upload => ProxyError::BodyBroken,
            SendError::Failed(error) if error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM) => {
                ProxyError::QueueTimeout { retry_after: SOON }
            }
            SendError::Failed(error) => {
                tracing::warn!(version = %self.unit.name(), %error, "a backend did not answer");
                if error.is_library() { ProxyError::BadResponse } else { ProxyError::Closed }
            }
        }
    }

    /// The request as the backend gets it.
    fn request(&self, body: &RequestBody) -> Result<Request<()>, ProxyError> {
        let mut headers = HeaderMap::with_capacity(self.parts.headers.len() + 4);
        forwarded(&self.parts.headers, self.outline, &self.head, |name, value| {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.append(name, value);
            }
        });
        self.policy.request_headers.apply(&mut headers);
        let host = headers.remove(HOST).ok_or(ProxyError::BadHost)?;
        match body.size_hint().exact() {
            Some(0) if !self.outline.content_length => {}
            Some(length) => drop(headers.insert(CONTENT_LENGTH, HeaderValue::from(length))),
            None => {}
        }
        let path = match self.parts.uri.query() {
            Some(query) => PathAndQuery::try_from(format!("{}?{query}", self.path)),
            None => PathAndQuery::try_from(self.path),
        };
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(if self.version.transport.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
        uri.authority = Some(Authority::try_from(host.as_bytes()).map_err(|_| ProxyError::BadHost)?);
        uri.path_and_query = Some(path.map_err(|_| ProxyError::BadTarget)?);
        let mut request = Request::new(());
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = Uri::from_parts(uri).map_err(|_| ProxyError::BadTarget)?;
        *request.version_mut() = http::Version::HTTP_2;
        *request.headers_mut() = headers;
        Ok(request)
    }
}
