//! HTTP as bytes on a socket: nothing is added, hidden or repaired.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::PATIENCE;

/// A connection, from either end.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    /// Read and not yet taken.
    buffer: Vec<u8>,
}

/// A message's head and, where it was asked for, its body.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// The first line.
    pub(crate) start: String,
    /// As sent, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// Chunks put together.
    pub(crate) body: Vec<u8>,
    /// After the last chunk.
    pub(crate) trailers: Vec<(String, String)>,
}

impl Message {
    /// The status of a response.
    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("no status: {}", self.start))
    }

    /// The first header of this name (lower case).
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// All headers of this name (lower case).
    pub(crate) fn headers_named(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Raw {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).expect("connect"))
    }

    /// From an address of our own choice, such as 127.0.0.2.
    pub(crate) fn connect_from(from: [u8; 4], address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((from, 0)).into()).expect("bind");
        socket.connect(&address.into()).expect("connect");
        Self::new(socket.into())
    }

    /// A GET that leaves the connection open, with more header lines; its answer.
    pub(crate) fn get_with(&mut self, host: &str, target: &str, headers: &[&str]) -> Message {
        let more: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        self.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"));
        self.response()
    }

    /// A GET that leaves the connection open; its answer.
    pub(crate) fn get(&mut self, host: &str, target: &str) -> Message {
        self.get_with(host, target, &[])
    }

    /// Reads give up after [`PATIENCE`].
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("timeout");
        stream.set_nodelay(true).expect("nodelay");
        Self { stream, buffer: Vec::new() }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).expect("send");
        self
    }

    /// Sends bytes and reads the response to them.
    pub(crate) fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Message {
        self.send(bytes).response()
    }

    /// Sends bytes; false where the other side has closed.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The same connection once more, for sending and receiving at the same time.
    pub(crate) fn twin(&self) -> Self {
        Self::new(self.stream.try_clone().expect("clone"))
    }

    /// No more will be sent.
    pub(crate) fn finish(&mut self) -> &mut Self {
        self.stream.shutdown(Shutdown::Write).expect("shutdown");
        self
    }

    /// A head, up to the empty line. `None` where the other side closed before its first byte.
    pub(crate) fn try_head(&mut self) -> io::Result<Option<Message>> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at;
            }
            if self.fill()? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        Ok(Some(Message { start, headers: lines.map(field).collect(), body: Vec::new(), trailers: Vec::new() }))
    }

    pub(crate) fn head(&mut self) -> Message {
        self.try_head().expect("a head").expect("closed before a head")
    }

    /// A request with its body.
    pub(crate) fn request(&mut self) -> Message {
        let mut message = self.head();
        self.body(&mut message, false).expect("a whole body");
        message
    }

    /// A response with its body, which may end with the connection.
    pub(crate) fn response(&mut self) -> Message {
        let mut message = self.head();
        self.body(&mut message, true).expect("a whole body");
        message
    }

    /// The answer to a HEAD: no body, whatever the headers say.
    pub(crate) fn response_to_head(&mut self) -> Message {
        self.head()
    }

    /// Reads the body that the head announces.
    pub(crate) fn body(&mut self, message: &mut Message, response: bool) -> io::Result<()> {
        let chunked = message.header("transfer-encoding").is_some_and(|t| t.eq_ignore_ascii_case("chunked"));
        let length = message.header("content-length").and_then(|l| l.parse::<usize>().ok());
        let bodiless = response && matches!(message.status(), 100..200 | 204 | 304);
        if bodiless {
            return Ok(());
        }
        if chunked {
            loop {
                let line = self.line()?;
                let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
                    .map_err(io::Error::other)?;
                if size == 0 {
                    loop {
                        let line = self.line()?;
                        if line.is_empty() {
                            return Ok(());
                        }
                        message.trailers.push(field(&line));
                    }
                }
                message.body.extend(self.take(size)?);
                if !self.line()?.is_empty() {
                    return Err(io::Error::other("no line break after a chunk"));
                }
            }
        }
        match length {
            Some(length) => message.body = self.take(length)?,
            None if response => message.body = self.rest()?,
            None => {}
        }
        Ok(())
    }

    /// One line without its end.
    pub(crate) fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..at]).into_owned();
                self.buffer.drain(..at + 2);
                return Ok(line);
            }
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// So many bytes.
    pub(crate) fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// Everything until the other side closes.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? > 0 {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Whether the other side has closed, or does so within `patience`, without sending anything more.
    pub(crate) fn is_closed_within(&mut self, patience: Duration) -> bool {
        self.stream.set_read_timeout(Some(patience)).expect("timeout");
        let outcome = self.fill();
        self.stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        match outcome {
            Ok(read) => read == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    /// Reads what there is; 0 at the end.
    fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 16 * 1024];
        let read = self.stream.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..read]);
        Ok(read)
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("not a header: {line:?}"));
    (name.to_ascii_lowercase(), value.trim().to_owned())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
