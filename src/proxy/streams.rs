//! The streams of one HTTP/2 connection: how many are open, and what to think of a client that begins them and does not wait.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::alarm::Alarms;
use super::phase::{Phase, Verdict};

/// What the streams of a connection have in common.
#[derive(Debug)]
pub struct Streams {
    alarms: Rc<Alarms>,
    /// Requests on their way.
    open: Cell<usize>,
    /// When the last of them ended, on the thread's coarse clock.
    idle_since: Cell<u64>,
    /// One more with each request that the client has cancelled, one less with each that it has waited for.
    cancelled: Cell<u32>,
    most_cancelled: u32,
    /// Of the request whose task hyper starts next.
    next: RefCell<Option<Rc<Phase>>>,
}

impl Streams {
    /// None yet. A client may cancel `most_cancelled` requests more than it waits for.
    pub(super) fn new(alarms: &Rc<Alarms>, most_cancelled: u32) -> Rc<Self> {
        Rc::new(Self {
            alarms: Rc::clone(alarms),
            open: Cell::new(0),
            idle_since: Cell::new(alarms.now()),
            cancelled: Cell::new(0),
            most_cancelled,
            next: RefCell::new(None),
        })
    }

    /// A request has come; the task that hyper starts next is its own.
    pub(super) fn begin(&self, phase: &Rc<Phase>) {
        self.open.set(self.open.get() + 1);
        *self.next.borrow_mut() = Some(Rc::clone(phase));
    }

    /// Since when there is none, on the thread's coarse clock.
    pub(super) fn idle_since(&self) -> Option<u64> {
        (self.open.get() == 0).then(|| self.idle_since.get())
    }

    /// A request was answered to the end, or the client has cancelled it.
    pub(super) fn judge(&self, completed: bool) {
        let cancelled = self.cancelled.get();
        self.cancelled.set(if completed { cancelled.saturating_sub(1) } else { cancelled.saturating_add(1) });
    }

    /// Whether the client has cancelled more requests than it may: to begin them costs it nothing (CVE-2023-44487).
    pub(super) fn is_abused(&self) -> bool {
        self.cancelled.get() > self.most_cancelled
    }
}

/// Has hyper's tasks run on this thread, each with the deadline of its request.
#[derive(Debug, Clone)]
pub(super) struct Tasks(pub(super) Rc<Streams>);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, future: F) {
        let (phase, streams) = (self.0.next.borrow_mut().take(), Rc::clone(&self.0));
        tokio::task::spawn_local(Task { future: Box::pin(future), phase: phase.map(|phase| (phase, Open(streams))) });
    }
}

/// One request, until its answer has been handed over.
struct Task<F> {
    future: Pin<Box<F>>,
    /// None where a task is hyper's own.
    phase: Option<(Rc<Phase>, Open)>,
}

impl<F: Future<Output = ()>> Future for Task<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.future.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match &self.phase {
            // Dropped, it is reset.
            Some((phase, _)) if phase.verdict(cx) == Verdict::Overdue => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

/// A request on its way.
struct Open(Rc<Streams>);

impl Drop for Open {
    fn drop(&mut self) {
        let Self(streams) = self;
        streams.open.set(streams.open.get() - 1);
        streams.idle_since.set(streams.alarms.now());
    }
}
