//! Before anything is measured: whether a contender does what all are to do.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::backend::{LARGE, body};
use crate::process::Process;
use crate::template::host;

/// With 10,000 services some take long to start.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until it answers for the first and the last service, then has it show that it sets the X-Forwarded headers and hands a body
/// through as it is.
pub(crate) fn check(process: &mut Process, address: SocketAddr, services: usize) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for number in [0, services - 1] {
        loop {
            match get(address, number, "/forwarded") {
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
    match get(address, 0, "/large")? {
        (200, found) if found == body(LARGE) => Ok(()),
        (status, _) => Err(process.error(&format!("spoils bodies (status {status})"))),
    }
}

/// The status and the body.
fn get(address: SocketAddr, number: usize, path: &str) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", host(number)).as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    match head.parse(&answer).map_err(io::Error::other)? {
        httparse::Status::Complete(end) => Ok((head.code.unwrap_or_default(), answer.split_off(end))),
        httparse::Status::Partial => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
