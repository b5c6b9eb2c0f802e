//! Serves the admin API, on the control thread.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, rc::Rc, time::Duration};

use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    auth::Guard,
    router::{Request, Response, Router},
    socket::AdminSocket,
};

/// Connections at once; the next ones wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// How long a request's head may take, a request's body, and an idle connection.
const PATIENCE: Duration = Duration::from_secs(15);
/// Of a request.
const LARGEST_BODY: usize = 1024 * 1024;
const LARGEST_HEAD: usize = 64 * 1024;
/// How long answers may take to finish once the server stops.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Serves `router` on the unix socket until `stop` is ready, then lets answers in progress finish (for a second) and removes the
/// socket. Whoever can open the socket may do all. Must run inside a `LocalSet`.
pub async fn serve_socket(socket: AdminSocket, router: Rc<Router>, stop: impl Future<Output = ()>) {
    serve(async || socket.accept().await, None, router, stop).await;
}

/// Serves `router` on a loopback port until `stop` is ready, as far as `guard` lets pass. Must run inside a `LocalSet`.
pub async fn serve_port(port: AdminPort, guard: Rc<Guard>, router: Rc<Router>, stop: impl Future<Output = ()>) {
    serve(async || port.0.accept().await.map(|(stream, _)| stream), Some(guard), router, stop).await;
}

/// A listening loopback port.
#[derive(Debug)]
pub struct AdminPort(TcpListener);

/// Why there is no port.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// It could be reached from elsewhere.
    #[error("`admin` must be a loopback address such as 127.0.0.1:9900, not {0}")]
    NotLoopback(SocketAddr),
    /// It cannot be had.
    #[error("cannot listen on {address} (`admin`): {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl AdminPort {
    /// Listens.
    ///
    /// # Errors
    /// Where the address is not a loopback one, or cannot be had.
    pub async fn bind(address: SocketAddr) -> Result<Self, PortError> {
        if !address.ip().is_loopback() {
            return Err(PortError::NotLoopback(address));
        }
        let port = TcpListener::bind(address).await.map_err(|source| PortError::Listen { address, source })?;
        Ok(Self(port))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    accept: impl AsyncFn() -> io::Result<S>,
    guard: Option<Rc<Guard>>,
    router: Rc<Router>,
    stop: impl Future<Output = ()>,
) {
    let (stopping, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            accepted = accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok(stream) => {
                    connections.spawn_local(connection(stream, guard.clone(), Rc::clone(&router), stopped.clone()));
                }
                Err(error) => {
                    // Out of descriptors, most likely: it passes, and trying at once would only burn time.
                    tracing::warn!("the admin API cannot accept a connection: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
    drop(stopping);
    let finished = async { while connections.join_next().await.is_some() {} };
    if timeout(LAST_ANSWERS, finished).await.is_err() {
        tracing::debug!("admin connections were cut off");
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    stream: S,
    guard: Option<Rc<Guard>>,
    router: Rc<Router>,
    mut stopped: watch::Receiver<()>,
) {
    let service = service_fn(|request| answer(request, guard.as_deref(), &router));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let done = tokio::select! {
        done = connection.as_mut() => done,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = done {
        tracing::debug!("admin connection: {error}");
    }
}

async fn answer(
    request: http::Request<Incoming>,
    guard: Option<&Guard>,
    router: &Router,
) -> Result<http::Response<Full<bytes::Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    if let Some(Err(refusal)) = guard.map(|guard| guard.check(&head)) {
        let refused = Response::error(refusal.status(), refusal.code(), &refusal.to_string());
        return Ok(on_the_wire(refused, true));
    }
    let Ok(Ok(body)) = timeout(PATIENCE, Limited::new(body, LARGEST_BODY).collect()).await else {
        let message = "the body is larger than 1 MiB, broke off or took too long";
        return Ok(on_the_wire(Response::error(StatusCode::BAD_REQUEST, "body", message), true));
    };
    let request = Request {
        method: if head.method == Method::HEAD { Method::GET } else { head.method },
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: head.headers,
        body: body.to_bytes(),
    };
    Ok(on_the_wire(router.answer(request).await, false))
}

fn on_the_wire(response: Response, close: bool) -> http::Response<Full<bytes::Bytes>> {
    let mut wire = http::Response::new(Full::new(response.body));
    *wire.status_mut() = response.status;
    let headers = wire.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(response.content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if response.status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if close {
        // The request's body was not read, so nothing can follow it.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    wire
}
