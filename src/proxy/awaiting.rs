//! A request on its way to a backend, whatever is spoken there.

use std::task::{Context, Poll};

use http::Response;

use super::upstream::head::Head;
use super::upstream::{Outgoing, SendError, http2};

/// A request on its way, until the head of its response has come.
pub(super) trait Awaiting {
    /// The head.
    type Head;
    /// Why there is none.
    type Error;

    /// Sends and waits for the head.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::Head, Self::Error>>;

    /// Whether the backend has all of the request that it will get.
    fn is_sent(&self) -> bool;
}

impl Awaiting for Outgoing {
    type Head = Head;
    type Error = SendError;

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, SendError>> {
        self.poll_head(cx)
    }

    fn is_sent(&self) -> bool {
        self.is_sent()
    }
}

impl Awaiting for http2::Outgoing {
    type Head = Response<h2::RecvStream>;
    type Error = http2::SendError;

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::Head, Self::Error>> {
        self.poll_head(cx)
    }

    fn is_sent(&self) -> bool {
        self.is_sent()
    }
}
