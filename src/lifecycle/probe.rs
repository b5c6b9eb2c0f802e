//! Whether an address is ready for requests.
//!
//! A probe that is refused, as all are until the very end, is three system calls and allocates nothing. One that is accepted closes
//! its connection as any client does that has nothing to ask. A reset (`SO_LINGER` of 0) would save this side a socket in TIME_WAIT, of
//! which there is one per start; servers would log it as an error, and simple ones end on it.

mod pace;
mod target;

use std::net::SocketAddr;
use std::time::Duration;
use std::{fmt, io};

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use self::pace::Pace;
use self::target::Target;
use crate::model::version::{Endpoint, Readiness};

/// A connect on the own host or network is answered at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an answer to `ready: {http: ...}` may take before the probe is tried again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A proxy that finds nobody behind it has closed by then: it asks on its own host.
const STAYS_OPEN: Duration = Duration::from_millis(50);
/// How much of an answer is read beyond its status, in KiB.
const MOST_READS: usize = 64;

/// Why an address is not ready.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// Nobody accepts.
    #[error("nothing accepts on {address}: {source}")]
    Connect {
        /// The address probed.
        address: SocketAddr,
        /// What the connect said.
        source: io::Error,
    },
    /// The connect ran into its time limit.
    #[error("connecting to {0} took over {CONNECT_TIMEOUT:?}")]
    ConnectTimeout(SocketAddr),
    /// Whoever accepted closed the connection at once: a proxy with nobody behind it.
    #[error("{address} accepts and closes at once, as Docker's proxy does while nothing listens behind it")]
    Closed {
        /// The address probed.
        address: SocketAddr,
    },
    /// The name has no address.
    #[error("the name `{host}` has no address: {source}")]
    Name {
        /// The name.
        host: Box<str>,
        /// What the resolver said.
        source: io::Error,
    },
    /// The probe's own port was the one probed, and TCP let the socket connect to itself.
    #[error("nothing listens on {0}: the probe connected to itself")]
    Itself(SocketAddr),
    /// The port accepts, but the path did not answer 2xx or 3xx.
    #[error("GET {path} on {address} answered {status}, not 2xx or 3xx")]
    Status {
        /// The address probed.
        address: SocketAddr,
        /// The path probed.
        path: Box<str>,
        /// The answer's status.
        status: u16,
    },
    /// The port accepts, but what it answered is not HTTP/1, or nothing.
    #[error("GET {path} on {address} got no HTTP/1 answer: {source}")]
    NoAnswer {
        /// The address probed.
        address: SocketAddr,
        /// The path probed.
        path: Box<str>,
        /// What went wrong.
        source: io::Error,
    },
}

/// Probes until the address is ready, and says how many probes that took: one every 1 to 2 ms for 200 ms, then one whenever a 300th of the
/// time since the beginning has passed, at most 25 ms.
///
/// # Errors
/// The last probe's, when `deadline` passes first.
pub async fn until_ready(address: SocketAddr, readiness: &Readiness, deadline: Instant) -> Result<u32, NotReady> {
    let question = Question::new(readiness, &address);
    let mut pace = Pace::begin();
    pace.until(deadline, async || probe(address, question.as_ref(), deadline).await).await?;
    Ok(pace.probes())
}

/// As [`until_ready`], for an address where somebody else accepts before the backend does (Docker's proxy, behind a published port): a
/// connection is proof only once it has stayed open for 50 ms, or something came. Nobody is behind the proxy while it closes at once.
///
/// # Errors
/// The last probe's, when `deadline` passes first.
pub async fn until_ready_behind_proxy(
    address: SocketAddr,
    readiness: &Readiness,
    deadline: Instant,
) -> Result<u32, NotReady> {
    let question = Question::new(readiness, &address);
    let mut pace = Pace::begin();
    let probe_through = async || match &question {
        Some(question) => probe(address, Some(question), deadline).await,
        None => stays_open(address, deadline).await,
    };
    pace.until(deadline, probe_through).await?;
    Ok(pace.probes())
}

/// Probes until all endpoints have been ready, and says how many probes that took; at the pace of [`until_ready`]. Of a name with
/// several addresses one has to be ready, since requests go to whichever accepts.
///
/// # Errors
/// The last probe's, when `deadline` passes first.
pub async fn until_all_ready(
    endpoints: &[Endpoint],
    readiness: &Readiness,
    deadline: Instant,
) -> Result<u32, NotReady> {
    let mut pace = Pace::begin();
    // One after the other takes no longer than all at once: who is ready meanwhile is found so by its first probe.
    for endpoint in endpoints {
        let question = Question::new(readiness, endpoint);
        let mut target = Target::new(endpoint);
        let probe_any = async || {
            let mut not_ready = None;
            for address in target.addresses(deadline).await? {
                match probe(*address, question.as_ref(), deadline).await {
                    Ok(()) => return Ok(()),
                    Err(error) => not_ready = Some(error),
                }
            }
            Err(not_ready
                .unwrap_or(NotReady::Name { host: endpoint.host.clone(), source: io::ErrorKind::NotFound.into() }))
        };
        pace.until(deadline, probe_any).await?;
    }
    Ok(pace.probes())
}

/// What is asked for readiness by HTTP; made once for all probes.
struct Question<'a> {
    path: &'a str,
    request: String,
}

impl<'a> Question<'a> {
    /// `None` where readiness is the port alone.
    fn new(readiness: &'a Readiness, authority: &dyn fmt::Display) -> Option<Self> {
        let Readiness::Http(path) = readiness else { return None };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: tidegate-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        Some(Self { path, request })
    }
}

/// Probes once, at most until `deadline`.
async fn probe(address: SocketAddr, question: Option<&Question<'_>>, deadline: Instant) -> Result<(), NotReady> {
    let left = || deadline.saturating_duration_since(Instant::now());
    let mut stream = open(address, deadline).await?;
    let Some(Question { path, request }) = question else { return Ok(()) };
    let answer = timeout(ANSWER_TIMEOUT.min(left()), ask(&mut stream, request));
    match answer.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(200..=399) => Ok(()),
        Ok(status) => Err(NotReady::Status { address, path: (*path).into(), status }),
        Err(source) => Err(NotReady::NoAnswer { address, path: (*path).into(), source }),
    }
}

/// Connects. A refusal by this host, as most probes of a start meet, is there at once, and costs no turn of the runtime.
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), None)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
        _ => {}
    }
    if let Some(refused) = socket.take_error()? {
        return Err(refused);
    }
    let stream = TcpStream::from_std(socket.into())?;
    stream.writable().await?;
    match stream.take_error()? {
        Some(refused) => Err(refused),
        None => Ok(stream),
    }
}

/// Connects, at most until `deadline`.
async fn open(address: SocketAddr, deadline: Instant) -> Result<TcpStream, NotReady> {
    let left = deadline.saturating_duration_since(Instant::now());
    let stream = match timeout(CONNECT_TIMEOUT.min(left), connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(source)) => return Err(NotReady::Connect { address, source }),
        Err(_) => return Err(NotReady::ConnectTimeout(address)),
    };
    if is_itself(&stream) {
        return Err(NotReady::Itself(address));
    }
    Ok(stream)
}

/// Whether a connection is not closed at once by whoever accepts it.
async fn stays_open(address: SocketAddr, deadline: Instant) -> Result<(), NotReady> {
    let mut stream = open(address, deadline).await?;
    match timeout(STAYS_OPEN, stream.read(&mut [0])).await {
        Ok(Ok(0) | Err(_)) => Err(NotReady::Closed { address }),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

/// A simultaneous open: the kernel gave the probe the very port it connects to.
fn is_itself(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}

/// Sends the request and reads the answer's status. The rest of the answer is not waited for.
async fn ask(stream: &mut TcpStream, request: &str) -> io::Result<u16> {
    stream.write_all(request.as_bytes()).await?;
    // `HTTP/1.1 200`, and the space or line end after it.
    let mut line = [0; 13];
    stream.read_exact(&mut line).await?;
    let status = parse_status(&line);
    // What has come along with it, mostly all there is: closing over unread bytes would be a reset.
    let mut rest = [0; 1024];
    for _ in 0..MOST_READS {
        if !matches!(stream.try_read(&mut rest), Ok(1..)) {
            break;
        }
    }
    status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "this is not a status line"))
}

fn parse_status(line: &[u8; 13]) -> Option<u16> {
    let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9', b' ', digits @ .., b' ' | b'\r' | b'\n'] = line else {
        return None;
    };
    let status: u16 =
        std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
    (100..=599).contains(&status).then_some(status)
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};
    use tokio::time::sleep;

    use super::*;

    /// The deadline of what never happens.
    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    /// The deadline of what happens, also on a busy machine.
    fn late() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// A server that answers each connection with the next of `answers`.
    async fn answering(answers: &'static [&'static str]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("a probe");
                let mut request = [0; 1024];
                let length = stream.read(&mut request).await.expect("a request");
                assert!(request[..length].starts_with(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:"));
                stream.write_all(answer.as_bytes()).await.expect("the probe listens");
            }
        });
        address
    }

    #[tokio::test]
    async fn a_port_is_ready_once_it_accepts() {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("loopback");
        let address = socket.local_addr().expect("bound");
        let refused = probe(address, None, late()).await.expect_err("it does not listen yet");
        assert!(matches!(refused, NotReady::Connect { .. }), "{refused}");
        let (ready, listener) = tokio::join!(until_ready(address, &Readiness::Port, late()), async {
            sleep(Duration::from_millis(20)).await;
            socket.listen(1)
        });
        assert!(ready.is_ok() && listener.is_ok());
    }

    #[tokio::test]
    async fn behind_a_proxy_who_accepts_and_closes_is_not_ready_and_who_stays_or_speaks_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let server = tokio::spawn(async move {
            for _ in 0..3 {
                // As docker-proxy does while nothing listens behind it.
                drop(listener.accept().await.expect("a probe"));
            }
            let (stays, _) = listener.accept().await.expect("a probe");
            let (mut speaks, _) = listener.accept().await.expect("a probe");
            speaks.write_all(b"220 ready").await.expect("the probe listens");
            (stays, speaks)
        });
        let refused = stays_open(address, late()).await.expect_err("it closes");
        assert!(matches!(refused, NotReady::Closed { .. }), "{refused}");
        let probes = until_ready_behind_proxy(address, &Readiness::Port, late()).await.expect("it stays open");
        assert_eq!(probes, 3);
        let began = Instant::now();
        stays_open(address, late()).await.expect("it speaks");
        assert!(began.elapsed() < Duration::from_secs(60) && server.await.is_ok());
    }

    #[tokio::test]
    async fn a_connection_to_itself_is_not_ready() {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("loopback");
        let own = socket.local_addr().expect("bound");
        let stream = socket.connect(own).await.expect("TCP allows it");
        assert!(is_itself(&stream));
    }

    #[tokio::test]
    async fn a_path_is_ready_once_it_answers_2xx_or_3xx() {
        let address = answering(&["HTTP/1.1 503 Busy\r\n\r\n", "HTTP/1.0 204\r\n\r\n"]).await;
        let ready = until_ready(address, &Readiness::Http("/healthz".into()), late()).await;
        assert!(ready.is_ok(), "{ready:?}");
    }

    #[tokio::test]
    async fn the_error_says_what_the_last_answer_was() {
        let address = answering(&["HTTP/1.1 404 Not Found\r\n\r\n", "SSH-2.0-OpenSSH_9.7\r\n"]).await;
        let path = Readiness::Http("/healthz".into());
        let question = Question::new(&path, &address);
        let error = probe(address, question.as_ref(), late()).await.expect_err("404 is not ready").to_string();
        assert!(error.contains("GET /healthz") && error.contains("404"), "{error}");
        let error = probe(address, question.as_ref(), late()).await.expect_err("SSH is not HTTP");
        assert!(matches!(error, NotReady::NoAnswer { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_port_that_accepts_and_never_answers_ends_at_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let error = until_ready(address, &Readiness::Http("/".into()), soon()).await.expect_err("no answer comes");
        assert!(matches!(error, NotReady::NoAnswer { .. }), "{error}");
    }

    #[tokio::test]
    async fn all_endpoints_have_to_be_ready_also_by_name() {
        let first = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("loopback");
        let second = socket.local_addr().expect("bound");
        let on = |host: &str, address: SocketAddr| Endpoint { host: host.into(), port: address.port() };
        let endpoints = [on("localhost", first.local_addr().expect("bound")), on("localhost", second)];
        let error = until_all_ready(&endpoints, &Readiness::Port, soon()).await.expect_err("one does not listen");
        assert!(matches!(error, NotReady::Connect { address, .. } if address.port() == second.port()), "{error}");
        let (ready, listener) = tokio::join!(until_all_ready(&endpoints, &Readiness::Port, late()), async {
            sleep(Duration::from_millis(20)).await;
            socket.listen(1)
        });
        // One each, and one more for each time that the second refused, which a busy machine may come too late for.
        assert!(ready.expect("both listen") >= 2 && listener.is_ok());
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_named() {
        // Reserved for this (RFC 6761), so that no name server knows it.
        let nowhere = Endpoint { host: "nowhere.invalid".into(), port: 80 };
        let error = until_all_ready(&[nowhere], &Readiness::Port, soon()).await.expect_err("no such name").to_string();
        assert!(error.contains("`nowhere.invalid` has no address"), "{error}");
    }

    #[tokio::test]
    async fn a_server_sees_a_probe_end_without_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let (ready, seen) = tokio::join!(until_ready(address, &Readiness::Port, late()), async {
            let (mut stream, _) = listener.accept().await.expect("a probe");
            stream.read(&mut [0; 16]).await.map_err(|error| error.kind())
        });
        assert_eq!((ready.expect("it listens"), seen), (1, Ok(0)));
        let path = Readiness::Http("/".into());
        let (ready, seen) = tokio::join!(until_ready(address, &path, late()), async {
            let (mut stream, _) = listener.accept().await.expect("a probe");
            let length = stream.read(&mut [0; 1024]).await.expect("a request");
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup").await.expect("the probe listens");
            (length > 0, stream.read(&mut [0; 16]).await.map_err(|error| error.kind()))
        });
        assert_eq!((ready.expect("it answers"), seen), (1, (true, Ok(0))));
    }
}
