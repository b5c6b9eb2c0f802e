//! Connections to the engine, kept warm: a wake asks it a few things one after the other, and should not connect for each.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::BollardRequest;
use bollard::errors::Error;
use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{Either, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Connections that are kept while nobody uses them.
const MOST_IDLE: usize = 8;
/// How long a connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

type Body = Either<Full<Bytes>, StreamBody<Pin<Box<dyn Stream<Item = io::Result<Frame<Bytes>>> + Send>>>>;
type Sender = SendRequest<Body>;

/// Where the engine listens.
#[derive(Clone)]
pub(super) enum Target {
    Unix(PathBuf),
    Tcp(Box<str>),
    Tls(Box<str>, ServerName<'static>, TlsConnector),
}

/// What bollard sends its requests through.
pub(super) struct Transport {
    target: Target,
    // Held for a push or a pop.
    idle: Mutex<Vec<Sender>>,
}

impl Transport {
    pub(super) fn new(target: Target) -> Arc<Self> {
        Arc::new(Self { target, idle: Mutex::default() })
    }

    /// Sends a request; a connection is used again once its answer has been read.
    pub(super) async fn send(self: Arc<Self>, mut request: BollardRequest) -> Result<Response<Incoming>, Error> {
        let path = request.uri().path_and_query().map(|path| path.as_str().parse()).transpose()?;
        *request.uri_mut() = path.unwrap_or_default();
        request.headers_mut().insert(header::HOST, self.host());
        while let Some(sender) = self.take_idle() {
            match self.send_on(sender, request).await {
                // The engine has closed it meanwhile, so that nothing of the request was sent.
                Err((_, Some(unsent))) => request = unsent,
                Err((error, None)) => return Err(error.into()),
                Ok(response) => return Ok(response),
            }
        }
        let sender =
            timeout(CONNECT_TIMEOUT, self.connect()).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        self.send_on(sender?, request).await.map_err(|(error, _)| error.into())
    }

    async fn send_on(
        self: &Arc<Self>,
        mut sender: Sender,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, (hyper::Error, Option<Request<Body>>)> {
        let response = match sender.try_send_request(request).await {
            Ok(response) => response,
            Err(mut error) => {
                let unsent = error.take_message();
                return Err((error.into_error(), unsent));
            }
        };
        let transport = Arc::clone(self);
        tokio::spawn(async move {
            // Not before the answer's body has been read; an error is the connection's end.
            if sender.ready().await.is_ok() {
                transport.keep(sender);
            }
        });
        Ok(response)
    }

    fn take_idle(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(|sender| sender.is_ready())
    }

    fn keep(&self, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push(sender);
        }
    }

    fn host(&self) -> HeaderValue {
        let host = match &self.target {
            Target::Unix(_) => "docker",
            Target::Tcp(host) | Target::Tls(host, ..) => host,
        };
        HeaderValue::from_str(host).unwrap_or_else(|_| HeaderValue::from_static("docker"))
    }

    async fn connect(&self) -> Result<Sender, Error> {
        match &self.target {
            Target::Unix(path) => handshake(UnixStream::connect(path).await?).await,
            Target::Tcp(host) => handshake(tcp(host).await?).await,
            Target::Tls(host, name, connector) => {
                handshake(connector.connect(name.clone(), tcp(host).await?).await?).await
            }
        }
    }
}

async fn tcp(host: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn handshake(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Sender, Error> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the Docker engine has ended");
        }
    });
    Ok(sender)
}
