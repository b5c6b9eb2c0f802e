//! HTTP/2 from both ends: a client of the h2 crate for what is asked, and bare frames for what no client would send.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;

use super::PATIENCE;

/// What a client that knows beforehand begins with.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client connection, driven while something is waited for.
pub(crate) struct Client {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
    /// What became of the connection.
    connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

/// A whole answer, or as much as there was before the stream was reset.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
    /// Why it has no end.
    pub(crate) reset: Option<h2::Reason>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.as_ref()?.get(name)?.to_str().ok()
    }
}

impl Client {
    /// In clear text, with prior knowledge.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(async move { tokio::net::TcpStream::connect(address).await.expect("connect") })
    }

    /// By TLS; the server has to choose HTTP/2.
    pub(crate) fn connect_tls(address: SocketAddr, host: &str) -> Self {
        let host = rustls_pki_types::ServerName::try_from(host.to_owned()).expect("a name");
        Self::over(async move {
            let mut config = super::tls::client_config();
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            let stream = tokio::net::TcpStream::connect(address).await.expect("connect");
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            let stream = connector.connect(host, stream).await.expect("a handshake");
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            stream
        })
    }

    fn over<S>(stream: impl Future<Output = S>) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (sender, connection) = runtime.block_on(async {
            let (sender, connection) = h2::client::handshake(stream.await).await.expect("a handshake");
            (sender, tokio::spawn(connection))
        });
        Self { runtime, sender, connection }
    }

    /// Runs something with a sender of its own, within [`PATIENCE`].
    pub(crate) fn run<F: Future>(&self, test: impl FnOnce(SendRequest<Bytes>) -> F) -> F::Output {
        let future = test(self.sender.clone());
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("in time") })
    }

    /// A request with its body; `trailers` follow.
    pub(crate) fn send(&self, request: Request<()>, body: &[u8], trailers: Option<HeaderMap>) -> Answer {
        let body = Bytes::copy_from_slice(body);
        self.run(|sender| async move {
            let mut sender = sender.ready().await.expect("ready");
            let ends = body.is_empty() && trailers.is_none();
            let (response, mut stream) = sender.send_request(request, ends).expect("sent");
            if !ends {
                send_all(&mut stream, body, trailers).await;
            }
            match response.await {
                Ok(response) => collect(response).await,
                Err(error) => Answer { reset: Some(error.reason().expect("a reason")), ..Answer::default() },
            }
        })
    }

    /// A GET.
    pub(crate) fn get(&self, host: &str, path: &str) -> Answer {
        self.send(request("GET", host, path), b"", None)
    }

    /// Waits until the connection is over, in order or not.
    pub(crate) fn end(self) -> Result<(), h2::Error> {
        let Self { runtime, sender, connection } = self;
        let ended = runtime.block_on(async { tokio::time::timeout(PATIENCE, connection).await });
        drop(sender);
        ended.expect("an end in time").expect("no panic")
    }
}

/// A request's head.
pub(crate) fn request(method: &str, host: &str, path: &str) -> Request<()> {
    let uri = format!("http://{host}{path}");
    Request::builder().method(method).uri(uri).version(http::Version::HTTP_2).body(()).expect("a request")
}

/// Sends all of a body, as the window lets it.
pub(crate) async fn send_all(stream: &mut h2::SendStream<Bytes>, mut body: Bytes, trailers: Option<HeaderMap>) {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
        let piece = body.split_to(room.min(body.len()));
        let ends = body.is_empty() && trailers.is_none();
        if stream.send_data(piece, ends).is_err() {
            return;
        }
    }
    if let Some(trailers) = trailers {
        stream.send_trailers(trailers).expect("trailers");
    }
}

/// Reads a response to its end.
pub(crate) async fn collect(response: Response<h2::RecvStream>) -> Answer {
    let (parts, mut stream) = response.into_parts();
    let mut answer = Answer { status: parts.status.as_u16(), headers: parts.headers, ..Answer::default() };
    while let Some(data) = stream.data().await {
        match data {
            Ok(data) => {
                stream.flow_control().release_capacity(data.len()).expect("capacity");
                answer.body.extend_from_slice(&data);
            }
            Err(error) => {
                answer.reset = error.reason();
                return answer;
            }
        }
    }
    match stream.trailers().await {
        Ok(trailers) => answer.trailers = trailers,
        Err(error) => answer.reset = error.reason(),
    }
    answer
}

/// One frame (RFC 9113, 4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A connection on which every byte is the test's own.
pub(crate) struct Frames {
    stream: TcpStream,
}

impl Frames {
    /// Sends the preface and empty SETTINGS.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut frames = Self::bare(address);
        frames.write(PREFACE);
        frames.send(SETTINGS, 0, 0, b"");
        frames
    }

    /// Sends nothing.
    pub(crate) fn bare(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).expect("connect"))
    }

    /// Either side of a connection.
    pub(crate) fn on(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        stream.set_nodelay(true).expect("nodelay");
        Self { stream }
    }

    /// Sends bytes; the other side may have closed.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends a frame.
    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let mut bytes = u32::try_from(payload.len()).expect("small").to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        self.write(&bytes)
    }

    /// The next frame; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// The next frame of one of these kinds.
    pub(crate) fn next_of(&mut self, kinds: &[u8]) -> Option<Frame> {
        loop {
            let frame = self.next()?;
            if kinds.contains(&frame.kind) {
                return Some(frame);
            }
        }
    }

    /// The error code of the RST_STREAM or GOAWAY that comes next; `None` where the connection just ends.
    pub(crate) fn refusal(&mut self) -> Option<(u8, u32)> {
        let frame = self.next_of(&[RST_STREAM, GOAWAY])?;
        let at = if frame.kind == GOAWAY { 4 } else { 0 };
        Some((frame.kind, u32::from_be_bytes(frame.payload[at..at + 4].try_into().expect("four bytes"))))
    }
}

/// A block of headers, each a literal that nobody indexes (RFC 7541, 6.2.2).
pub(crate) fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            let length = text.len();
            assert!(length < 127 + 128, "long texts are not for this");
            if length < 127 {
                block.push(u8::try_from(length).expect("small"));
            } else {
                block.extend([127, u8::try_from(length - 127).expect("small")]);
            }
            block.extend(text.as_bytes());
        }
    }
    block
}

/// The block of a GET, with more headers behind.
pub(crate) fn get_block(host: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let own = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", host)];
    block(&[&own[..], more].concat())
}

/// A backend that speaks HTTP/2, and does what the path says; ends with the process.
pub(crate) struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
}

/// What a [`Server`] has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connections: AtomicUsize,
    /// Method, URI and headers of each request.
    pub(crate) requests: Mutex<Vec<Request<()>>>,
    /// Streams that were reset by the other side.
    pub(crate) resets: AtomicUsize,
}

impl Server {
    /// Takes so many streams per connection; speaks TLS with this.
    pub(crate) fn start(max_streams: u32, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("an address");
        listener.set_nonblocking(true).expect("non-blocking");
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                while let Ok((stream, _)) = listener.accept().await {
                    shared.connections.fetch_add(1, Ordering::SeqCst);
                    let (seen, tls) = (Arc::clone(&shared), tls.clone());
                    tokio::spawn(async move {
                        match tls {
                            None => serve(stream, max_streams, seen).await,
                            Some(tls) => {
                                if let Ok(stream) = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await {
                                    serve(stream, max_streams, seen).await;
                                }
                            }
                        }
                    });
                }
            });
        });
        Self { address, seen }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// The file of a service whose only version this is.
    pub(crate) fn file(&self, yaml: &str) -> String {
        format!("{yaml}\nversions:\n  app-001: {{urls: [\"http://{}\"], protocol: h2c}}\n", self.address)
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, max_streams: u32, seen: Arc<Seen>) {
    let mut builder = h2::server::Builder::new();
    let Ok(mut connection) = builder.max_concurrent_streams(max_streams).handshake::<_, Bytes>(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (parts, body) = request.into_parts();
        let mut head = Request::new(());
        (*head.method_mut(), *head.uri_mut()) = (parts.method.clone(), parts.uri.clone());
        *head.headers_mut() = parts.headers.clone();
        let number = {
            let mut requests = seen.requests.lock().expect("no panic");
            requests.push(head);
            requests.iter().filter(|one| one.uri().path() == parts.uri.path()).count()
        };
        if parts.uri.path() == "/goaway" && number == 1 {
            // Nothing from here on is looked at; the client learns so when the connection closes in order.
            drop(respond);
            connection.graceful_shutdown();
            continue;
        }
        tokio::spawn(answer(parts, body, respond, number, Arc::clone(&seen)));
    }
}

/// Does what the path says.
async fn answer(
    parts: http::request::Parts,
    mut body: h2::RecvStream,
    mut respond: h2::server::SendResponse<Bytes>,
    number: usize,
    seen: Arc<Seen>,
) {
    let ok = || Response::builder().status(200);
    match parts.uri.path() {
        "/refuse" if number < 3 => respond.send_reset(h2::Reason::REFUSED_STREAM),
        "/refuse-all" => respond.send_reset(h2::Reason::REFUSED_STREAM),
        "/internal" => respond.send_reset(h2::Reason::INTERNAL_ERROR),
        "/broken" => {
            let mut stream = respond.send_response(ok().body(()).expect("a response"), false).expect("sent");
            stream.send_data(Bytes::from_static(b"hello"), false).expect("sent");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            stream.send_reset(h2::Reason::INTERNAL_ERROR);
        }
        "/wait" => {
            // Until it is reset, for the client has left.
            if std::future::poll_fn(|cx| respond.poll_reset(cx)).await.is_ok() {
                seen.resets.fetch_add(1, Ordering::SeqCst);
            }
        }
        "/slow" => {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            let mut stream = respond.send_response(ok().body(()).expect("a response"), false).expect("sent");
            stream.send_data(Bytes::from_static(b"slow"), true).expect("sent");
        }
        "/both" => {
            // Answers while it is still asked.
            let mut stream = respond.send_response(ok().body(()).expect("a response"), false).expect("sent");
            while let Some(Ok(data)) = body.data().await {
                body.flow_control().release_capacity(data.len()).expect("capacity");
                send_piece(&mut stream, data).await;
            }
            stream.send_data(Bytes::new(), true).expect("sent");
        }
        "/large" => {
            let response = ok().header("content-length", 5_000_000).body(()).expect("a response");
            let mut stream = respond.send_response(response, false).expect("sent");
            send_all(&mut stream, Bytes::from(vec![7; 5_000_000]), None).await;
        }
        _ => {
            let mut text = format!("{} {}|", parts.method, parts.uri);
            while let Some(Ok(data)) = body.data().await {
                body.flow_control().release_capacity(data.len()).expect("capacity");
                text.push_str(&String::from_utf8_lossy(&data));
            }
            let came = body.trailers().await.ok().flatten().unwrap_or_default();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", came.get("x-mine").cloned().unwrap_or(http::HeaderValue::from_static("none")));
            let response = ok().header("trailer", "x-sum").body(()).expect("a response");
            let mut stream = respond.send_response(response, false).expect("sent");
            send_all(&mut stream, Bytes::from(text), Some(trailers)).await;
        }
    }
}

async fn send_piece(stream: &mut h2::SendStream<Bytes>, mut data: Bytes) {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
        let piece = data.split_to(room.min(data.len()));
        stream.send_data(piece, false).expect("sent");
    }
}
