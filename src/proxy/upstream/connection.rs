//! The socket to a backend, with what was read from it and not yet taken.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::AsyncReadExt;

use super::buffers::Buffers;
use super::sending::{Sending, Stopped};
use super::wire::{Reading, Wire, Writing};
use crate::lifecycle::instance::Instance;
use crate::model::transport::UpstreamTls;
use crate::proxy::alarm::NEVER;

/// A connection to an instance. It is checked out for one exchange at a time.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    instance: Arc<Instance>,
    /// Of the gate, when it was opened.
    epoch: u32,
    /// How TLS is spoken on it.
    tls: Option<Arc<UpstreamTls>>,
    /// Read and not yet taken.
    pub(super) unread: BytesMut,
    /// Whether it took a larger buffer than most.
    enlarged: bool,
    /// Whether it has served before: what fails on it may be stale, and no fault of the backend's.
    reused: bool,
    /// How long it may idle, in milliseconds, by what the backend has said.
    pub(super) idle_limit: u32,
    /// When it was first idle, on the thread's coarse clock; it grows old from then on.
    pub(super) born: u64,
}

#[derive(Debug)]
enum Stream {
    Whole(Wire),
    /// What is written goes another way.
    Reading(Reading),
}

impl Connection {
    /// One that was made in this epoch of the unit's gate, in this way.
    #[must_use]
    pub fn of(wire: Wire, instance: &Arc<Instance>, epoch: u32, tls: Option<Arc<UpstreamTls>>) -> Self {
        Self {
            stream: Stream::Whole(wire),
            instance: Arc::clone(instance),
            epoch,
            tls,
            unread: BytesMut::new(),
            enlarged: false,
            reused: false,
            idle_limit: u32::MAX,
            born: NEVER,
        }
    }

    /// Whether it was made in this way.
    #[must_use]
    pub fn speaks(&self, tls: Option<&Arc<UpstreamTls>>) -> bool {
        self.tls.as_ref() == tls
    }

    /// Who is at the other end.
    #[must_use]
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// The epoch in which it was opened; in another, it leads to what has been stopped or paused since.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether it has served before.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Gives up the buffer, which an idle connection has no use for; to others it is of use unless it was made larger.
    pub(super) fn rest(&mut self) -> Option<BytesMut> {
        self.reused = true;
        let buffer = std::mem::take(&mut self.unread);
        (!std::mem::take(&mut self.enlarged)).then_some(buffer)
    }

    /// Gets one for its next exchange.
    pub(super) fn read_into(&mut self, buffer: BytesMut) {
        self.unread = buffer;
    }

    /// Whether an idle connection is still good: nothing has come, no byte and no end. As far as the runtime has heard; costs no
    /// system call.
    pub(super) fn is_quiet(&mut self) -> bool {
        match &mut self.stream {
            Stream::Whole(wire) => wire.is_quiet(),
            Stream::Reading(_) => false,
        }
    }

    /// Reads more, at most about `want` bytes; 0 is the end.
    pub(super) fn poll_fill(&mut self, want: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.enlarged |= want > Buffers::ROOM || self.unread.len() >= Buffers::ROOM;
        self.unread.reserve(want.max(Buffers::ROOM));
        match &mut self.stream {
            Stream::Whole(stream) => pin!(stream.read_buf(&mut self.unread)).poll(cx),
            Stream::Reading(half) => pin!(half.read_buf(&mut self.unread)).poll(cx),
        }
    }

    /// Sends more of a request. Ready when all of it is out.
    pub(super) fn poll_send(&mut self, sending: &mut Sending, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        match &mut self.stream {
            Stream::Whole(stream) => sending.poll(stream, cx),
            Stream::Reading(_) => Poll::Ready(Err(Stopped::Closed)),
        }
    }

    /// From now on only reads; what is written goes through the other half. Cannot be undone.
    pub(super) fn split(mut self) -> (Self, Option<Writing>) {
        let (stream, writing) = match self.stream {
            Stream::Whole(stream) => {
                let (reading, writing) = stream.split();
                (Stream::Reading(reading), Some(writing))
            }
            reading @ Stream::Reading(_) => (reading, None),
        };
        self.stream = stream;
        (self, writing)
    }

    /// The stream and what was read from it, for a tunnel; `None` once it is split.
    #[must_use]
    pub fn into_tunnel(self) -> Option<(Wire, BytesMut)> {
        match self.stream {
            Stream::Whole(stream) => Some((stream, self.unread)),
            Stream::Reading(_) => None,
        }
    }
}
