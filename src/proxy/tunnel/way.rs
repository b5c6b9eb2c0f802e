//! One way of a tunnel: what one side sends, the other gets, and in the end a close frame of ours.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{Frames, Sender};

/// Bytes read at a time. Only what the other side does not take at once is kept, so that a silent tunnel has no buffer.
const BUFFER: usize = 8 * 1024;

/// What passes from one side to the other.
#[derive(Debug)]
pub(super) struct Way {
    frames: Frames,
    doing: Doing,
    /// Read and not yet written.
    held: BytesMut,
    /// Written and perhaps not yet flushed.
    unflushed: bool,
    /// Whether anything was written since [`Self::has_moved`] was asked.
    moved: bool,
    close: CloseFrame,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Whatever is read is written.
    Passing,
    /// Our close frame is being written; so many bytes of it are.
    Closing { written: usize },
    /// Behind our close frame nothing may follow (section 5.5.1): what still comes is dropped, up to the sender's own.
    Dropping,
    /// The sender has finished, which the receiver is being told.
    Finishing,
    /// Nothing passes any more.
    Over,
}

impl Way {
    /// For what `sender` sends, of which `early` has been read already.
    pub(super) fn from(sender: Sender, early: BytesMut) -> Self {
        Self {
            frames: Frames::from(sender),
            doing: Doing::Passing,
            held: early,
            unflushed: false,
            moved: false,
            close: CloseFrame::behind(sender),
        }
    }

    /// Moves what can be moved. With `may_close`, a close frame follows the frame under way. Ready when nothing passes any more.
    /// `on_read` is called for each read of bytes that pass.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        may_close: bool,
        on_read: impl Fn(),
    ) -> Poll<io::Result<()>> {
        loop {
            match self.doing {
                Doing::Passing if may_close && self.frames.is_at_boundary() && !self.frames.is_closed() => {
                    self.doing = Doing::Closing { written: 0 };
                }
                Doing::Passing if !self.held.is_empty() => {
                    let mut held = std::mem::take(&mut self.held);
                    let outcome = self.poll_pass(cx, to, &held, may_close);
                    if let Poll::Ready(Ok(written)) = outcome {
                        held.advance(written);
                    }
                    if !held.is_empty() {
                        self.held = held;
                    }
                    ready!(outcome)?;
                }
                Doing::Closing { written } => {
                    let rest = &self.close.bytes()[written..];
                    if rest.is_empty() {
                        ready!(Pin::new(&mut *to).poll_flush(cx))?;
                        self.unflushed = false;
                        self.frames.pass(&std::mem::take(&mut self.held));
                        self.doing = Doing::Dropping;
                    } else {
                        self.doing = Doing::Closing { written: written + ready!(poll_write(cx, to, rest))? };
                    }
                }
                Doing::Dropping if self.frames.is_closed() => return Poll::Ready(Ok(())),
                Doing::Passing | Doing::Dropping => {
                    let mut buffer = [MaybeUninit::uninit(); BUFFER];
                    let mut read = ReadBuf::uninit(&mut buffer);
                    if Pin::new(&mut *from).poll_read(cx, &mut read)?.is_pending() {
                        if self.unflushed {
                            ready!(Pin::new(&mut *to).poll_flush(cx))?;
                            self.unflushed = false;
                        }
                        return Poll::Pending;
                    }
                    let bytes = read.filled();
                    match self.doing {
                        Doing::Dropping if bytes.is_empty() => self.doing = Doing::Over,
                        Doing::Dropping => self.frames.pass(bytes),
                        _ if bytes.is_empty() => self.doing = Doing::Finishing,
                        _ => {
                            on_read();
                            let written = match self.poll_pass(cx, to, bytes, may_close)? {
                                Poll::Ready(written) => written,
                                Poll::Pending => 0,
                            };
                            if written < bytes.len() {
                                self.held = BytesMut::from(&bytes[written..]);
                            }
                        }
                    }
                }
                Doing::Finishing => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.doing = Doing::Over;
                }
                Doing::Over => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Writes some of these bytes, with `may_close` none beyond the end of a frame.
    fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
        bytes: &[u8],
        may_close: bool,
    ) -> Poll<io::Result<usize>> {
        let most = if may_close { self.frames.frame_within(bytes) } else { bytes.len() };
        let written = ready!(poll_write(cx, to, &bytes[..most]))?;
        self.frames.pass(&bytes[..written]);
        (self.unflushed, self.moved) = (true, true);
        Poll::Ready(Ok(written))
    }

    /// Bytes that are kept for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.held.capacity()
    }

    /// How far the frames have come.
    pub(super) fn frames(&self) -> &Frames {
        &self.frames
    }

    /// Whether our close frame is on its way, or there.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.doing, Doing::Closing { .. } | Doing::Dropping)
    }

    /// Whether the sender has said its last, by a close frame or by its end, and the receiver knows.
    pub(super) fn is_over(&self) -> bool {
        match self.doing {
            Doing::Passing | Doing::Dropping => self.frames.is_closed(),
            Doing::Closing { .. } | Doing::Finishing => false,
            Doing::Over => true,
        }
    }

    /// Whether a frame is under way and some of it has passed since the last time this was asked.
    pub(super) fn has_moved(&mut self) -> bool {
        let under_way = self.doing == Doing::Passing && !self.frames.is_at_boundary() && !self.frames.is_lost();
        std::mem::take(&mut self.moved) && under_way
    }
}

fn poll_write(cx: &mut Context<'_>, to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(to).poll_write(cx, bytes))? {
        0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        written => Poll::Ready(Ok(written)),
    }
}

/// The close frame that one side gets from us: code 1001, "going away" (RFC 6455, sections 5.5.1 and 7.4.1).
#[derive(Debug)]
enum CloseFrame {
    Unmasked([u8; 4]),
    Masked([u8; 8]),
}

impl CloseFrame {
    /// Behind what `sender` has sent.
    fn behind(sender: Sender) -> Self {
        let [high, low] = 1001_u16.to_be_bytes();
        match sender {
            Sender::Server => Self::Unmasked([0x88, 2, high, low]),
            Sender::Client => {
                // Unpredictable, as section 5.3 wants it.
                let [a, b, c, d]: [u8; 4] = rand::random();
                Self::Masked([0x88, 0x80 | 2, a, b, c, d, high ^ a, low ^ b])
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Unmasked(bytes) => bytes,
            Self::Masked(bytes) => bytes,
        }
    }
}
