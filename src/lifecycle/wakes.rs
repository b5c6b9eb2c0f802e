//! How long a version takes to come up, and what its last wakes were made of.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::telemetry::counters::{WakeOutcome, WakeTotals};

/// How many past wakes are kept.
const KEPT: usize = 5;

/// One wake, from the call to readiness.
#[derive(Debug, Clone)]
pub struct Wake {
    /// When it was asked for.
    pub asked: Instant,
    /// The same on the wall clock.
    pub at: SystemTime,
    /// When the provider had started the instance.
    pub started: Option<Instant>,
    /// When it was ready.
    pub ready: Option<Instant>,
    /// Why it failed, if it did.
    pub failed: Option<Box<str>>,
    /// When it was ready or had failed; `None` while it lasts.
    pub over: Option<Instant>,
    /// Requests that waited when it was over.
    pub waiting: u32,
}

impl Wake {
    /// From the call to the end of what the provider does to start it; up to the end of the wake if that never came.
    #[must_use]
    pub fn start(&self) -> Duration {
        let until = self.started.or(self.over).unwrap_or(self.asked);
        until.saturating_duration_since(self.asked)
    }

    /// From then to readiness, or to the failure; `None` if it was never started.
    #[must_use]
    pub fn probe(&self) -> Option<Duration> {
        let started = self.started?;
        Some(self.over.unwrap_or(started).saturating_duration_since(started))
    }
}

/// What a request that was held waited for. The parts sum to the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Receipt {
    /// In line: for its turn, or for an instance with room.
    pub queue: Duration,
    /// For the instance to be started.
    pub start: Duration,
    /// For the instance to be ready.
    pub probe: Duration,
}

/// The wakes of one version.
#[derive(Debug, Default)]
pub struct Wakes {
    current: Option<Wake>,
    past: VecDeque<Wake>,
    /// What a start takes: an average in which each new one counts a quarter.
    typical: Option<Duration>,
    totals: WakeTotals,
    last_end: Option<Box<str>>,
}

impl Wakes {
    /// A wake begins, unless one is on its way.
    pub fn begin(&mut self) {
        if self.current.is_none() {
            let (asked, at) = (Instant::now(), SystemTime::now());
            let wake = Wake { asked, at, started: None, ready: None, failed: None, over: None, waiting: 0 };
            self.current = Some(wake);
        }
    }

    /// The provider has started the first instance.
    pub fn started(&mut self) {
        if let Some(wake) = &mut self.current {
            wake.started.get_or_insert_with(Instant::now);
        }
    }

    /// It is ready, for so many requests that waited; by a start, or else by a resume from a pause, which tells nothing of starts. Returns
    /// how long that took, if there was a wake.
    pub fn ready(&mut self, waiting: u32, by_start: bool) -> Option<Duration> {
        let mut wake = self.current.take()?;
        let now = Instant::now();
        let took = now.saturating_duration_since(wake.asked);
        wake.ready = Some(now);
        if by_start {
            self.typical = Some(self.typical.map_or(took, |typical| (typical * 3 + took) / 4));
        }
        self.keep(wake, WakeOutcome::Ready, now, waiting);
        Some(took)
    }

    /// It failed, or was not ready in time, for so many requests that waited.
    pub fn failed(&mut self, why: &str, timeout: bool, waiting: u32) {
        if let Some(mut wake) = self.current.take() {
            wake.failed = Some(why.into());
            let outcome = if timeout { WakeOutcome::Timeout } else { WakeOutcome::Failed };
            self.keep(wake, outcome, Instant::now(), waiting);
        }
    }

    /// It is not wanted any more.
    pub fn cancelled(&mut self) {
        self.current = None;
    }

    fn keep(&mut self, wake: Wake, outcome: WakeOutcome, now: Instant, waiting: u32) {
        self.totals.count(outcome, now.saturating_duration_since(wake.asked));
        self.past.truncate(KEPT - 1);
        self.past.push_front(Wake { over: Some(now), waiting, ..wake });
    }

    /// What a start takes, from those that there were.
    #[must_use]
    pub fn typical(&self) -> Option<Duration> {
        self.typical
    }

    /// How long the present wake has lasted.
    #[must_use]
    pub fn elapsed(&self) -> Option<Duration> {
        self.current.as_ref().map(|wake| wake.asked.elapsed())
    }

    /// Why the last instance that was ready ended by itself; `None` if one has run well since.
    #[must_use]
    pub fn last_end(&self) -> Option<&str> {
        self.last_end.as_deref()
    }

    /// An instance that was ready has ended by itself, or, with `None`, one has run well.
    pub(super) fn ended(&mut self, why: Option<&str>) {
        self.last_end = why.map(Into::into);
    }

    /// All there were.
    #[must_use]
    pub fn totals(&self) -> &WakeTotals {
        &self.totals
    }

    /// The last ones, newest first; at most five.
    #[must_use]
    pub fn past(&self) -> &VecDeque<Wake> {
        &self.past
    }

    /// What a request that joined the line at `since` and left it at `until` waited for.
    #[must_use]
    pub fn receipt(&self, since: Instant, until: Instant) -> Receipt {
        let whole = until.saturating_duration_since(since);
        let came = self.past.iter().find(|wake| wake.ready.is_some_and(|ready| ready >= since));
        // One that failed last, or has not come yet, is what was waited for until now.
        let failed = || self.past.front().filter(|wake| wake.failed.is_some());
        let Some(wake) = came.or(self.current.as_ref()).or_else(failed) else {
            return Receipt { queue: whole, ..Receipt::default() };
        };
        let ready = wake.ready.unwrap_or(until);
        let started = wake.started.unwrap_or(ready);
        let overlap = |from: Instant, to: Instant| to.min(until).saturating_duration_since(from.max(since));
        let (start, probe) = (overlap(wake.asked, started), overlap(started, ready));
        Receipt { queue: whole.saturating_sub(start + probe), start, probe }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_parts_of_a_receipt_sum_to_the_wait() {
        let mut wakes = Wakes::default();
        let first = Instant::now();
        wakes.begin();
        tokio::time::advance(Duration::from_millis(20)).await;
        wakes.started();
        tokio::time::advance(Duration::from_millis(30)).await;
        let late = Instant::now();
        tokio::time::advance(Duration::from_millis(50)).await;
        assert_eq!(wakes.ready(2, true), Some(Duration::from_millis(100)));
        tokio::time::advance(Duration::from_millis(5)).await;
        let now = Instant::now();
        let of = |queue, start, probe| {
            let [queue, start, probe] = [queue, start, probe].map(Duration::from_millis);
            Receipt { queue, start, probe }
        };
        assert_eq!(wakes.receipt(first, now), of(5, 20, 80));
        assert_eq!(wakes.receipt(late, now), of(5, 0, 50));
        tokio::time::advance(Duration::from_millis(1)).await;
        let warm = Instant::now();
        tokio::time::advance(Duration::from_millis(7)).await;
        assert_eq!(wakes.receipt(warm, Instant::now()), of(7, 0, 0));
        let cold = Instant::now();
        wakes.begin();
        tokio::time::advance(Duration::from_millis(8)).await;
        assert_eq!(wakes.receipt(cold, Instant::now()), of(0, 8, 0));
        wakes.started();
        tokio::time::advance(Duration::from_millis(2)).await;
        wakes.failed("it exited", false, 1);
        assert_eq!(wakes.receipt(cold, Instant::now()), of(0, 8, 2));
        assert_eq!(wakes.typical(), Some(Duration::from_millis(100)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_ones_are_kept_with_their_parts() {
        let mut wakes = Wakes::default();
        let wait = |millis| tokio::time::advance(Duration::from_millis(millis));
        wakes.begin();
        wait(7).await;
        wakes.failed("no such program", false, 3);
        wakes.failed("said twice", false, 3);
        wakes.begin();
        wait(20).await;
        wakes.started();
        wait(500).await;
        wakes.failed("not ready within 520ms", true, 0);
        for waiting in 1..=3 {
            wakes.begin();
            wait(10).await;
            wakes.started();
            wait(30).await;
            wakes.ready(waiting, true);
        }
        let millis = |duration: Duration| duration.as_millis();
        let parts: Vec<_> =
            wakes.past().iter().map(|wake| (millis(wake.start()), wake.probe().map(millis), wake.waiting)).collect();
        let up = |waiting| (10, Some(30), waiting);
        assert_eq!(parts, [up(3), up(2), up(1), (20, Some(500), 0), (7, None, 3)]);
        assert_eq!(wakes.past()[4].failed.as_deref(), Some("no such program"));
        assert_eq!(wakes.totals().by_outcome, [3, 1, 1]);
        wakes.begin();
        wakes.cancelled();
        assert_eq!((wakes.past().len(), wakes.totals().by_outcome), (5, [3, 1, 1]));
    }
}
