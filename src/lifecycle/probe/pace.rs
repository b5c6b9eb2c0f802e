//! How often a start is probed.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::NotReady;

/// The pause between probes at first; the timer's grain makes it 1 to 2 ms.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// How long probes come at that pace.
const EAGER_FOR: Duration = Duration::from_millis(200);
/// What readiness is noticed late by afterwards at most, as a part of the start's own time: a 300th.
const LATE_BY: u32 = 300;
/// The longest pause, reached after 7.8 s.
const LONGEST_PAUSE: Duration = Duration::from_millis(25);
/// A timer sleeps up to so much longer than it was asked to.
const TIMER_GRAIN: Duration = Duration::from_millis(1);

/// The pace of the probes of one start, and how many there were.
///
/// Every 1 to 2 ms for 200 ms. After that a probe follows when a 300th of the time since the beginning has passed, at least 2 ms and
/// at most 25 ms: who takes a second to start waits at most 4 ms for its readiness to be noticed, and who takes half a minute is not
/// probed 15,000 times.
#[derive(Debug)]
pub(super) struct Pace {
    begun: Instant,
    probes: u32,
}

impl Pace {
    /// The start begins now.
    pub(super) fn begin() -> Self {
        Self { begun: Instant::now(), probes: 0 }
    }

    /// How many probes were made.
    pub(super) fn probes(&self) -> u32 {
        self.probes
    }

    /// Calls `probe` until it succeeds.
    ///
    /// # Errors
    /// The last one's, when `deadline` passes first.
    pub(super) async fn until(
        &mut self,
        deadline: Instant,
        mut probe: impl AsyncFnMut() -> Result<(), NotReady>,
    ) -> Result<(), NotReady> {
        loop {
            self.probes = self.probes.saturating_add(1);
            let Err(not_ready) = probe().await else { return Ok(()) };
            let now = Instant::now();
            let pause = pause_after(now - self.begun);
            if now + pause >= deadline {
                return Err(not_ready);
            }
            sleep(pause).await;
        }
    }
}

/// The pause that follows a probe which ended so long after the beginning.
fn pause_after(elapsed: Duration) -> Duration {
    if elapsed < EAGER_FOR {
        return FIRST_PAUSE;
    }
    (elapsed / LATE_BY).saturating_sub(TIMER_GRAIN).clamp(FIRST_PAUSE, LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When the probes of a start take place, on timers that fire `grain` late.
    fn probes_until(end: Duration, grain: Duration) -> Vec<Duration> {
        let next = |at: &Duration| Some(*at + pause_after(*at) + grain).filter(|at| *at <= end);
        std::iter::successors(Some(Duration::ZERO), next).collect()
    }

    #[test]
    fn readiness_is_noticed_within_a_300th_and_never_later_than_26_ms() {
        for probes in probes_until(Duration::from_secs(30), TIMER_GRAIN).windows(2) {
            let [before, at] = [probes[0], probes[1]];
            let late = at - before;
            let bound = (at / LATE_BY).clamp(FIRST_PAUSE + TIMER_GRAIN, LONGEST_PAUSE + TIMER_GRAIN);
            assert!(late <= bound, "what is ready at {before:?} is noticed {late:?} late");
        }
    }

    #[test]
    fn probes_are_few() {
        let after = |seconds| probes_until(Duration::from_secs(seconds), Duration::ZERO).len();
        // One each ms until a 300th is more; then 300 times the logarithm of how often the time so far goes into the rest.
        assert!((700..=1_000).contains(&after(1)), "{}", after(1));
        assert!((1_200..=1_700).contains(&after(5)), "{}", after(5));
        assert!((2_100..=2_800).contains(&after(30)), "{}", after(30));
    }

    #[tokio::test]
    async fn counts_and_says_the_last_reason_at_the_deadline() {
        let mut pace = Pace::begin();
        let deadline = pace.begun + Duration::from_millis(500);
        let mut made: u16 = 0;
        let probe = async || {
            made += 1;
            Err(NotReady::Status { address: ([127, 0, 0, 1], 1).into(), path: "/".into(), status: made })
        };
        let last = pace.until(deadline, probe).await.expect_err("it never is");
        let took = pace.begun.elapsed();
        assert!(matches!(last, NotReady::Status { status, .. } if status == made), "{last}");
        assert_eq!(pace.probes(), u32::from(made));
        // A machine that is busy elsewhere makes them fewer.
        assert!((2..=501).contains(&made) && took < Duration::from_secs(60), "{made} in {took:?}");
    }
}
