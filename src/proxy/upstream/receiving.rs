//! A response's body on its way in.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::chunked::{ChunkError, Chunked, Piece};
use super::connection::Connection;
use super::head::Length;

/// What is read at a time of a body that is known to go on: first so much, then, as long as reads fill all the room there is, twice as
/// much up to the second. Nearly all that a large body costs are system calls and what they set off in the kernel.
const READ: usize = 64 * 1024;
const MOST: usize = 256 * 1024;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The connection failed.
    #[error("the connection failed in the middle of the body: {0}")]
    Io(#[source] io::Error),
    /// The connection ended before the body did.
    #[error("the connection ended in the middle of the body")]
    Short,
    /// The client's upload failed, without which nobody knows what this answers.
    #[error("the upload that goes on beside the body broke off")]
    Upload,
    /// The backend has reset the stream, or the connection has failed.
    #[error("the stream broke off: {0}")]
    Reset(#[source] h2::Error),
    /// It is not framed as it says.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
}

/// A piece of a body.
#[derive(Debug)]
pub enum Received {
    /// Bytes of it.
    Data(Bytes),
    /// Its trailers.
    Trailers(HeaderMap),
    /// Its end.
    End,
}

/// What there is of a body in what was read.
#[derive(Debug)]
pub enum Taken {
    /// A piece.
    Piece(Received),
    /// Nothing yet; about so many bytes should be read at a time.
    More(usize),
}

/// How much of a body is still to come.
#[derive(Debug, Clone, Copy)]
pub struct Receiving {
    rest: Rest,
    /// What is read at a time.
    room: usize,
}

#[derive(Debug, Clone, Copy)]
enum Rest {
    Bytes(u64),
    Chunks(Chunked),
    UntilClose,
    Nothing,
}

impl Receiving {
    /// A body whose end is told in this way.
    #[must_use]
    pub fn new(length: Length) -> Self {
        let rest = match length {
            Length::Exactly(0) => Rest::Nothing,
            Length::Exactly(bytes) => Rest::Bytes(bytes),
            Length::Chunked => Rest::Chunks(Chunked::default()),
            Length::UntilClose => Rest::UntilClose,
        };
        Self { rest, room: READ }
    }

    /// Whether the end has been seen.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }

    /// How many bytes are still to come, where that is known.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match self.rest {
            Rest::Nothing => Some(0),
            Rest::Bytes(left) => Some(left),
            Rest::Chunks(_) | Rest::UntilClose => None,
        }
    }

    /// The next piece, off what was read and not yet taken.
    pub fn take(&mut self, unread: &mut BytesMut) -> Result<Taken, ChunkError> {
        Ok(match &mut self.rest {
            Rest::Nothing => Taken::Piece(Received::End),
            Rest::Bytes(left) => {
                if unread.is_empty() {
                    return Ok(Taken::More(usize::try_from(*left).unwrap_or(usize::MAX).min(self.room)));
                }
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(unread.len());
                *left -= take as u64;
                if *left == 0 {
                    self.rest = Rest::Nothing;
                }
                Taken::Piece(Received::Data(unread.split_to(take).freeze()))
            }
            Rest::Chunks(chunked) => match chunked.next(unread)? {
                Piece::Data(data) => Taken::Piece(Received::Data(data)),
                Piece::End(trailers) => {
                    self.rest = Rest::Nothing;
                    Taken::Piece(trailers.map_or(Received::End, Received::Trailers))
                }
                Piece::More => Taken::More(self.room),
            },
            Rest::UntilClose if unread.is_empty() => Taken::More(self.room),
            Rest::UntilClose => Taken::Piece(Received::Data(unread.split().freeze())),
        })
    }

    /// The connection has ended, and with it a body that may end so.
    pub fn end(&mut self) -> Result<(), ReceiveError> {
        if !matches!(self.rest, Rest::UntilClose) {
            return Err(ReceiveError::Short);
        }
        self.rest = Rest::Nothing;
        Ok(())
    }

    /// The next piece.
    pub(super) fn poll(
        &mut self,
        connection: &mut Connection,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Received, ReceiveError>> {
        loop {
            let want = match self.take(&mut connection.unread)? {
                Taken::Piece(received) => return Poll::Ready(Ok(received)),
                Taken::More(want) => want,
            };
            let read = ready!(connection.poll_fill(want, cx)).map_err(ReceiveError::Io)?;
            if read == 0 {
                self.end()?;
            }
            if read >= self.room {
                self.room = (self.room * 2).min(MOST);
            }
        }
    }
}
