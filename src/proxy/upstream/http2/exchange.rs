//! One request and its answer on a connection of HTTP/2.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use http_body::Body;

use super::Place;
use crate::proxy::body::RequestBody;
use crate::proxy::headers::clean_trailers;
use crate::proxy::upstream::{ReceiveError, Received, Stopped, Uploading};

/// A request on its way, until the head of its response has come.
#[derive(Debug)]
pub struct Outgoing {
    place: Place,
    response: ResponseFuture,
    sending: Sending,
    /// The backend takes no more of the request, but may have answered.
    stopped: bool,
}

/// What became of a request that got no response.
#[derive(Debug)]
pub enum SendError {
    /// The stream or the connection failed.
    Failed(h2::Error),
    /// The client's body failed.
    Upload,
}

impl SendError {
    /// Whether the backend has not looked at the request: it said so of the stream, or of all from some on (RFC 9113, 8.7). Who is
    /// about to close says so without an error; whoever closes by itself has nothing of it.
    #[must_use]
    pub fn is_unprocessed(&self) -> bool {
        let Self::Failed(error) = self else { return false };
        let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
        let going_away = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
        error.is_remote() && (refused || going_away)
    }

    /// Whether the whole connection has ended, and not this stream alone.
    #[must_use]
    pub fn is_of_connection(&self) -> bool {
        matches!(self, Self::Failed(error) if !error.is_reset())
    }
}

impl Outgoing {
    /// Puts a request on a connection. Gives the body back where that does not take one more.
    pub async fn begin(
        place: Place,
        request: Request<()>,
        body: RequestBody,
        trailers: bool,
    ) -> Result<Self, (h2::Error, RequestBody)> {
        let mut sender = place.connection.sender.clone();
        let begun = match poll_fn(|cx| sender.poll_ready(cx)).await {
            Ok(()) => sender.send_request(request, body.is_end_stream()),
            Err(error) => Err(error),
        };
        match begun {
            Ok((response, stream)) => {
                let done = body.is_end_stream();
                let sending = Sending { stream, body, data: Bytes::new(), trailers, done, taken: false };
                Ok(Self { place, response, sending, stopped: false })
            }
            Err(error) => {
                place.condemn();
                Err((error, body))
            }
        }
    }

    /// The place that it has.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The body, if none of it was taken.
    #[must_use]
    pub fn into_untaken(self) -> Option<RequestBody> {
        (!self.sending.taken).then_some(self.sending.body)
    }

    /// Whether the backend has all of the request that it will get.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        self.stopped || self.sending.done
    }

    /// Sends and waits for the head.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<RecvStream>, SendError>> {
        if !self.is_sent() {
            match self.sending.poll(cx) {
                Poll::Pending | Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(Stopped::Upload)) => return Poll::Ready(Err(SendError::Upload)),
                Poll::Ready(Err(Stopped::Closed)) => self.stopped = true,
            }
        }
        Pin::new(&mut self.response).poll(cx).map_err(SendError::Failed)
    }

    /// The body behind the head.
    #[must_use]
    pub fn into_answer(self, body: RecvStream) -> Answer {
        let Self { place, mut sending, stopped, .. } = self;
        let uploading =
            (!sending.done && !stopped).then(|| Uploading::spawn(async move { poll_fn(|cx| sending.poll(cx)).await }));
        Answer { done: body.is_end_stream(), body, unreleased: 0, uploading, _place: place }
    }
}

/// What is left to send of a request.
#[derive(Debug)]
struct Sending {
    stream: SendStream<Bytes>,
    body: RequestBody,
    /// Of the body, and not yet sent.
    data: Bytes,
    /// Whether the client's trailers go on.
    trailers: bool,
    done: bool,
    /// Whether any of the body was taken.
    taken: bool,
}

impl Sending {
    /// Sends what can be sent. Ready when all is out.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        loop {
            if self.done {
                return Poll::Ready(Ok(()));
            }
            if self.data.is_empty() {
                // Who has reset the stream wants no more; this also wakes the task when it happens.
                if self.stream.poll_reset(cx).is_ready() {
                    return Poll::Ready(Err(Stopped::Closed));
                }
                let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                    None => {
                        self.send(Bytes::new(), true)?;
                        continue;
                    }
                    Some(Err(_)) => {
                        self.stream.send_reset(Reason::CANCEL);
                        return Poll::Ready(Err(Stopped::Upload));
                    }
                    Some(Ok(frame)) => frame,
                };
                self.taken = true;
                match frame.into_data() {
                    Ok(data) => self.data = data,
                    Err(frame) => {
                        let mut trailers = frame.into_trailers().unwrap_or_default();
                        clean_trailers(&mut trailers);
                        if self.trailers && !trailers.is_empty() {
                            self.stream.send_trailers(trailers).map_err(|_| Stopped::Closed)?;
                            self.done = true;
                        } else {
                            self.send(Bytes::new(), true)?;
                        }
                        continue;
                    }
                }
                self.stream.reserve_capacity(self.data.len());
                continue;
            }
            let Some(Ok(room)) = ready!(self.stream.poll_capacity(cx)) else {
                return Poll::Ready(Err(Stopped::Closed));
            };
            let piece = self.data.split_to(room.min(self.data.len()));
            let ends = self.data.is_empty() && self.body.is_end_stream();
            self.send(piece, ends)?;
        }
    }

    fn send(&mut self, data: Bytes, ends: bool) -> Result<(), Stopped> {
        self.done = ends;
        self.stream.send_data(data, ends).map_err(|_| Stopped::Closed)
    }
}

/// A response's body.
#[derive(Debug)]
pub struct Answer {
    body: RecvStream,
    /// Handed out, while the backend does not know that there is room again.
    unreleased: usize,
    uploading: Option<Uploading>,
    done: bool,
    _place: Place,
}

impl Answer {
    /// The next piece. What the client still uploads is sent on meanwhile. That this is asked says that the last piece is gone.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, ReceiveError>> {
        if self.done {
            return Poll::Ready(Ok(Received::End));
        }
        if let Some(uploading) = &mut self.uploading
            && let Poll::Ready(outcome) = uploading.poll(cx)
        {
            self.uploading = None;
            if let Err(Stopped::Upload) = outcome {
                return Poll::Ready(Err(ReceiveError::Upload));
            }
        }
        if self.unreleased > 0 {
            let released = self.body.flow_control().release_capacity(std::mem::take(&mut self.unreleased));
            released.map_err(ReceiveError::Reset)?;
        }
        match ready!(self.body.poll_data(cx)) {
            Some(Ok(data)) => {
                self.unreleased = data.len();
                self.done = self.body.is_end_stream();
                Poll::Ready(Ok(Received::Data(data)))
            }
            Some(Err(error)) => Poll::Ready(Err(ReceiveError::Reset(error))),
            None => {
                let trailers = ready!(self.body.poll_trailers(cx)).map_err(ReceiveError::Reset)?;
                self.done = true;
                Poll::Ready(Ok(trailers.map_or(Received::End, Received::Trailers)))
            }
        }
    }

    /// Whether the client's upload still goes on.
    #[must_use]
    pub fn is_sending(&self) -> bool {
        self.uploading.is_some()
    }

    /// Whether the last byte has been handed out.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }
}
