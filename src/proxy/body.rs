//! Bodies on their way: the client's to the backend, the backend's to the client, with bounds and deadlines.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::alarm::{Alarm, Alarms, NEVER};
use super::error::ProxyError;
use super::exchange::Exchange;
use super::headers::clean_trailers;
use super::held::{HeldBodies, HeldBody};
use super::phase::Phase;
use super::upstream::{Arriving, ReceiveError, Received};
use super::worker::Worker;

/// A body that broke off, so that the other side must break off too.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client's body was too large, too slow or broken; [`Upload::problem`] says which.
    #[error("the request body cannot be forwarded")]
    Upload,
    /// The backend's body broke off.
    #[error("the backend's body broke off")]
    Download(#[source] ReceiveError),
    /// The backend's body stood still for too long, or the whole took too long.
    #[error("the backend's body stopped coming")]
    Timeout,
}

/// How an upload is doing, shared between the handler and whoever reads the body.
#[derive(Debug, Default)]
pub struct Upload {
    received: Cell<u64>,
    finished: Cell<bool>,
    passed: Cell<u64>,
    passed_on: Cell<bool>,
    awaited: Cell<bool>,
    seen: Cell<u64>,
    problem: Cell<Option<UploadProblem>>,
}

/// Why an upload failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadProblem {
    /// More than `max_body`.
    TooLarge,
    /// No byte for the idle timeout.
    Idle,
    /// Broken off or malformed.
    Broken,
}

impl Upload {
    /// One that has nothing to send.
    #[must_use]
    pub fn finished() -> Self {
        Self { finished: Cell::new(true), passed_on: Cell::new(true), ..Self::default() }
    }

    /// Bytes received so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.get()
    }

    /// Bytes handed to whoever sends them on.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.passed.get()
    }

    /// Whether the last byte has been handed on.
    #[must_use]
    pub fn is_passed_on(&self) -> bool {
        self.passed_on.get()
    }

    /// Whether the backend has taken all that came, and more is waited for.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.awaited.get()
    }

    /// Whether anything was handed on since this was last asked.
    fn has_moved(&self) -> bool {
        self.seen.replace(self.passed.get()) != self.passed.get()
    }

    /// What went wrong on the client's side, as the error to answer.
    #[must_use]
    pub fn problem(&self) -> Option<ProxyError> {
        Some(match self.problem.get()? {
            UploadProblem::TooLarge => ProxyError::BodyTooLarge,
            UploadProblem::Idle => ProxyError::BodyTimeout,
            UploadProblem::Broken => ProxyError::BodyBroken,
        })
    }
}

/// The client's body on its way to the backend.
#[derive(Debug)]
pub enum RequestBody {
    /// There is none.
    Empty,
    /// It streams.
    Stream(UploadStream),
}

/// The moving part of [`RequestBody`].
#[derive(Debug)]
pub struct UploadStream {
    incoming: Incoming,
    /// What was read ahead and goes first.
    held: Option<Box<HeldBody>>,
    /// What goes last.
    trailers: Option<Box<HeaderMap>>,
    upload: Rc<Upload>,
    limit: Option<u64>,
    patience: Patience,
    phase: Rc<Phase>,
}

/// Bounds how long the next piece of a body is waited for. The time in which nobody asks for it does not count: whoever
/// reads a body may be held up itself.
#[derive(Debug)]
pub struct Patience {
    limit: Option<Duration>,
    alarms: Rc<Alarms>,
    /// Made when something is first waited for: bodies that come at once cost none. Off while nothing is.
    alarm: Option<Alarm>,
}

impl Patience {
    /// For a body of which something has to come within every `limit`.
    #[must_use]
    pub fn new(limit: Option<Duration>, alarms: &Rc<Alarms>) -> Self {
        Self { limit, alarms: Rc::clone(alarms), alarm: None }
    }

    /// Something came.
    fn renew(&mut self) {
        if let Some(alarm) = &self.alarm {
            alarm.off();
        }
    }

    /// Nothing has come: whether that has lasted too long. The task is woken when it has.
    fn is_over(&mut self, cx: &Context<'_>) -> bool {
        let Some(limit) = self.limit else { return false };
        let alarm = self.alarm.get_or_insert_with(|| self.alarms.alarm());
        if alarm.due() == NEVER {
            alarm.set(limit);
        }
        alarm.poll(cx).is_ready()
    }
}

impl RequestBody {
    /// Wraps what hyper received. `limit` is in bytes; `idle` bounds the time between two frames.
    #[must_use]
    pub fn new(
        incoming: Incoming,
        limit: Option<u64>,
        idle: Option<Duration>,
        worker: &Worker,
        phase: &Rc<Phase>,
    ) -> (Self, Rc<Upload>) {
        if incoming.is_end_stream() {
            return (Self::Empty, Rc::clone(worker.no_upload()));
        }
        let upload = Rc::new(Upload::default());
        let stream = UploadStream {
            incoming,
            held: None,
            trailers: None,
            upload: Rc::clone(&upload),
            limit,
            patience: Patience::new(idle, &worker.alarms),
            phase: Rc::clone(phase),
        };
        (Self::Stream(stream), upload)
    }

    /// Whether there is no body at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// Reads ahead what has come, until `most` bytes are held, or `most_of_all` over all bodies. The task is woken when there is more
    /// to read, or when the client has been quiet for too long.
    pub fn hold(
        &mut self,
        all: &Arc<HeldBodies>,
        most: u64,
        most_of_all: u64,
        cx: &mut Context<'_>,
    ) -> Result<(), HoldError> {
        match self {
            Self::Empty => Ok(()),
            Self::Stream(stream) => stream.hold(all, most, most_of_all, cx),
        }
    }

    /// Nothing is read for a while, which is not the client's fault.
    pub fn rest(&mut self) {
        if let Self::Stream(stream) = self {
            stream.patience.renew();
            stream.upload.awaited.set(false);
        }
    }
}

/// Why a body could not be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldError {
    /// As many bytes are held as there may be over all bodies.
    Full,
    /// The client's part went wrong; [`Upload::problem`] says what.
    Upload,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Stream(stream) => stream.poll_data(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(stream) => stream.held.is_none() && stream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}

impl UploadStream {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.upload.problem.get().is_some() {
            return Poll::Ready(Some(Err(BodyError::Upload)));
        }
        self.upload.awaited.set(false);
        let data = match self.take_held() {
            Some(data) => data,
            None => match ready!(self.poll_incoming(cx)) {
                Some(Ok(data)) => data,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.upload.passed_on.set(true);
                    return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(*trailers))));
                }
            },
        };
        self.upload.passed.set(self.upload.passed.get() + data.len() as u64);
        if self.held.is_none() && self.incoming.is_end_stream() {
            self.upload.passed_on.set(true);
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn take_held(&mut self) -> Option<Bytes> {
        let held = self.held.as_mut()?;
        let data = held.pop();
        if held.bytes() == 0 {
            self.held = None;
        }
        data
    }

    fn hold(
        &mut self,
        all: &Arc<HeldBodies>,
        most: u64,
        most_of_all: u64,
        cx: &mut Context<'_>,
    ) -> Result<(), HoldError> {
        while !self.upload.finished.get() && self.held.as_ref().map_or(0, |held| held.bytes()) < most {
            match self.poll_incoming(cx) {
                Poll::Pending | Poll::Ready(None) => return Ok(()),
                Poll::Ready(Some(Err(_))) => return Err(HoldError::Upload),
                Poll::Ready(Some(Ok(data))) if data.is_empty() => {}
                Poll::Ready(Some(Ok(data))) => {
                    let held = self.held.get_or_insert_with(|| Box::new(HeldBody::among(all)));
                    if !held.push(&data, most_of_all) {
                        return Err(HoldError::Full);
                    }
                }
            }
        }
        Ok(())
    }

    /// The next bytes from the client.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.upload.finished.get() {
            return Poll::Ready(None);
        }
        loop {
            let data = match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Pending if self.patience.is_over(cx) => return self.fail(UploadProblem::Idle),
                Poll::Pending => {
                    self.upload.awaited.set(true);
                    return Poll::Pending;
                }
                Poll::Ready(None) => {
                    self.upload.finished.set(true);
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(_))) => return self.fail(UploadProblem::Broken),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => data,
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok().map(Box::new);
                        continue;
                    }
                },
            };
            let received = self.upload.received.get() + data.len() as u64;
            self.upload.received.set(received);
            if self.limit.is_some_and(|limit| received > limit) {
                return self.fail(UploadProblem::TooLarge);
            }
            if self.incoming.is_end_stream() {
                self.upload.finished.set(true);
            }
            self.patience.renew();
            return Poll::Ready(Some(Ok(data)));
        }
    }

    fn fail(&self, problem: UploadProblem) -> Poll<Option<Result<Bytes, BodyError>>> {
        self.upload.problem.set(Some(problem));
        Poll::Ready(Some(Err(BodyError::Upload)))
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.incoming.size_hint();
        if let Some(held) = &self.held {
            let (lower, upper) = (hint.lower() + held.bytes(), hint.upper().map(|upper| upper + held.bytes()));
            hint = SizeHint::new();
            // In this order, for the lower bound may never be above the upper one.
            upper.into_iter().for_each(|upper| hint.set_upper(upper));
            hint.set_lower(lower);
        }
        hint
    }
}

impl Drop for UploadStream {
    fn drop(&mut self) {
        if !self.upload.finished.get() {
            self.phase.expect_unread_upload();
        }
    }
}

/// What is sent to the client. A pointer, for it changes hands a dozen times before its first byte is asked for.
#[derive(Debug)]
pub struct ResponseBody(Box<Sent>);

#[derive(Debug)]
struct Sent {
    kind: Kind,
    exchange: Option<Exchange>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are downloads, which are not to cost another allocation")]
enum Kind {
    Full(Bytes),
    Download(Download),
}

/// The backend's body on its way to the client.
#[derive(Debug)]
pub struct Download {
    /// What comes from the backend.
    pub answer: Arriving,
    /// Bounds the wait for the next frame.
    pub patience: Patience,
    /// Goes off when the whole takes too long.
    pub total: Option<Alarm>,
    /// The upload, which may go on beside.
    pub upload: Rc<Upload>,
    /// Whether the client takes trailers.
    pub trailers: bool,
    /// What went wrong, to be told at the next poll.
    pub failed: Option<BodyError>,
}

impl ResponseBody {
    /// Nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self::full(Bytes::new())
    }

    /// A text of our own.
    #[must_use]
    pub fn full(bytes: Bytes) -> Self {
        Self(Box::new(Sent { kind: Kind::Full(bytes), exchange: None }))
    }

    /// The backend's.
    #[must_use]
    pub fn download(download: Download) -> Self {
        Self(Box::new(Sent { kind: Kind::Download(download), exchange: None }))
    }

    /// What is told when the last byte has gone.
    pub fn attach(&mut self, exchange: Exchange) {
        self.0.exchange = Some(exchange);
    }
}

impl Sent {
    fn sent(&mut self, bytes: usize) {
        if let Some(exchange) = &mut self.exchange {
            exchange.sent(bytes as u64);
        }
    }

    /// Everything has been handed to hyper.
    fn finished(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            exchange.complete();
        }
    }

    fn is_at_end(&self) -> bool {
        match &self.kind {
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Download(download) => download.answer.is_done(),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self.get_mut().0;
        let blocked = this.exchange.as_ref().is_some_and(Exchange::is_blocked);
        let outcome = match &mut this.kind {
            // hyper asks again when the client has taken some of what came before.
            Kind::Download(download) if blocked && download.failed.is_some() => return Poll::Pending,
            Kind::Full(bytes) if bytes.is_empty() => None,
            Kind::Full(bytes) => Some(Ok(Frame::data(std::mem::take(bytes)))),
            Kind::Download(download) => match download.poll_frame(cx) {
                Poll::Pending => {
                    if let Some(exchange) = &this.exchange {
                        exchange.waits();
                    }
                    return Poll::Pending;
                }
                Poll::Ready(outcome) => outcome,
            },
        };
        match &outcome {
            Some(Ok(frame)) => this.sent(frame.data_ref().map_or(0, Bytes::len)),
            Some(Err(error)) => {
                if let Some(exchange) = &mut this.exchange {
                    exchange.broken(error);
                }
            }
            None => {}
        }
        if outcome.is_none() || this.is_at_end() {
            this.finished();
        }
        Poll::Ready(outcome)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_at_end()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0.kind {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Download(download) => download.answer.left().map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        // hyper does not poll a body that says it is at its end: one without bytes, or the answer to a HEAD.
        if self.is_at_end() {
            self.finished();
        }
    }
}

impl Download {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        // First, for a body that always has something would never come to its end here.
        if self.total.as_ref().is_some_and(|total| total.poll(cx).is_ready()) {
            return Poll::Ready(Some(Err(BodyError::Timeout)));
        }
        let Poll::Ready(received) = self.answer.poll(cx) else {
            return if self.is_stalled(cx) { Poll::Ready(Some(Err(BodyError::Timeout))) } else { Poll::Pending };
        };
        self.patience.renew();
        Poll::Ready(match received {
            Ok(Received::Data(data)) => Some(Ok(Frame::data(data))),
            Ok(Received::Trailers(mut trailers)) if self.trailers => {
                clean_trailers(&mut trailers);
                Some(Ok(Frame::trailers(trailers)))
            }
            Ok(Received::Trailers(_) | Received::End) => None,
            Err(error) => {
                // hyper drops what it has not sent yet as soon as it hears of this: the client gets that first.
                self.failed = Some(match error {
                    ReceiveError::Upload => BodyError::Upload,
                    error => BodyError::Download(error),
                });
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        })
    }

    /// Nothing has come: whether that has lasted too long. A backend that still takes an upload need not answer meanwhile, and
    /// for a client that rests in its upload the upload's own deadline is there.
    fn is_stalled(&mut self, cx: &Context<'_>) -> bool {
        if !self.patience.is_over(cx) {
            return false;
        }
        if !self.answer.is_sending() || !(self.upload.is_awaited() || self.upload.has_moved()) {
            return true;
        }
        self.patience.renew();
        self.patience.is_over(cx)
    }
}
