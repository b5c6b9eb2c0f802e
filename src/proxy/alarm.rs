//! Deadlines at the price of a number: one sweep per thread looks at all of them ten times a second.
//!
//! A timer per request costs more than the request's own work (a heap or wheel, a lock, a clock read). Deadlines of a proxy
//! are seconds and hardly ever met, so a coarse clock does: setting one writes a number. Never early, at most
//! [`TICK`] and a turn of the runtime late. Where no deadline is set, no sweep runs.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How often deadlines are looked at.
pub const TICK: Duration = Duration::from_millis(100);

/// The due time of what does not go off.
pub const NEVER: u64 = u64::MAX;

/// The deadlines of one thread.
#[derive(Debug)]
pub struct Alarms {
    origin: Instant,
    /// Milliseconds since `origin`, as of the last tick.
    now: Cell<u64>,
    slots: RefCell<Slab<Slot>>,
    wake: Notify,
}

#[derive(Debug)]
struct Slot {
    due: u64,
    waker: Option<Waker>,
}

/// The deadline passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the deadline passed")]
pub struct Elapsed;

impl Alarms {
    /// No deadlines yet. [`Self::sweep`] has to run on the thread for them to go off.
    #[must_use]
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            origin: Instant::now(),
            now: Cell::new(0),
            slots: RefCell::new(Slab::new()),
            wake: Notify::new(),
        })
    }

    /// An alarm that is off.
    #[must_use]
    pub fn alarm(self: &Rc<Self>) -> Alarm {
        let mut slots = self.slots.borrow_mut();
        if slots.is_empty() {
            self.read_clock();
            self.wake.notify_one();
        }
        let key = slots.insert(Slot { due: NEVER, waker: None });
        Alarm { alarms: Rc::clone(self), key }
    }

    /// Runs a future, at most for this long; for ever where that is `None`.
    pub async fn within<F: Future>(self: &Rc<Self>, limit: Option<Duration>, future: F) -> Result<F::Output, Elapsed> {
        let Some(limit) = limit else { return Ok(future.await) };
        let mut future = pin!(future);
        let mut alarm = None;
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            let alarm = alarm.get_or_insert_with(|| {
                let alarm = self.alarm();
                alarm.set(limit);
                alarm
            });
            alarm.poll(cx).map(|()| Err(Elapsed))
        })
        .await
    }

    /// Wakes whoever's deadline has passed, tick by tick, while there are any. Never returns.
    pub async fn sweep(self: Rc<Self>) {
        loop {
            while self.slots.borrow().is_empty() {
                self.wake.notified().await;
            }
            tokio::time::sleep(TICK).await;
            self.read_clock();
            let now = self.now.get();
            for (_, slot) in self.slots.borrow_mut().iter_mut() {
                if slot.due <= now
                    && let Some(waker) = slot.waker.take()
                {
                    waker.wake();
                }
            }
        }
    }

    /// Wakes every task that waits for a deadline, to look around.
    pub fn wake_all(&self) {
        let wakers: Vec<Waker> = self.slots.borrow().iter().filter_map(|(_, slot)| slot.waker.clone()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Milliseconds since the thread began, at most a tick old while any alarm exists.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now.get()
    }

    fn read_clock(&self) {
        self.now.set(u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(NEVER));
    }
}

/// One deadline, of one task.
#[derive(Debug)]
pub struct Alarm {
    alarms: Rc<Alarms>,
    key: usize,
}

impl Alarm {
    /// Goes off after this long from now.
    pub fn set(&self, after: Duration) {
        let millis = u64::try_from((after + TICK).as_millis()).unwrap_or(NEVER);
        self.alarms.slots.borrow_mut()[self.key].due = self.alarms.now.get().saturating_add(millis);
    }

    /// When it goes off, on the thread's coarse clock ([`Alarms::now`]).
    #[must_use]
    pub fn due(&self) -> u64 {
        self.alarms.slots.borrow()[self.key].due
    }

    /// Goes off at `due` (of [`Self::due`]) at the latest.
    pub fn at_latest(&self, due: u64) {
        let mut slots = self.alarms.slots.borrow_mut();
        let slot = &mut slots[self.key];
        slot.due = slot.due.min(due);
    }

    /// Does not go off.
    pub fn off(&self) {
        self.alarms.slots.borrow_mut()[self.key].due = NEVER;
    }

    /// Ready once the deadline has passed; else the task is woken then.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut slots = self.alarms.slots.borrow_mut();
        let slot = &mut slots[self.key];
        if slot.due <= self.alarms.now.get() {
            return Poll::Ready(());
        }
        match &mut slot.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// The deadlines that this one is among.
    #[must_use]
    pub fn alarms(&self) -> &Rc<Alarms> {
        &self.alarms
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.alarms.slots.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn never_early_and_little_late() {
        run(async {
            let alarms = Alarms::new();
            tokio::task::spawn_local(Rc::clone(&alarms).sweep());
            for millis in [1, 100, 250] {
                let (limit, begun) = (Duration::from_millis(millis), Instant::now());
                let outcome = alarms.within(Some(limit), std::future::pending::<()>()).await;
                let took = begun.elapsed();
                assert_eq!(outcome, Err(Elapsed));
                assert!(took >= limit && took < limit + Duration::from_secs(20), "{millis} ms took {took:?}");
            }
            assert_eq!(alarms.within(Some(TICK), std::future::ready(7)).await, Ok(7));
            assert!(alarms.slots.borrow().is_empty());
        });
    }
}
