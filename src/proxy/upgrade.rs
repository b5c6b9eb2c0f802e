//! How a WebSocket tunnel comes to be: asked for by the client, granted by the backend's 101. What follows is [`tunnel`]'s.

use std::io;
use std::rc::Rc;

use http::header::{CONNECTION, CONTENT_LENGTH, UPGRADE};
use http::{Extensions, HeaderMap, HeaderValue, Method, Response, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

use super::body::ResponseBody;
use super::error::ProxyError;
use super::headers::{clean_response, has_token};
use super::listener;
use super::outline::Outline;
use super::tunnel::{self, Limits};
use super::upstream::Connection;
use super::upstream::head::Head;
use super::worker::Worker;
use crate::lifecycle::lease::Lease;

/// The client's side of a tunnel that may come to be.
#[derive(Debug)]
pub struct Tunnel(OnUpgrade);

/// Whether the request asks for a WebSocket. Other upgrades (`h2c` above all) are not asked for on the client's behalf: the
/// header is hop-by-hop and does not go on. One with a body, or by another method than GET, is refused.
pub fn wanted(
    method: &Method,
    version: Version,
    headers: &HeaderMap,
    outline: &Outline<'_>,
    extensions: &mut Extensions,
) -> Result<Option<Tunnel>, ProxyError> {
    if !outline.upgrade
        || version != Version::HTTP_11
        || !has_token(headers, &CONNECTION, "upgrade")
        || !has_token(headers, &UPGRADE, "websocket")
    {
        return Ok(None);
    }
    let has_body = outline.transfer_encoding || headers.get(CONTENT_LENGTH).is_some_and(|l| l != "0");
    if method != Method::GET || has_body {
        return Err(ProxyError::BadUpgrade);
    }
    Ok(extensions.remove().map(Tunnel))
}

/// Answers the backend's 101 to the client and couples the two connections. The tunnel holds its lease, and nothing of any
/// snapshot.
pub fn switch(
    worker: &Rc<Worker>,
    tunnel: Tunnel,
    head: Head,
    backend: Connection,
    mut lease: Lease,
    limits: Limits,
) -> Result<Response<ResponseBody>, ProxyError> {
    let mut headers = head.headers;
    if !has_token(&headers, &UPGRADE, "websocket") || !has_token(&headers, &CONNECTION, "upgrade") {
        return Err(ProxyError::BadResponse);
    }
    clean_response(&mut headers, false);
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let (seat, worker) = (worker.seat(), Rc::clone(worker));
    tokio::task::spawn_local(async move {
        let _seat = seat;
        let Ok(client) = tunnel.0.await else { return };
        worker.counters().tunnels_opened.add(1);
        // An open tunnel is to be drained, but only its bytes are traffic.
        lease.make_quiet();
        // Either side may break off at any time; that is how tunnels end.
        drop(couple(&worker, &lease, client, backend, limits).await);
        worker.counters().tunnels_closed.add(1);
    });
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = head.status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// Couples the two. What the backend sent right behind its 101 goes first.
async fn couple(
    worker: &Worker,
    lease: &Lease,
    client: Upgraded,
    backend: Connection,
    limits: Limits,
) -> io::Result<()> {
    let Some((backend, early)) = backend.into_tunnel() else { return Ok(()) };
    listener::prepare(backend.socket())?;
    tunnel::carry(worker, lease, TokioIo::new(client), (backend, early), limits).await
}
