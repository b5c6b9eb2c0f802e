//! The command line's way to the tidegate that runs.

use std::{
    io,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, time::timeout};

/// How long an answer may take. A reload reads all files, and may wait for processes to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no tidegate is running here (socket {}): start one with `tidegate serve`, or name its config", .0.display())]
    NotRunning(PathBuf),
    /// The socket is somebody else's.
    #[error("may not open {}: run this as the user that runs tidegate, or as root", .0.display())]
    NotAllowed(PathBuf),
    /// It did not answer in time.
    #[error("tidegate did not answer within {} s (socket {})", .patience.as_secs(), .socket.display())]
    TooSlow {
        /// Where.
        socket: PathBuf,
        /// How long it had.
        patience: Duration,
    },
    /// It answered with an error.
    #[error("{message}")]
    Refused {
        /// With this status.
        status: StatusCode,
        /// And these words.
        message: String,
    },
    /// What answered is not this version's tidegate, or not tidegate.
    #[error("what answers on {} is not understood; is it another version of tidegate?", .socket.display())]
    NotUnderstood {
        /// Where.
        socket: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The connection failed.
    #[error("cannot talk to tidegate on {}", .socket.display())]
    Io {
        /// Where.
        socket: PathBuf,
        /// How.
        #[source]
        source: io::Error,
    },
}

/// A client of the admin API on a unix socket. Blocks, on a small runtime of its own.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    patience: Duration,
}

impl Client {
    /// For the tidegate that listens on `socket`.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), patience: PATIENCE }
    }

    /// Waits for an answer for so long, rather than a minute.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Gets a path's JSON.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.parse(&self.get(path)?)
    }

    /// Gets a path's bytes, whatever they are.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub fn get(&self, path: &str) -> Result<Bytes, ClientError> {
        self.call(Method::GET, path, Bytes::new())
    }

    /// Posts JSON to a path and gets its answer's.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub fn post_json<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let not_json = |source| self.not_understood(source);
        let body = serde_json::to_vec(body).map_err(not_json)?;
        self.parse(&self.call(Method::POST, path, body.into())?)
    }

    /// Asks something of a version by posting to a path, and gets the answer's JSON. The name may be anything.
    ///
    /// # Errors
    /// As [`ClientError`] says.
    pub fn command<T: DeserializeOwned>(&self, path: &str, version: &str) -> Result<T, ClientError> {
        let path = format!("{path}?version={}", encoded(version));
        self.parse(&self.call(Method::POST, &path, Bytes::new())?)
    }

    fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .expect("paths are written in this program");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| self.io(e))?;
        let exchange = runtime.block_on(async { timeout(self.patience, exchange(&self.socket, request)).await });
        let (status, body) = exchange.map_err(|_| self.too_slow())?.map_err(|e| self.io(e))?;
        if !status.is_success() {
            return Err(ClientError::Refused { status, message: message(status, &body) });
        }
        Ok(body)
    }

    fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|source| self.not_understood(source))
    }

    fn not_understood(&self, source: serde_json::Error) -> ClientError {
        ClientError::NotUnderstood { socket: self.socket.clone(), source }
    }

    fn too_slow(&self) -> ClientError {
        ClientError::TooSlow { socket: self.socket.clone(), patience: self.patience }
    }

    fn io(&self, source: io::Error) -> ClientError {
        let socket = self.socket.clone();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning(socket),
            io::ErrorKind::PermissionDenied => ClientError::NotAllowed(socket),
            _ => ClientError::Io { socket, source },
        }
    }
}

async fn exchange(socket: &Path, request: Request<Full<Bytes>>) -> io::Result<(StatusCode, Bytes)> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let mut connection = pin!(connection);
    let mut answer = pin!(async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
    });
    tokio::select! {
        answer = &mut answer => return answer.map_err(io::Error::other),
        _ = &mut connection => {}
    }
    // The connection is over; what it delivered is still there to be taken.
    answer.await.map_err(io::Error::other)
}

fn message(status: StatusCode, body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = json.as_ref().and_then(|json| json["error"]["message"].as_str());
    message.map_or_else(|| format!("tidegate answered {status}"), plain)
}

/// Without control characters but line ends: it may quote what a backend wrote, and a terminal would obey them.
fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() && char != '\n' { ' ' } else { char }).collect()
}

/// Percent-encoded (RFC 3986, 2.1), but for what needs no encoding.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
