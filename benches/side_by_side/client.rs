//! One HTTP/1.1 connection that does the same over and over, and checks what comes back.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::backend;

/// More than the head of an answer and a small body.
const BUFFER: usize = 16 * 1024;

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The connection failed, or ended too early.
    #[error("socket: {0}")]
    Socket(#[from] io::Error),
    /// Something else than 2xx.
    #[error("status {0}: {1}")]
    Status(u16, String),
    /// A body of another size than the backend's, or no size.
    #[error("a body of {found:?} bytes, not {expected}")]
    Size {
        /// What Content-Length says.
        found: Option<usize>,
        /// What it should be.
        expected: usize,
    },
    /// No answer that can be read.
    #[error("no HTTP: {0}")]
    Syntax(#[from] httparse::Error),
    /// Nothing came for too long.
    #[error("stuck")]
    Stuck,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects.
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; BUFFER] })
    }

    /// Sends a request with its body, and takes the answer to its end.
    pub(crate) async fn exchange(&mut self, request: &[u8], expected: usize) -> Result<(), Fault> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        loop {
            filled += backend::read(&mut self.stream, &mut self.buffer[filled..]).await?;
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut answer = httparse::Response::new(&mut headers);
            let httparse::Status::Complete(head) = answer.parse(&self.buffer[..filled])? else { continue };
            let status = answer.code.unwrap_or_default();
            if !(200..300).contains(&status) {
                return Err(Fault::Status(status, String::from_utf8_lossy(&self.buffer[head..filled]).into_owned()));
            }
            let length = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
            let length = length.and_then(|header| str::from_utf8(header.value).ok()?.parse::<usize>().ok());
            if length != Some(expected) || head + expected < filled {
                return Err(Fault::Size { found: length, expected });
            }
            return Ok(backend::drain(&mut self.stream, head + expected - filled).await?);
        }
    }

    /// Gives the buffer back; the connection stays open as long as this is kept.
    pub(crate) fn idle(self) -> TcpStream {
        self.stream
    }
}
