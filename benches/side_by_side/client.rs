//! One HTTP/1.1 connection that does the same over and over, and checks what comes back.

use std::io;
use std::net::SocketAddr;

use rustls::HandshakeKind;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::backend;
use crate::secure::Dialer;

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
    /// A full handshake where a session should have been resumed, or something else that is not to be measured.
    #[error("a handshake of the kind {found:?}, not {expected:?}")]
    Handshake {
        /// What it was.
        found: Option<HandshakeKind>,
        /// What it should have been.
        expected: HandshakeKind,
    },
    /// Nothing came for too long.
    #[error("stuck")]
    Stuck,
}

/// What bytes go over.
#[derive(Debug)]
pub(crate) enum Stream {
    /// As they are.
    Clear(TcpStream),
    /// In TLS.
    Secured(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Sends all of a message.
    pub(crate) async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Clear(stream) => stream.write_all(message).await,
            Self::Secured(stream) => {
                stream.write_all(message).await?;
                stream.flush().await
            }
        }
    }

    /// Reads what there is; the end of the stream is an error.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => backend::read(stream, buffer).await,
            Self::Secured(stream) => backend::read(stream, buffer).await,
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: Stream,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects.
    pub(crate) async fn connect(address: SocketAddr, dialer: &mut Dialer) -> Result<Self, Fault> {
        Ok(Self { stream: dialer.dial(address).await?, buffer: vec![0; BUFFER] })
    }

    /// Sends a request with its body, and takes the answer to its end.
    pub(crate) async fn exchange(&mut self, request: &[u8], expected: usize) -> Result<(), Fault> {
        self.stream.send(request).await?;
        let mut filled = 0;
        loop {
            filled += self.stream.read(&mut self.buffer[filled..]).await?;
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
            return Ok(self.drain(head + expected - filled).await?);
        }
    }

    /// Gives the buffer back; the connection stays open as long as this is kept.
    pub(crate) fn idle(self) -> Stream {
        self.stream
    }

    /// Ends the connection as browsers do: with the word of TLS for it, and waiting for no answer.
    pub(crate) async fn close(mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Clear(stream) => stream.shutdown().await,
            Stream::Secured(stream) => stream.shutdown().await,
        }
    }

    /// Takes this many bytes and forgets them, with what is in the buffer.
    async fn drain(&mut self, mut left: usize) -> io::Result<()> {
        match &mut self.stream {
            Stream::Clear(stream) => backend::drain(stream, left).await,
            Stream::Secured(stream) => {
                while left > 0 {
                    let most = left.min(BUFFER);
                    left -= backend::read(stream, &mut self.buffer[..most]).await?;
                }
                Ok(())
            }
        }
    }
}
