//! A request that waits for its version: its body is read ahead meanwhile, up to a bound, and who leaves gives up the place.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::HeaderValue;
use http::header::EXPECT;

use super::alarm::Elapsed;
use super::body::{HoldError, RequestBody, Upload};
use super::error::ProxyError;
use super::forward::{Call, SendFailure};
use crate::lifecycle::lease::Lease;
use crate::lifecycle::unit::AcquireError;
use crate::lifecycle::wakes::Receipt;

/// What clients are told to wait for a turn at a version that is up and has too much to do.
pub const SOON: Duration = Duration::from_secs(1);

/// What a request that was held waited for.
#[derive(Debug)]
pub struct Waited {
    receipt: Receipt,
    /// Where a connection had to be made.
    connect: Option<Duration>,
    /// From the request on its way to the head of the answer.
    response: Option<Duration>,
    mark: Instant,
    /// When it first began to wait.
    since: Instant,
}

impl Waited {
    /// Adds a wait that began at `since`.
    fn add(slot: &mut Option<Box<Self>>, since: Instant, more: Receipt) {
        let new = || {
            let (receipt, mark) = (Receipt::default(), Instant::now());
            Box::new(Self { receipt, connect: None, response: None, mark, since })
        };
        let waited = slot.get_or_insert_with(new);
        waited.receipt.queue += more.queue;
        waited.receipt.start += more.start;
        waited.receipt.probe += more.probe;
        waited.mark = Instant::now();
    }

    /// A connection was made, or could not be.
    pub fn connected(&mut self) {
        let before = std::mem::replace(&mut self.mark, Instant::now());
        self.connect = Some(self.mark - before);
    }

    /// The request goes onto a connection.
    pub fn sends(&mut self) {
        self.mark = Instant::now();
    }

    /// The head of an answer has come, or will not.
    pub fn answered(&mut self) {
        self.response = Some(self.mark.elapsed());
    }

    /// For `Server-Timing`: the parts that there were, in milliseconds.
    #[must_use]
    pub fn server_timing(&self) -> Option<HeaderValue> {
        let Receipt { queue, start, probe } = self.receipt;
        let there = |part: Duration| (!part.is_zero()).then_some(part);
        let parts = [
            ("queue", Some(queue)),
            ("start", there(start)),
            ("probe", there(probe)),
            ("connect", self.connect),
            ("response", self.response),
        ];
        let mut text = String::new();
        for (name, part) in parts {
            let Some(part) = part else { continue };
            let comma = if text.is_empty() { "" } else { ", " };
            text.push_str(&format!("{comma}{name};dur={:.1}", part.as_secs_f64() * 1000.0));
        }
        HeaderValue::try_from(text).ok()
    }
}

/// Waits for a lease, at most as long as a start may take; whatever was waited for before is part of that time.
pub async fn wait(
    call: &Call<'_>,
    body: &mut RequestBody,
    upload: &Upload,
    waited: &mut Option<Box<Waited>>,
) -> Result<Lease, SendFailure> {
    let (unit, version) = (call.unit, call.version);
    // The version was open a moment ago; such a request may wait for a turn, and never for a start.
    let is_up = || unit.is_open() && !unit.instances().iter().all(|instance| instance.is_draining());
    if call.ignored && !is_up() {
        return Err(asleep(call));
    }
    let mut waiting = unit.wait().map_err(|error| refused(call, error))?;
    // hyper asks for the body as soon as it is polled, which is not ours to do before anyone takes it.
    let holds = !body.is_empty() && !call.parts.headers.contains_key(EXPECT);
    let (held, most, most_of_all) = (&call.worker.shared.held, version.queue.max_body, call.max_held_bodies);
    let called = poll_fn(|cx| {
        if let Poll::Ready(called) = Pin::new(&mut waiting).poll(cx) {
            return Poll::Ready(called.map_err(|error| refused(call, error)));
        }
        if !holds {
            return Poll::Pending;
        }
        let failed = match body.hold(held, most, most_of_all, cx) {
            Ok(()) => return Poll::Pending,
            Err(HoldError::Upload) => upload.problem().unwrap_or(ProxyError::BodyBroken),
            Err(HoldError::Full) => ProxyError::HeldFull { retry_after: unit.typical_start() },
        };
        Poll::Ready(Err(failed.into()))
    });
    let now = Instant::now();
    let since = waited.as_ref().map_or(now, |waited| waited.since);
    let left = version.start.timeout.saturating_sub(now - since);
    let outcome = match call.worker.alarms.within(Some(left), called).await {
        Ok(outcome) => outcome,
        // Nobody is told of the version's own failure any more.
        Err(Elapsed) if unit.is_open() => Err(ProxyError::QueueTimeout { retry_after: SOON }.into()),
        Err(Elapsed) => Err(refused(call, AcquireError::Timeout)),
    };
    body.rest();
    let receipt = waiting.receipt();
    drop(waiting);
    let whole = receipt.queue + receipt.start + receipt.probe;
    unit.held().record(call.worker.thread, u64::try_from(whole.as_micros()).unwrap_or(u64::MAX));
    Waited::add(waited, since, receipt);
    if call.phase.traffic().client_has_left() {
        // Nothing is sent for the departed, nor what they may have sent behind this request.
        drop(outcome);
        call.phase.give_up();
        return pending().await;
    }
    outcome
}

/// What the client is told whose request is ignored.
fn asleep(call: &Call<'_>) -> SendFailure {
    ProxyError::Asleep { status: call.version.sleep.ignore.status }.into()
}

/// What the client is told.
fn refused(call: &Call<'_>, error: AcquireError) -> SendFailure {
    let version = || call.unit.name().as_str().into();
    match error {
        AcquireError::Gone => SendFailure::Gone,
        // It waited for a turn, of a version that is no longer up.
        AcquireError::Failed { .. } | AcquireError::Timeout if call.ignored => asleep(call),
        AcquireError::Failed { retry_in } => {
            ProxyError::VersionFailed { version: version(), retry_after: retry_in }.into()
        }
        AcquireError::Timeout => ProxyError::StartTimeout { version: version() }.into(),
        AcquireError::Full { retry_in } => ProxyError::QueueFull { retry_after: retry_in }.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_that_there_were_are_told() {
        let of = |queue, start, probe| {
            let [queue, start, probe] = [queue, start, probe].map(Duration::from_micros);
            Receipt { queue, start, probe }
        };
        let told = |waited: &Option<Box<Waited>>| waited.as_ref().and_then(|waited| waited.server_timing());
        let mut waited = None;
        Waited::add(&mut waited, Instant::now(), of(12_340, 0, 0));
        assert_eq!(told(&waited).expect("waited"), "queue;dur=12.3");
        Waited::add(&mut waited, Instant::now(), of(0, 80_060, 5_000));
        assert_eq!(told(&waited).expect("waited"), "queue;dur=12.3, start;dur=80.1, probe;dur=5.0");
        let answered = waited.as_mut().expect("waited");
        answered.connect = Some(Duration::from_micros(160));
        answered.response = Some(Duration::from_micros(3_100));
        let all = "queue;dur=12.3, start;dur=80.1, probe;dur=5.0, connect;dur=0.2, response;dur=3.1";
        assert_eq!(told(&waited).expect("waited"), all);
    }
}
