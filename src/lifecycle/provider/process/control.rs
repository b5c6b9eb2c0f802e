//! The socket between tidegate and a supervisor: orders one way, news the other, a line each.

use std::io;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

/// What is read at once; a line of news is shorter.
const NEWS_BYTES: usize = 256;

/// tidegate's end. Once dropped, the supervisor ends its program.
#[derive(Debug)]
pub(super) struct Control {
    stream: UnixStream,
    /// Read, and not yet asked for.
    read: Vec<u8>,
}

impl Control {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, read: Vec::new() }
    }

    /// Writes to the supervisor. One that has ended is told from the end of its news.
    pub(super) async fn say(&mut self, words: &[u8]) {
        let _ended = self.stream.write_all(words).await;
    }

    /// The next line of news, without its end; `None` once the supervisor has ended. Can be cancelled and called again.
    pub(super) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(line) = self.line() {
                return Some(line);
            }
            self.stream.readable().await.ok()?;
            match self.read_some() {
                Ok(true) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(false) | Err(_) => return None,
            }
        }
    }

    /// The next line of those that have come already.
    pub(super) fn unread(&mut self) -> Option<String> {
        loop {
            if let Some(line) = self.line() {
                return Some(line);
            }
            if !self.read_some().unwrap_or(false) {
                return None;
            }
        }
    }

    /// False at the end.
    fn read_some(&mut self) -> io::Result<bool> {
        let mut bytes = [0; NEWS_BYTES];
        let length = self.stream.try_read(&mut bytes)?;
        self.read.extend_from_slice(&bytes[..length]);
        Ok(length > 0)
    }

    fn line(&mut self) -> Option<String> {
        let end = self.read.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.read.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line[..end]).into_owned())
    }
}
