//! One client connection that speaks HTTP/2: hyper does the frames, each request is a task of its own, deadlines are ours.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::client_io::ClientIo;
use super::connection::Client;
use super::handler::Handler;
use super::phase::{LINGER, Phase};
use super::streams::{Streams, Tasks};
use super::worker::{Stage, Worker};
use crate::model::settings::ClientLimits;

/// What a client that knows beforehand that we speak HTTP/2 begins with (RFC 9113, 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The name in the handshake of TLS (RFC 9113, 3.2).
pub(super) const ALPN: &[u8] = b"h2";

/// Bytes of one upload, and of all uploads of a connection, that may be under way or wait to be taken: one that waits is not to hold
/// up the others.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Bytes of an answer that may wait for the client to take them, and for which the backend is asked.
const SEND_BUFFER: usize = 128 * 1024;

/// How long a ping may be without an answer.
const PONG: Duration = Duration::from_secs(20);

/// Serves a connection to its end.
pub(super) async fn serve<S>(worker: Rc<Worker>, io: ClientIo<S>, client: Client, limits: ClientLimits)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    worker.counters().http2_opened.add(1);
    let traffic = Arc::clone(io.traffic());
    let streams = Streams::new(&worker.alarms, limits.http2.max_resets);
    let handler = Rc::new(Handler::new(Rc::clone(&worker), client.clone()));
    let mut builder = http2::Builder::new(Tasks(Rc::clone(&streams)));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2.max_streams)
        .max_header_list_size(u32::try_from(limits.max_head).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(limits.http2.ping)
        .keep_alive_timeout(PONG);
    let life = Life { max_age: limits.http2.max_age, keep_alive: limits.keep_alive, born: worker.alarms.now() };
    let service = service_fn({
        let (worker, traffic, streams) = (Rc::clone(&worker), Arc::clone(&traffic), Rc::clone(&streams));
        move |mut request: hyper::Request<hyper::body::Incoming>| {
            join_cookies(request.headers_mut());
            let (alarm, traffic) = (worker.alarms.alarm(), Arc::clone(&traffic));
            let phase = Rc::new(Phase::of_stream(alarm, traffic, &limits, Rc::clone(&streams)));
            streams.begin(&phase);
            let handler = Rc::clone(&handler);
            async move { Ok::<_, Infallible>(handler.handle(request, &phase).await) }
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let alarm = worker.alarms.alarm();
    alarm.set(life.look());
    // While it closes: what was written at the last look.
    let mut closing = None;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
                if let Err(error) = outcome {
                    tracing::debug!(peer = %client.peer, %error, "a client connection ended early");
                }
                return Poll::Ready(());
            }
            let is_over = streams.is_abused();
            let due = alarm.poll(cx).is_ready();
            let now = worker.alarms.now();
            match closing {
                None => {
                    let ends = worker.stage() >= Stage::Draining || client.listener.is_left();
                    if is_over || ends || life.is_over(&streams, now) {
                        closing = Some(traffic.written());
                        connection.as_mut().graceful_shutdown();
                        alarm.set(LINGER);
                        continue;
                    }
                    if !due {
                        return Poll::Pending;
                    }
                    alarm.set(life.look());
                }
                Some(_) if is_over => {
                    tracing::debug!(peer = %client.peer, "a client cancels too many requests; its connection is closed");
                    worker.counters().http2_abused.add(1);
                    return Poll::Ready(());
                }
                Some(mark) => {
                    if !due {
                        return Poll::Pending;
                    }
                    // A client that takes nothing and has nothing to wait for need not agree to the end.
                    if streams.idle_since().is_some() && traffic.written() == mark {
                        return Poll::Ready(());
                    }
                    closing = Some(traffic.written());
                    alarm.set(LINGER);
                }
            }
        }
    })
    .await;
    worker.counters().http2_closed.add(1);
}

/// How long a connection may be there.
struct Life {
    max_age: Option<Duration>,
    keep_alive: Duration,
    /// On the thread's coarse clock, as all that follows.
    born: u64,
}

impl Life {
    /// How often to look.
    fn look(&self) -> Duration {
        let most = self.max_age.map_or(self.keep_alive, |age| age.min(self.keep_alive));
        // Often enough to be late by no more than a part of what was asked for.
        (most / 8).max(Duration::from_millis(100))
    }

    fn is_over(&self, streams: &Streams, now: u64) -> bool {
        let since = |then: u64| Duration::from_millis(now.saturating_sub(then));
        self.max_age.is_some_and(|age| since(self.born) >= age)
            || streams.idle_since().is_some_and(|idle| since(idle) >= self.keep_alive)
    }
}

/// Several `Cookie` headers are one that is cut at the semicolons (RFC 9113, 8.2.3), and are put together for those who do not know.
fn join_cookies(headers: &mut HeaderMap) {
    let mut all = headers.get_all(COOKIE).iter();
    if all.next().is_none() || all.next().is_none() {
        return;
    }
    let parts: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}
