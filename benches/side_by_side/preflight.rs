//! Before anything is measured: whether a contender does what all are to do.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::backend::{LARGE, body};
use crate::client::Fault;
use crate::process::Process;
use crate::secure::Dialer;
use crate::template::host;

/// With 10,000 services some take long to start.
const PATIENCE: Duration = Duration::from_secs(120);

/// One answer takes no longer.
const SILENCE: Duration = Duration::from_secs(5);

/// Waits until it answers for the first and the last service, then has it show that it sets the X-Forwarded headers and hands a body
/// through as it is.
pub(crate) fn check(process: &mut Process, address: SocketAddr, services: usize, dialer: &Dialer) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let get = |number, path| runtime.block_on(get(address, number, path, dialer));
    let deadline = Instant::now() + PATIENCE;
    for number in [0, services - 1] {
        loop {
            match get(number, "/forwarded") {
                Ok((200, _)) => break,
                Ok((400, body)) => {
                    return Err(process.error(&format!("does not set {}", String::from_utf8_lossy(&body))));
                }
                other if Instant::now() > deadline || process.has_ended() => {
                    let other = other.map(|(status, body)| format!("{status} {}", String::from_utf8_lossy(&body)));
                    return Err(process.error(&format!("does not serve {}: {other:?}", host(number))));
                }
                _ => thread::sleep(Duration::from_millis(20)),
            }
        }
    }
    match get(0, "/large").map_err(io::Error::other)? {
        (200, found) if found == body(LARGE) => Ok(()),
        (status, _) => Err(process.error(&format!("spoils bodies (status {status})"))),
    }
}

/// The status and the body.
async fn get(address: SocketAddr, number: usize, path: &str, dialer: &Dialer) -> Result<(u16, Vec<u8>), Fault> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", host(number));
    let answer = async {
        let mut stream = dialer.for_another().dial(address).await?;
        stream.send(request.as_bytes()).await?;
        let (mut answer, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
        loop {
            match stream.read(&mut buffer).await {
                Ok(count) => answer.extend_from_slice(&buffer[..count]),
                // Whether all is there is what the body tells.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(answer),
                Err(error) => return Err(Fault::from(error)),
            }
        }
    };
    let mut answer = timeout(SILENCE, answer).await.map_err(|_| Fault::Stuck)??;
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    match head.parse(&answer)? {
        httparse::Status::Complete(end) => Ok((head.code.unwrap_or_default(), answer.split_off(end))),
        httparse::Status::Partial => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    }
}
