//! Whether an address is ready for requests.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::model::version::Readiness;

/// The pause between probes at first; the timer's grain makes it 1 to 2 ms.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// How long probes come at that pace. Afterwards the pause doubles.
const EAGER_FOR: Duration = Duration::from_millis(200);
/// The longest pause between probes.
const LONGEST_PAUSE: Duration = Duration::from_millis(25);
/// A connect on the own host or network is answered at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an answer to `ready: {http: ...}` may take before the probe is tried again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

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

/// Probes until the address is ready: every 1 to 2 ms for 200 ms, then backing off to every 25 ms.
///
/// # Errors
/// The last probe's, when `deadline` passes first.
pub async fn until_ready(address: SocketAddr, readiness: &Readiness, deadline: Instant) -> Result<(), NotReady> {
    let eager_until = Instant::now() + EAGER_FOR;
    let mut pause = FIRST_PAUSE;
    loop {
        let Err(not_ready) = probe(address, readiness, deadline).await else { return Ok(()) };
        let now = Instant::now();
        if now + pause >= deadline {
            return Err(not_ready);
        }
        sleep(pause).await;
        if now >= eager_until {
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }
}

/// Probes once, at most until `deadline`.
///
/// # Errors
/// Why the address is not ready.
pub async fn probe(address: SocketAddr, readiness: &Readiness, deadline: Instant) -> Result<(), NotReady> {
    let left = || deadline.saturating_duration_since(Instant::now());
    let mut stream = match timeout(CONNECT_TIMEOUT.min(left()), TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(source)) => return Err(NotReady::Connect { address, source }),
        Err(_) => return Err(NotReady::ConnectTimeout(address)),
    };
    if is_itself(&stream) {
        return Err(NotReady::Itself(address));
    }
    let Readiness::Http(path) = readiness else { return Ok(()) };
    let answer = timeout(ANSWER_TIMEOUT.min(left()), ask(&mut stream, address, path));
    match answer.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(200..=399) => Ok(()),
        Ok(status) => Err(NotReady::Status { address, path: path.clone(), status }),
        Err(source) => Err(NotReady::NoAnswer { address, path: path.clone(), source }),
    }
}

/// A simultaneous open: the kernel gave the probe the very port it connects to.
fn is_itself(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}

/// Sends a GET and reads the answer's status; the rest of the answer is not waited for.
async fn ask(stream: &mut TcpStream, address: SocketAddr, path: &str) -> io::Result<u16> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: tidegate-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    // `HTTP/1.1 200`, and the space or line end after it.
    let mut line = [0; 13];
    stream.read_exact(&mut line).await?;
    parse_status(&line).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "this is not a status line"))
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

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(300)
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
        let refused = probe(address, &Readiness::Port, soon()).await.expect_err("it does not listen yet");
        assert!(matches!(refused, NotReady::Connect { .. }), "{refused}");
        let (ready, listener) = tokio::join!(until_ready(address, &Readiness::Port, soon()), async {
            sleep(Duration::from_millis(20)).await;
            socket.listen(1)
        });
        assert!(ready.is_ok() && listener.is_ok());
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
        let ready = until_ready(address, &Readiness::Http("/healthz".into()), soon()).await;
        assert!(ready.is_ok(), "{ready:?}");
    }

    #[tokio::test]
    async fn the_error_says_what_the_last_answer_was() {
        let address = answering(&["HTTP/1.1 404 Not Found\r\n\r\n", "SSH-2.0-OpenSSH_9.7\r\n"]).await;
        let path = Readiness::Http("/healthz".into());
        let error = probe(address, &path, soon()).await.expect_err("404 is not ready").to_string();
        assert!(error.contains("GET /healthz") && error.contains("404"), "{error}");
        let error = probe(address, &path, soon()).await.expect_err("SSH is not HTTP");
        assert!(matches!(error, NotReady::NoAnswer { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_port_that_accepts_and_never_answers_ends_at_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound");
        let error = until_ready(address, &Readiness::Http("/".into()), soon()).await.expect_err("no answer comes");
        assert!(matches!(error, NotReady::NoAnswer { .. }), "{error}");
    }
}
