//! WebSocket tunnels: asked for by the client, granted by the backend's 101, then bytes both ways.

use std::rc::Rc;

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::body::ResponseBody;
use super::error::ProxyError;
use super::headers::{clean_response, has_token};
use super::worker::Worker;
use crate::lifecycle::lease::Lease;

/// Bytes in each direction's buffer of a tunnel.
const BUFFER: usize = 8 * 1024;

/// The client's side of a tunnel that may come to be.
#[derive(Debug)]
pub struct Tunnel(OnUpgrade);

/// Whether the request asks for a WebSocket. Other upgrades (`h2c` above all) are not asked for on the client's behalf: the
/// header is hop-by-hop and does not go on. One with a body, or by another method than GET, is refused.
pub fn wanted(request: &mut Request<Incoming>) -> Result<Option<Tunnel>, ProxyError> {
    let headers = request.headers();
    if !headers.contains_key(UPGRADE)
        || request.version() != Version::HTTP_11
        || !has_token(headers, &CONNECTION, "upgrade")
        || !has_token(headers, &UPGRADE, "websocket")
    {
        return Ok(None);
    }
    let has_body = headers.contains_key(TRANSFER_ENCODING) || headers.get(CONTENT_LENGTH).is_some_and(|l| l != "0");
    if request.method() != Method::GET || has_body {
        return Err(ProxyError::BadUpgrade);
    }
    Ok(Some(Tunnel(hyper::upgrade::on(request))))
}

/// Answers the backend's 101 to the client and couples the two connections. The tunnel holds its lease, and nothing of any
/// snapshot.
pub fn switch(
    worker: &Rc<Worker>,
    tunnel: Tunnel,
    mut response: Response<Incoming>,
    lease: Lease,
) -> Result<Response<ResponseBody>, ProxyError> {
    let headers = response.headers();
    if !has_token(headers, &UPGRADE, "websocket") || !has_token(headers, &CONNECTION, "upgrade") {
        return Err(ProxyError::BadResponse);
    }
    let backend = hyper::upgrade::on(&mut response);
    let headers = response.headers_mut();
    clean_response(headers, false);
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let (busy, worker) = (worker.busy(), Rc::clone(worker));
    tokio::task::spawn_local(async move {
        let _held = (lease, busy);
        let (Ok(client), Ok(backend)) = (tunnel.0.await, backend.await) else { return };
        worker.counters().tunnels_opened.add(1);
        let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
        // Either side may break off at any time; that is how tunnels end.
        drop(tokio::io::copy_bidirectional_with_sizes(&mut client, &mut backend, BUFFER, BUFFER).await);
        worker.counters().tunnels_closed.add(1);
    });
    Ok(response.map(|_| ResponseBody::empty()))
}
