//! From a request's head to the answer's: route, choose, forward, or say why not.

use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{CONNECTION, SET_COOKIE, STRICT_TRANSPORT_SECURITY, USER_AGENT};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;

use super::answer;
use super::body::{RequestBody, ResponseBody, Upload};
use super::connection::Client;
use super::error::ProxyError;
use super::exchange::Exchange;
use super::forward::{Call, forward};
use super::headers::{client_address, is_plainly_coded};
use super::outline::Outline;
use super::phase::Phase;
use super::upgrade;
use super::waiting_page;
use super::worker::{Stage, Worker};
use crate::live::{Live, ServiceState};
use crate::model::choose::{Choice, Draw, Reason, choose};
use crate::model::request::RequestView;
use crate::model::route::Target;
use crate::model::schedule::Schedule;
use crate::model::service::Service;
use crate::model::snapshot::contains;
use crate::model::sticky::Sticky;
use crate::model::version::Ignore;
use crate::model::{host, path, policy};
use crate::telemetry::counters::Unrouted;

/// Where authorities look for what only the host's owner can put there (RFC 8555, 8.3).
const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// What a request that was held waited for (W3C Server Timing).
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Serves the requests of one connection.
#[derive(Debug)]
pub struct Handler {
    worker: Rc<Worker>,
    client: Client,
    /// Its address, as it is told to backends.
    peer: Box<str>,
}

/// The head of a request in its normalised form.
struct Head<'r> {
    parts: &'r Parts,
    host: Cow<'r, str>,
    /// The host with the client's port, as the backend gets it.
    forwarded: Cow<'r, str>,
    path: Cow<'r, str>,
    client: IpAddr,
    /// Whether the peer is a trusted proxy.
    trusted: bool,
}

impl Handler {
    /// For the connection of `client`.
    #[must_use]
    pub fn new(worker: Rc<Worker>, client: Client) -> Self {
        let peer = client.peer.ip().to_canonical().to_string().into();
        Self { worker, client, peer }
    }

    /// Answers a request, whatever happens.
    pub async fn handle(&self, request: Request<Incoming>, phase: &Rc<Phase>) -> Response<ResponseBody> {
        let mut exchange = Exchange::begin(&self.worker, phase);
        let (mut parts, incoming) = request.into_parts();
        let outline = Outline::of(&parts.headers);
        let tunnel = upgrade::wanted(&parts.method, parts.version, &parts.headers, &outline, &mut parts.extensions);
        let outcome = match tunnel {
            Ok(tunnel) => self.serve(&parts, &outline, phase, incoming, tunnel, &mut exchange).await,
            Err(error) => {
                exchange.unrouted(Unrouted::NotAllowed);
                Err(error)
            }
        };
        let mut failed = None;
        let mut response = outcome.unwrap_or_else(|error| {
            failed = Some(error.status());
            exchange.failed(&error);
            if error.ends_connection() {
                phase.expect_unread_upload();
            }
            tracing::debug!(fault = %error.fault(), kind = error.kind(), "answered an error: {error}");
            if phase.is_stream() && answer::is_grpc(&parts.headers) {
                answer::grpc_error(&error)
            } else {
                answer::error(&error, &parts.headers)
            }
        });
        if let Some(timing) = exchange.waited().as_ref().and_then(|waited| waited.server_timing()) {
            response.headers_mut().append(SERVER_TIMING, timing);
        }
        // A request that was not read to its end leaves a connection on which no other can follow.
        let ends = phase.traffic().has_unread_upload() || self.worker.stage() != Stage::Open;
        if ends && !phase.is_stream() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        // To who speaks gRPC, an error is said otherwise.
        exchange.answered(failed.unwrap_or_else(|| response.status()).as_u16());
        response.body_mut().attach(exchange);
        response
    }

    async fn serve(
        &self,
        parts: &Parts,
        outline: &Outline<'_>,
        phase: &Rc<Phase>,
        incoming: Incoming,
        tunnel: Option<upgrade::Tunnel>,
        exchange: &mut Exchange,
    ) -> Result<Response<ResponseBody>, ProxyError> {
        let mut live = self.worker.live.load();
        if let Some(log) = &live.access {
            exchange.log_to(log, parts, self.client_of(parts, &live).0);
        }
        let mut tunnel = tunnel;
        let mut incoming = Some(incoming);
        let mut body: Option<(RequestBody, Rc<Upload>)> = None;
        loop {
            let decided = match self.decide(parts, outline, &live, exchange) {
                Ok(decided) => decided,
                Err(error) => {
                    if let Some(incoming) = incoming.take() {
                        discard(phase, incoming);
                    }
                    return Err(error);
                }
            };
            let Decided { head, index, choice, strip } = match decided {
                Step::Proof(text) => {
                    if let Some(incoming) = incoming.take() {
                        discard(phase, incoming);
                    }
                    return Ok(answer::proof(&text));
                }
                Step::Forward(decided) => decided,
                Step::Redirect(status, location) => {
                    if let Some(incoming) = incoming.take() {
                        discard(phase, incoming);
                    }
                    return answer::redirect(status, &location).ok_or(ProxyError::BadHost);
                }
            };
            let (service, state) = (&live.snapshot.services[index], &live.services[index]);
            let policy = &service.policy;
            if let Some(incoming) = incoming.take() {
                body = Some(RequestBody::new(incoming, policy.max_body, policy.timeouts.idle, &self.worker, phase));
            }
            let (request_body, upload) = body.as_mut().expect("made in the first round");
            exchange.uploads(upload);
            let unit = &state.units[choice.version];
            exchange.goes_to(&live, index, choice.version, choice.reason.as_str());
            if policy.max_body.is_some_and(|limit| http_body::Body::size_hint(request_body).lower() > limit) {
                return Err(ProxyError::BodyTooLarge);
            }
            let version = &service.versions[choice.version];
            let ignored = head.is_ignored(&version.sleep.ignore);
            if ignored {
                exchange.ignore();
                if !unit.is_open() {
                    return Err(ProxyError::Asleep { status: version.sleep.ignore.status });
                }
            }
            if let Some(page) = &policy.waiting_page
                && !unit.is_open()
                && waiting_page::is_navigation(parts)
            {
                unit.knock();
                exchange.failed(&ProxyError::Asleep { status: StatusCode::SERVICE_UNAVAILABLE });
                return Ok(waiting_page::answer(page, service.name.as_str(), unit));
            }
            let call = Call {
                worker: &self.worker,
                phase,
                parts,
                outline,
                head: head.downstream(self, strip),
                path: strip.map_or(&*head.path, |prefix| prefix.strip(&head.path)),
                policy,
                unit,
                version,
                max_held_bodies: live.snapshot.settings.max_held_bodies,
                ignored,
            };
            match forward(call, request_body, upload, &mut tunnel, exchange).await {
                Ok(Some(mut response)) => {
                    finish(&mut response, service, &choice, self.client.tls);
                    return Ok(response);
                }
                // The version was on its way out: what is in force now knows where to go.
                Ok(None) => live = self.worker.live.load(),
                Err(error) => return Err(error),
            }
        }
    }

    /// Everything up to the choice; reads nothing but the head and `live`.
    fn decide<'r>(
        &self,
        parts: &'r Parts,
        outline: &Outline<'r>,
        live: &'r Live,
        exchange: &mut Exchange,
    ) -> Result<Step<'r>, ProxyError> {
        if parts.method == Method::CONNECT {
            exchange.unrouted(Unrouted::NotAllowed);
            return Err(ProxyError::Connect);
        }
        if !is_plainly_coded(&parts.headers, outline) {
            return Err(ProxyError::TransferCoding);
        }
        let snapshot = &live.snapshot;
        let (client, trusted) = self.client_of(parts, live);
        let authority = authority(parts, outline)?;
        let target = parts.uri.path();
        let is_path = target.starts_with('/') || (target == "*" && parts.method == Method::OPTIONS);
        if !is_path {
            return Err(ProxyError::BadTarget);
        }
        let (host, forwarded) = host::of_request(authority).ok_or(ProxyError::BadHost)?;
        let head = Head { parts, host, forwarded, path: path::normalise(target), client, trusted };
        exchange.unrouted(Unrouted::UnknownHost);
        if let Some(token) = head.path.strip_prefix(CHALLENGES)
            && let Some(text) = self.worker.shared.tls.challenges().text_of(token)
        {
            return Ok(Step::Proof(text));
        }
        let found = snapshot.route(&head.host, &head.path, client).ok_or(ProxyError::NoService)?;
        let index = found.target.service();
        let (service, state) = (&snapshot.services[index], &live.services[index]);
        let policy = &service.policy;
        let wants_https = self.redirects_to_https(&head, live, service);
        let no_certificate = !self.client.tls && service.tls.needs_certificate();
        let own = wants_https
            || no_certificate
            || policy.allow.is_some()
            || policy.maintenance.is_some()
            || policy.redirect.is_some();
        if own || service.schedule == Schedule::Nobody {
            exchange.belongs_to(state, service.name.as_str());
        }
        if policy.allow.as_ref().is_some_and(|allow| !contains(allow, client)) {
            return Err(ProxyError::NotAllowed);
        }
        if let Some(secured) = &self.client.secured {
            secured.admits(live, (service, state), &head.host)?;
        }
        if wants_https && let Some(port) = snapshot.settings.https_port {
            let location = policy::to_https(&head.host, port, parts.uri.path(), parts.uri.query());
            return Ok(Step::Redirect(StatusCode::PERMANENT_REDIRECT, location));
        }
        if no_certificate {
            return Err(ProxyError::NoCertificate);
        }
        if let Some(maintenance) = &policy.maintenance {
            let (message, retry_after) = (maintenance.message.clone(), maintenance.retry_after);
            return Err(ProxyError::Maintenance { message, retry_after });
        }
        if let Some(redirect) = &policy.redirect {
            let location = redirect.location(parts.uri.path(), parts.uri.query());
            return Ok(Step::Redirect(redirect.status, location));
        }
        let choice = match found.target {
            Target::Preview { version, .. } => Choice { version, reason: Reason::Preview },
            Target::Service(_) => {
                choose(service, &head.view(), &mut Drawn(state)).map_err(|_| ProxyError::NoTraffic)?
            }
        };
        Ok(Step::Forward(Decided { head, index, choice, strip: found.strip }))
    }

    /// Whether the client should come by TLS. What an authority asks to see of a host it asks for by plain HTTP.
    fn redirects_to_https(&self, head: &Head<'_>, live: &Live, service: &Service) -> bool {
        !self.client.tls
            && service.tls.redirect
            && live.snapshot.settings.https_port.is_some()
            && live.certificates.covering(&head.host).is_some()
            && !head.path.starts_with(CHALLENGES)
            // A trusted proxy may have spoken TLS for us.
            && !(head.trusted && head.parts.headers.get("x-forwarded-proto").is_some_and(|it| it == "https"))
    }

    /// The client's address, and whether the peer's word was taken for it.
    fn client_of(&self, parts: &Parts, live: &Live) -> (IpAddr, bool) {
        let trusted_proxies = &live.snapshot.settings.trusted_proxies;
        let peer = self.client.peer.ip().to_canonical();
        if trusted_proxies.is_empty() || !contains(trusted_proxies, peer) {
            return (peer, false);
        }
        (client_address(peer, &parts.headers, trusted_proxies), true)
    }
}

/// The body will not be read; says so to the connection.
fn discard(phase: &Phase, incoming: Incoming) {
    if !http_body::Body::is_end_stream(&incoming) {
        phase.expect_unread_upload();
    }
}

enum Step<'r> {
    /// What an authority wants to see.
    Proof(Arc<str>),
    Redirect(StatusCode, String),
    Forward(Decided<'r>),
}

struct Decided<'r> {
    head: Head<'r>,
    /// Of the service.
    index: usize,
    choice: Choice,
    strip: Option<&'r path::PathPrefix>,
}

impl<'r> Head<'r> {
    /// Whether the request does not count as traffic.
    fn is_ignored(&self, ignore: &Ignore) -> bool {
        let agent = || self.parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        !ignore.is_empty() && ignore.holds(&self.path, agent())
    }

    fn view(&'r self) -> RequestView<'r> {
        RequestView {
            method: &self.parts.method,
            host: &self.host,
            path: &self.path,
            query: self.parts.uri.query(),
            headers: &self.parts.headers,
            client: self.client,
        }
    }

    fn downstream<'h>(
        &'h self,
        handler: &'h Handler,
        strip: Option<&'h path::PathPrefix>,
    ) -> super::headers::Downstream<'h> {
        super::headers::Downstream {
            peer: &handler.peer,
            trusted: self.trusted,
            authority: &self.forwarded,
            tls: handler.client.tls,
            strip: strip.map(path::PathPrefix::as_str),
        }
    }
}

/// The one host of a request: of an absolute-form target, which wins (RFC 9112, 3.2.2), else of the one `Host` header. In HTTP/2 the
/// authority is no more than that, and the header may not say otherwise (RFC 9113, 8.3.1).
fn authority<'r>(parts: &'r Parts, outline: &Outline<'r>) -> Result<&'r str, ProxyError> {
    if outline.more_hosts || (outline.host.is_none() && parts.version == Version::HTTP_11) {
        return Err(ProxyError::BadHost);
    }
    if parts.version == Version::HTTP_2
        && let (Some(authority), Some(named)) = (parts.uri.authority(), outline.host)
    {
        let of = |authority| host::of_request(authority).map(|(_, forwarded)| forwarded);
        let same = named.to_str().is_ok_and(|named| of(named) == of(authority.as_str()));
        return if same { Ok(authority.as_str()) } else { Err(ProxyError::BadHost) };
    }
    if let Some(authority) = parts.uri.authority() {
        return Ok(authority.as_str());
    }
    outline.host.and_then(|value| value.to_str().ok()).ok_or(ProxyError::BadHost)
}

/// The version's answer gets what the service adds.
fn finish(response: &mut Response<ResponseBody>, service: &Service, choice: &Choice, tls: bool) {
    service.policy.response_headers.apply(response.headers_mut());
    if let Some(hsts) = service.tls.hsts.as_ref().filter(|_| tls) {
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    if let (Reason::Sticky { issue: Some(value) }, Some(Sticky::Cookie { name, ttl })) =
        (&choice.reason, &service.sticky)
    {
        let age = ttl.map(|ttl| format!("; Max-Age={}", ttl.as_secs())).unwrap_or_default();
        let secure = if tls { "; Secure" } else { "" };
        if let Ok(cookie) =
            HeaderValue::try_from(format!("{name}={value}; Path=/{age}; HttpOnly; SameSite=Lax{secure}"))
        {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
    }
}

/// The proxy's own draws: the service's cursor, and random keys that nobody can guess.
struct Drawn<'s>(&'s ServiceState);

impl Draw for Drawn<'_> {
    fn next_weighted(&mut self) -> u64 {
        self.0.cursor.next()
    }

    fn random(&mut self) -> u64 {
        rand::random()
    }
}
