//! The life of one instance: a task that starts it, waits until it is ready, and then for its end or what it is ordered.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::lifecycle::provider::error::StartError;
use crate::lifecycle::provider::exit::ExitReport;
use crate::lifecycle::provider::{End, Provider, Running};
use crate::lifecycle::turns::{Turn, Turns};
use crate::model::version::{Endpoint, Stop, Version};

/// What an instance is to do.
#[derive(Debug)]
pub(super) enum Ordered {
    /// Freeze. It has no request.
    Pause,
    /// Go on.
    Resume,
    /// End, so and for this reason.
    Stop(Stop, End),
}

/// What happened to an instance. After [`Event::Stopped`] nothing of it is left; after [`Event::Exited`], what it
/// left behind may still be ending.
pub(super) enum Event {
    /// It has to wait for its turn.
    InLine,
    /// It has its turn.
    Begun,
    /// It has been started, and is not ready.
    Started,
    /// It listens here.
    Ready(Box<[Endpoint]>),
    /// It could not be started, or did not become ready; what there is of it is being stopped, and [`Event::Stopped`] comes next.
    Failed { why: Arc<str>, timeout: bool },
    /// It is frozen.
    Paused,
    /// It could not be frozen, or did not go on afterwards; it is being stopped, and [`Event::Stopped`] comes next.
    Lost(Arc<str>),
    /// It has used so much of its processor time since it last said so, in per cent.
    Used(f64),
    /// It has ended by itself.
    Exited(Arc<str>),
    /// It has ended as it was told.
    Stopped,
}

/// One instance, from its start to its end.
pub(super) struct Life<P, T> {
    pub(super) provider: P,
    pub(super) turns: Turns,
    pub(super) version: Version,
    pub(super) orders: UnboundedReceiver<Ordered>,
    pub(super) tell: T,
}

/// How something came out that an order to stop can cut short.
enum Cut<T> {
    Done(T),
    Stopped(Stop, End),
}

impl<P: Provider, T: Fn(Event)> Life<P, T> {
    /// Runs it.
    pub(super) async fn live(mut self) {
        let (turns, provider, version) = (self.turns.clone(), self.provider.clone(), self.version.clone());
        let Some(turn) = self.turn(&turns).await else { return (self.tell)(Event::Stopped) };
        let started = match self.unless_stopped(provider.start(&version)).await {
            Cut::Done(started) => started,
            Cut::Stopped(..) => return (self.tell)(Event::Stopped),
        };
        let mut running = match started {
            Ok(running) => running,
            Err(error) => {
                (self.tell)(failed(&error));
                return (self.tell)(Event::Stopped);
            }
        };
        (self.tell)(Event::Started);
        match self.unless_stopped(running.ready(&version.start)).await {
            Cut::Done(Ok(())) => {}
            Cut::Done(Err(error)) => {
                // Whoever waits need not wait for its end as well.
                (self.tell)(failed(&error));
                return self.end(running, &version.stop, End::Rest).await;
            }
            Cut::Stopped(stop, why) => return self.end(running, &stop, why).await,
        }
        drop(turn);
        (self.tell)(Event::Ready(running.endpoints()));
        self.run(running).await;
    }

    /// A turn to start; `None` if it is ordered to stop before.
    async fn turn(&mut self, turns: &Turns) -> Option<Turn> {
        if let Some(turn) = turns.take_now() {
            return Some(turn);
        }
        (self.tell)(Event::InLine);
        match self.unless_stopped(turns.take()).await {
            Cut::Done(turn) => {
                (self.tell)(Event::Begun);
                Some(turn)
            }
            Cut::Stopped(..) => None,
        }
    }

    /// It takes requests, or is paused, until it ends.
    async fn run(mut self, mut running: P::Running) {
        loop {
            let used = |used| (self.tell)(Event::Used(used));
            tokio::select! {
                biased;
                ordered = self.orders.recv() => match ordered {
                    Some(Ordered::Pause) => match self.rest(&mut running).await {
                        Rested::Resumed => {}
                        Rested::Exited(why) => return (self.tell)(Event::Exited(why)),
                        Rested::Lost(why) => {
                            (self.tell)(Event::Lost(why));
                            let stop = self.version.stop.clone();
                            return self.end(running, &stop, End::Rest).await;
                        }
                        Rested::Stopped(stop, why) => return self.end(running, &stop, why).await,
                    },
                    // It was not paused after all.
                    Some(Ordered::Resume) => {}
                    Some(Ordered::Stop(stop, why)) => return self.end(running, &stop, why).await,
                    None => {
                        let (stop, why) = self.orphaned();
                        return self.end(running, &stop, why).await;
                    }
                },
                report = running.exited(&used) => return (self.tell)(Event::Exited(exited(&report))),
            }
        }
    }

    /// Paused, until it is ordered otherwise.
    async fn rest(&mut self, running: &mut P::Running) -> Rested {
        match self.unless_stopped(running.pause()).await {
            Cut::Done(Ok(())) => (self.tell)(Event::Paused),
            Cut::Done(Err(error)) => return Rested::Lost(error.to_string().into()),
            Cut::Stopped(stop, why) => return Rested::Stopped(stop, why),
        }
        loop {
            tokio::select! {
                biased;
                ordered = self.orders.recv() => match ordered {
                    Some(Ordered::Resume) => break,
                    Some(Ordered::Pause) => {}
                    Some(Ordered::Stop(stop, why)) => return Rested::Stopped(stop, why),
                    None => {
                        let (stop, why) = self.orphaned();
                        return Rested::Stopped(stop, why);
                    }
                },
                report = running.exited(&|_| {}) => return Rested::Exited(exited(&report)),
            }
        }
        (self.tell)(Event::Started);
        let start = self.version.start.clone();
        match self.unless_stopped(running.resume(&start)).await {
            Cut::Done(Ok(())) => {
                (self.tell)(Event::Ready(running.endpoints()));
                Rested::Resumed
            }
            Cut::Done(Err(error)) => Rested::Lost(error.to_string().into()),
            Cut::Stopped(stop, why) => Rested::Stopped(stop, why),
        }
    }

    /// Does something, unless it is ordered to stop. What else it is ordered meanwhile is for what is ready, and is dropped.
    async fn unless_stopped<O>(&mut self, work: impl Future<Output = O>) -> Cut<O> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                ordered = self.orders.recv() => match ordered {
                    Some(Ordered::Stop(stop, why)) => return Cut::Stopped(stop, why),
                    Some(Ordered::Pause | Ordered::Resume) => {}
                    None => {
                        let (stop, why) = self.orphaned();
                        return Cut::Stopped(stop, why);
                    }
                },
                done = &mut work => return Cut::Done(done),
            }
        }
    }

    /// Without anybody to give orders, the unit's task is gone, and tidegate with it.
    fn orphaned(&self) -> (Stop, End) {
        (self.version.stop.clone(), End::Handover)
    }

    async fn end(&self, running: P::Running, stop: &Stop, why: End) {
        let report = running.stop(stop, why).await;
        // Where it failed it may still run; its provider has said so in the log. What is handed over goes on.
        if !report.stop_failed && why != End::Handover {
            // Without its last lines: it was asked to end, and they are in the log already.
            let ended = report.outcome();
            tracing::info!(version = %self.version.name, "the version is stopped: {ended}");
        }
        (self.tell)(Event::Stopped);
    }
}

/// What became of an instance that was paused.
enum Rested {
    Resumed,
    Exited(Arc<str>),
    Lost(Arc<str>),
    Stopped(Stop, End),
}

fn failed(error: &StartError) -> Event {
    Event::Failed { why: error.to_string().into(), timeout: error.is_timeout() }
}

fn exited(report: &ExitReport) -> Arc<str> {
    format!("it exited: {report}").into()
}
