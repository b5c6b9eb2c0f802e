//! The way of a context to the engine: a thread that reads and packs, a channel of a few pieces, a body.

use std::io::{self, Write};
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{JoinHandle, spawn_blocking};

use super::dockerfile::Plan;
use super::pack::{Attributes, PackError, Packer, Sent};
use super::tree::Tree;

/// The size of a piece in bytes.
const PIECE: usize = 64 << 10;

/// How many pieces may wait for the engine: half a mebibyte.
const AHEAD: usize = 8;

/// A context on its way; gives what was sent, and the sockets and devices that were not.
pub(super) type Packing = JoinHandle<Result<(Sent, Vec<PathBuf>), PackError>>;

/// Begins to send. The thread ends soon after the stream is dropped.
pub(super) fn start(mut tree: Tree, plan: Plan) -> (impl Stream<Item = io::Result<Bytes>> + Send + 'static, Packing) {
    let (sender, receiver) = channel(AHEAD);
    let packing = spawn_blocking(move || {
        let pipe = Pipe { sender, piece: Vec::with_capacity(PIECE) };
        let mut packer = Packer::new(pipe, &plan.selection);
        if let Some(text) = &plan.beside {
            let attributes = Attributes { mode: 0o644, modified: 0 };
            packer.file(&plan.dockerfile, attributes, text.len() as u64, &text[..], &plan.dockerfile)?;
        }
        tree.pack(&plan.context, &mut packer)?;
        let (sent, skipped, pipe) = packer.finish()?;
        pipe.end().map_err(|_| PackError::Unread)?;
        Ok((sent, skipped))
    });
    (unfold(Some(receiver), body), packing)
}

/// A stream that ends only where the tar has: one that was cut off must not look like a smaller context.
async fn body(receiver: Option<Receiver<Message>>) -> Option<(io::Result<Bytes>, Option<Receiver<Message>>)> {
    let mut receiver = receiver?;
    match receiver.recv().await {
        Some(Message::Piece(piece)) => Some((Ok(piece), Some(receiver))),
        Some(Message::End) => None,
        None => Some((Err(io::Error::other("the context could not be read")), None)),
    }
}

enum Message {
    Piece(Bytes),
    End,
}

struct Pipe {
    sender: Sender<Message>,
    piece: Vec<u8>,
}

impl Pipe {
    fn end(mut self) -> io::Result<()> {
        self.flush()?;
        self.send(Message::End)
    }

    fn send(&self, message: Message) -> io::Result<()> {
        self.sender.blocking_send(message).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.send(Message::Piece(piece.into()))
    }
}
