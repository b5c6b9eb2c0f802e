//! A request on its way out: its head, then its body as it comes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body;
use tokio::io::AsyncWrite;

use crate::proxy::body::RequestBody;
use crate::proxy::headers::clean_trailers;

/// How the end of the body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By its length, in the head; or there is none.
    Length,
    /// In chunks, behind which the client's trailers may go on.
    Chunked {
        /// Whether they do.
        trailers: bool,
    },
}

/// What is left to send.
#[derive(Debug)]
pub struct Sending {
    /// The head, or a chunk's first line.
    head: BytesMut,
    /// Of the body.
    data: Bytes,
    /// What closes a chunk.
    tail: &'static [u8],
    framing: Framing,
    body: RequestBody,
    stage: Stage,
    /// Whether a byte has left, so that the backend may have acted on it.
    begun: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The body has more.
    Body,
    /// Nothing follows what is in the buffers.
    Last,
    /// Everything is out.
    Done,
}

/// Why a request could not be sent to its end.
#[derive(Debug)]
pub enum Stopped {
    /// The client's body failed.
    Upload,
    /// The backend takes no more.
    Closed,
}

impl Sending {
    /// A request with its head encoded.
    #[must_use]
    pub fn new(head: BytesMut, framing: Framing, body: RequestBody) -> Self {
        let stage = if body.is_empty() { Stage::Last } else { Stage::Body };
        Self { head, data: Bytes::new(), tail: b"", framing, body, stage, begun: false }
    }

    /// Whether all of it is out.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Whether any of it is out.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// The body, of which nothing has been taken while [`Self::has_begun`] is false.
    #[must_use]
    pub fn into_body(self) -> RequestBody {
        self.body
    }

    /// Sends what can be sent. Ready when all is out.
    pub(super) fn poll<W>(&mut self, stream: &mut W, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>>
    where
        W: AsyncWrite + Unpin,
    {
        loop {
            while !self.head.is_empty() || !self.data.is_empty() || !self.tail.is_empty() {
                let written = match ready!(self.poll_write(Pin::new(stream), cx)) {
                    Ok(written) if written > 0 => written,
                    _ => return Poll::Ready(Err(Stopped::Closed)),
                };
                self.begun = true;
                self.advance(written);
            }
            match self.stage {
                Stage::Done => return Poll::Ready(Ok(())),
                Stage::Last => self.stage = Stage::Done,
                Stage::Body => ready!(self.poll_body(cx))?,
            }
        }
    }

    fn poll_write<W: AsyncWrite>(&self, stream: Pin<&mut W>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.data.is_empty() && self.tail.is_empty() {
            // A request without a body is one part, which is cheaper to send by itself.
            return stream.poll_write(cx, &self.head);
        }
        let parts = [IoSlice::new(&self.head), IoSlice::new(&self.data), IoSlice::new(self.tail)];
        stream.poll_write_vectored(cx, &parts)
    }

    /// Puts more of the body into the buffers.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None => {
                self.stage = Stage::Last;
                if self.framing != Framing::Length {
                    self.head.extend_from_slice(b"0\r\n\r\n");
                }
            }
            Some(Err(_)) => return Poll::Ready(Err(Stopped::Upload)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    // An empty chunk would be the last.
                    if self.framing != Framing::Length && !data.is_empty() {
                        self.head.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                        self.tail = b"\r\n";
                    }
                    self.data = data;
                    if self.framing == Framing::Length && self.body.is_end_stream() {
                        self.stage = Stage::Last;
                    }
                }
                Err(frame) => self.put_trailers(frame.into_trailers().unwrap_or_default()),
            },
        }
        Poll::Ready(Ok(()))
    }

    /// The last chunk, with the client's trailers but for those that may not come so late.
    #[cold]
    fn put_trailers(&mut self, mut trailers: HeaderMap) {
        let Framing::Chunked { trailers: go_on } = self.framing else { return };
        self.stage = Stage::Last;
        self.head.extend_from_slice(b"0\r\n");
        clean_trailers(&mut trailers);
        for (name, value) in trailers.iter().filter(|_| go_on) {
            self.head.extend_from_slice(name.as_str().as_bytes());
            self.head.extend_from_slice(b": ");
            self.head.extend_from_slice(value.as_bytes());
            self.head.extend_from_slice(b"\r\n");
        }
        self.head.extend_from_slice(b"\r\n");
    }

    fn advance(&mut self, mut written: usize) {
        let of_head = written.min(self.head.len());
        self.head.advance(of_head);
        written -= of_head;
        let of_data = written.min(self.data.len());
        self.data.advance(of_data);
        written -= of_data;
        self.tail = &self.tail[written..];
    }
}
