//! What a client's connection, or a stream of one, is doing, and how long it may.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use super::alarm::{Alarm, NEVER};
use super::client_io::Traffic;
use super::streams::Streams;
use crate::model::settings::ClientLimits;

/// How long a close lingers for a client that is still sending (as nginx's `lingering_timeout`, but for the whole).
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// How long a connection idles before hyper is taken off it. Putting it on again takes about a tenth of what a request does, so this
/// is longer than the pauses of whoever is busy.
const REST: Duration = Duration::from_millis(500);

/// What is being done, and how long it may take. HTTP/1.1 has one for each connection, HTTP/2 one for each request.
#[derive(Debug)]
pub struct Phase {
    alarm: Alarm,
    traffic: Arc<Traffic>,
    doing: Cell<Doing>,
    /// Of what is read or written, as of the last change.
    mark: Cell<u64>,
    /// When the exchange has to be over, on the coarse clock.
    until: Cell<u64>,
    request_head: Duration,
    keep_alive: Duration,
    /// Only where others share the connection.
    stream: Option<Stream>,
}

/// What only a stream has: the socket says nothing of it.
#[derive(Debug)]
struct Stream {
    streams: Rc<Streams>,
    /// Bytes of the answer that were handed over.
    passed: Cell<u64>,
    /// Whether the backend is waited for, and not the client.
    waits: Cell<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Between requests.
    Idle,
    /// The same, for longer: without hyper.
    Resting,
    /// Some bytes of a head have come.
    Head,
    /// A request is being served; the handler has deadlines of its own.
    Serving,
    /// A response is being sent; the client must take some of it now and then.
    Sending(Option<Duration>),
    /// The whole response is with hyper, and the last of it on its way; as before.
    Flushing(Option<Duration>),
    /// Closing, once the client stops sending.
    Lingering,
}

/// What [`Phase`] says of a connection that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is time left.
    GoOn,
    /// It may do without hyper.
    Rest,
    /// It is over.
    Overdue,
}

impl Phase {
    /// Of a connection that has one request at a time, and now waits for the first.
    pub(super) fn of_connection(alarm: Alarm, traffic: Arc<Traffic>, limits: &ClientLimits) -> Self {
        alarm.set(limits.request_head);
        Self::new(alarm, traffic, limits, None)
    }

    /// Of one request among `streams`.
    pub(super) fn of_stream(alarm: Alarm, traffic: Arc<Traffic>, limits: &ClientLimits, streams: Rc<Streams>) -> Self {
        let stream = Stream { streams, passed: Cell::new(0), waits: Cell::new(true) };
        Self::new(alarm, traffic, limits, Some(stream))
    }

    fn new(alarm: Alarm, traffic: Arc<Traffic>, limits: &ClientLimits, stream: Option<Stream>) -> Self {
        let (doing, mark, until) = (Cell::new(Doing::Resting), Cell::new(0), Cell::new(NEVER));
        let &ClientLimits { request_head, keep_alive, .. } = limits;
        Self { alarm, traffic, doing, mark, until, request_head, keep_alive, stream }
    }

    /// What passes through the client's socket.
    #[must_use]
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// Whether this is one of several requests on the connection.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.stream.is_some()
    }

    /// A head has come.
    pub fn begin_request(&self) {
        self.doing.set(Doing::Serving);
        self.until.set(NEVER);
        self.alarm.off();
    }

    /// A response is on its way; the client must take some of it within every `idle`, and all of it before `total`.
    pub fn begin_response(&self, idle: Option<Duration>, total: Option<&Alarm>) {
        self.until.set(total.map_or(NEVER, Alarm::due));
        self.doing.set(Doing::Sending(idle));
        self.watch_writing(idle);
    }

    /// The response has been handed over to hyper.
    pub fn end_request(&self) {
        if self.is_stream() {
            return self.alarm.off();
        }
        // Until the client has taken the rest, the connection is not idle: a slow client would lose the end.
        match self.doing.get() {
            Doing::Sending(idle) => self.doing.set(Doing::Flushing(idle)),
            _ => {
                self.doing.set(Doing::Flushing(Some(self.keep_alive)));
                self.watch_writing(Some(self.keep_alive));
            }
        }
    }

    /// Nobody is there any more: the connection ends as soon as the handler has nothing more to do at present.
    pub fn give_up(&self) {
        self.alarm.at_latest(0);
    }

    /// Whether the client has yet to take what was sent before, and whoever has more for it is asked again once it has.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        !self.is_stream() && self.traffic.is_blocked()
    }

    /// So many bytes of the answer were handed over; `None` where the backend has yet to send some.
    pub fn passes(&self, bytes: Option<u64>) {
        if let Some(stream) = &self.stream {
            stream.passed.set(stream.passed.get() + bytes.unwrap_or_default());
            stream.waits.set(bytes.is_none());
        }
    }

    /// The request is over: whether it was answered to the end, or the client would not wait for that.
    pub fn judge(&self, completed: bool) {
        if let Some(stream) = &self.stream {
            stream.streams.judge(completed);
        }
    }

    /// Says that the client may still be sending what nobody reads. A stream of that kind is reset, behind the answer.
    pub fn expect_unread_upload(&self) {
        if !self.is_stream() {
            self.traffic.expect_unread_upload();
        }
    }

    fn written(&self) -> u64 {
        self.stream.as_ref().map_or_else(|| self.traffic.written(), |stream| stream.passed.get())
    }

    /// Whether the client has something to take.
    fn has_to_take(&self) -> bool {
        self.stream.as_ref().map_or_else(|| self.traffic.is_blocked(), |stream| !stream.waits.get())
    }

    fn watch_writing(&self, idle: Option<Duration>) {
        self.mark.set(self.written());
        match idle {
            Some(idle) => self.alarm.set(idle),
            None => self.alarm.off(),
        }
        self.alarm.at_latest(self.until.get());
    }

    /// Looks at what passed since the last look.
    pub(super) fn observe(&self) {
        match self.doing.get() {
            Doing::Lingering => {}
            _ if self.traffic.is_lingering() => {
                self.doing.set(Doing::Lingering);
                self.alarm.set(LINGER);
            }
            Doing::Flushing(_) if !self.traffic.is_blocked() => {
                self.doing.set(Doing::Idle);
                self.mark.set(self.traffic.read());
                self.alarm.set(REST.min(self.keep_alive));
            }
            Doing::Idle | Doing::Resting if self.traffic.read() != self.mark.get() => {
                self.doing.set(Doing::Head);
                self.alarm.set(self.request_head);
            }
            _ => {}
        }
    }

    /// Whether the connection did for too long what it is doing, or idles for so long that it may rest.
    pub(super) fn verdict(&self, cx: &Context<'_>) -> Verdict {
        while self.alarm.poll(cx).is_ready() {
            // The client is late only with what waits for it; that there is more to come is the backend's part.
            let moves = self.written() != self.mark.get() || !self.has_to_take();
            let moves = moves && self.alarm.alarms().now() < self.until.get();
            match self.doing.get() {
                Doing::Sending(idle) | Doing::Flushing(idle) if moves => self.watch_writing(idle),
                Doing::Idle if REST < self.keep_alive => {
                    self.doing.set(Doing::Resting);
                    self.alarm.set(self.keep_alive - REST);
                    return Verdict::Rest;
                }
                _ => return Verdict::Overdue,
            }
        }
        Verdict::GoOn
    }
}
