//! Backends that do what a test says, byte by byte.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use socket2::{Domain, Socket, Type};

use super::raw::{Message, Raw};

/// A listening socket with a thread per connection; ends when dropped.
pub(crate) struct Backend {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<Message>>>,
    ended: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Backend {
    /// Hands every connection to `serve`, with its number (from 0).
    pub(crate) fn serving(serve: impl Fn(Raw, usize) + Send + Sync + 'static) -> Self {
        Self::start(move |raw, number, _| serve(raw, number))
    }

    /// Answers every request with the bytes that `answer` makes of it; keeps connections alive.
    pub(crate) fn answering(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::answering_on(TcpListener::bind("127.0.0.1:0").expect("bind"), answer)
    }

    /// The same, on a socket that listens already.
    pub(crate) fn answering_on(
        listener: TcpListener,
        answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self::start_on(listener, move |mut raw, _, requests| {
            while let Ok(Some(mut message)) = raw.try_head() {
                if raw.body(&mut message, false).is_err() {
                    return;
                }
                let bytes = answer(&message);
                requests.lock().expect("no panic").push(message);
                if std::io::Write::write_all(&mut raw.stream, &bytes).is_err() {
                    return;
                }
            }
        })
    }

    /// Answers 200 with this text.
    pub(crate) fn saying(text: impl Into<String>) -> Self {
        let text = text.into();
        Self::answering(move |_| ok(&text))
    }

    fn start(serve: impl Fn(Raw, usize, &Mutex<Vec<Message>>) + Send + Sync + 'static) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").expect("bind"), serve)
    }

    fn start_on(
        listener: TcpListener,
        serve: impl Fn(Raw, usize, &Mutex<Vec<Message>>) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("address");
        let (connections, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let acceptor = std::thread::spawn({
            let (connections, ended, requests) = (Arc::clone(&connections), Arc::clone(&ended), Arc::clone(&requests));
            let serve = Arc::new(serve);
            move || {
                for stream in listener.incoming() {
                    if ended.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(stream) = stream else { continue };
                    let number = connections.fetch_add(1, Ordering::SeqCst);
                    let (serve, requests) = (Arc::clone(&serve), Arc::clone(&requests));
                    std::thread::spawn(move || serve(Raw::new(stream), number, &requests));
                }
            }
        });
        Self { address, connections, requests, ended, acceptor: Some(acceptor) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// For `urls: [...]`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A service file with one version that is this backend.
    pub(crate) fn as_only_version(&self, service: &str) -> String {
        format!("versions:\n  {service}-001: {{urls: [\"{}\"]}}\n", self.url())
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Requests received so far (of [`Self::answering`]).
    pub(crate) fn requests(&self) -> Vec<Message> {
        self.requests.lock().expect("no panic").clone()
    }
}

/// A port that is ours and refuses connections, until somebody listens.
pub(crate) struct Refusing {
    socket: Socket,
    address: SocketAddr,
}

impl Refusing {
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
        let address = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
        Self { socket, address }
    }

    /// For `urls: [...]`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Refuses no more, and answers 200 with this text.
    pub(crate) fn saying(self, text: &'static str) -> Backend {
        self.socket.listen(64).expect("listen");
        Backend::answering_on(self.socket.into(), move |_| ok(text))
    }
}

/// The versions of a service, each a backend that says its version's name.
pub(crate) struct Fleet {
    service: &'static str,
    backends: Vec<Backend>,
}

impl Fleet {
    /// `count` versions from `<service>-001` on.
    pub(crate) fn of(service: &'static str, count: usize) -> Self {
        let backends = (1..=count).map(|number| Backend::saying(format!("{service}-{number:03}"))).collect();
        Self { service, backends }
    }

    /// The block `versions`, with all of them.
    pub(crate) fn versions(&self) -> String {
        let all: Vec<usize> = (1..=self.backends.len()).collect();
        self.only(&all)
    }

    /// The block `versions`, with those of these numbers.
    pub(crate) fn only(&self, numbers: &[usize]) -> String {
        let line = |number: &usize| {
            format!("  {}-{number:03}: {{urls: [\"{}\"]}}\n", self.service, self.backends[number - 1].url())
        };
        format!("versions:\n{}", numbers.iter().map(line).collect::<String>())
    }

    /// The line `weights`, by the versions' order.
    pub(crate) fn weights(&self, percent: &[f64]) -> String {
        let weight = |(index, percent): (usize, &f64)| format!("{}-{:03}: {percent}", self.service, index + 1);
        format!("weights: {{{}}}\n", percent.iter().enumerate().map(weight).collect::<Vec<_>>().join(", "))
    }

    /// `weights` and `versions`.
    pub(crate) fn file(&self, percent: &[f64]) -> String {
        self.weights(percent) + &self.versions()
    }

    /// The backend of the version with this number.
    pub(crate) fn backend(&self, number: usize) -> &Backend {
        &self.backends[number - 1]
    }
}

/// A 200 with a text.
pub(crate) fn ok(text: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then sees that it is over.
        let woken = std::net::TcpStream::connect(self.address).is_ok();
        if let (true, Some(acceptor)) = (woken, self.acceptor.take()) {
            acceptor.join().expect("the acceptor did not panic");
        }
    }
}
