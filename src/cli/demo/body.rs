//! The bodies that the demo answers with.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use tokio::sync::mpsc;

/// Any body.
pub(super) type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A body that is there already.
pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(Into::into).boxed_unsync()
}

/// A body whose pieces come one by one; sending waits for the client. An error cuts the connection.
pub(super) fn channel() -> (mpsc::Sender<io::Result<Bytes>>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Pieces { receiver, length: None }.boxed_unsync())
}

/// The same, announced as `length` bytes.
pub(super) fn channel_of(length: u64) -> (mpsc::Sender<io::Result<Bytes>>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Pieces { receiver, length: Some(length) }.boxed_unsync())
}

/// `length` bytes, where the byte at offset `i` is the letter `i % 26` of a to z.
pub(super) fn alphabet(length: u64) -> Body {
    Alphabet { left: length }.boxed_unsync()
}

struct Pieces {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    length: Option<u64>,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = ready!(self.receiver.poll_recv(cx));
        Poll::Ready(piece.map(|piece| piece.map(Frame::data).map_err(Into::into)))
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

struct Alphabet {
    left: u64,
}

const LETTERS: [u8; 26] = *b"abcdefghijklmnopqrstuvwxyz";

/// Whole alphabets, just under 16 KiB: each piece begins with `a`.
static PIECE: [u8; 26 * 630] = {
    let mut piece = [0; 26 * 630];
    let mut at = 0;
    while at < piece.len() {
        piece[at] = LETTERS[at % 26];
        at += 1;
    }
    piece
};

impl HttpBody for Alphabet {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE.len());
        self.left -= length as u64;
        Poll::Ready((length > 0).then(|| Ok(Frame::data(Bytes::from_static(&PIECE[..length])))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
