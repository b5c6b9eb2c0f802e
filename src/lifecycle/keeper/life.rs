//! The life of one instance: a task that starts it, waits until it is ready, and then for its end or the order to stop.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::lifecycle::provider::error::StartError;
use crate::lifecycle::provider::{End, Provider, Running};
use crate::model::version::{Endpoint, Stop, Version};

/// How it is to be stopped.
pub(super) type Ordered = Stop;

/// What happened to an instance. After [`Event::Stopped`] nothing of it is left; after [`Event::Exited`], what it
/// left behind may still be ending.
pub(super) enum Event {
    /// It has been started, and is not ready.
    Started,
    /// It listens here.
    Ready(Box<[Endpoint]>),
    /// It could not be started, or did not become ready; what there is of it is being stopped, and [`Event::Stopped`] comes next.
    Failed { why: Arc<str>, timeout: bool },
    /// It has ended by itself.
    Exited(Arc<str>),
    /// It has ended as it was told.
    Stopped,
}

/// Runs one instance from its start to its end.
pub(super) async fn live<P: Provider>(
    provider: P,
    version: Version,
    mut stop: oneshot::Receiver<Ordered>,
    tell: impl Fn(Event),
) {
    // Without an order, the unit's task is gone.
    let how = |ordered: Result<Ordered, _>| ordered.unwrap_or_else(|_| version.stop.clone());
    let failed = |error: &StartError| Event::Failed { why: error.to_string().into(), timeout: error.is_timeout() };
    let started = tokio::select! {
        biased;
        _ = &mut stop => return tell(Event::Stopped),
        started = provider.start(&version) => started,
    };
    let mut running = match started {
        Ok(running) => running,
        Err(error) => {
            tell(failed(&error));
            return tell(Event::Stopped);
        }
    };
    tell(Event::Started);
    let ready = tokio::select! {
        biased;
        ordered = &mut stop => {
            end(&version, running, &how(ordered)).await;
            return tell(Event::Stopped);
        }
        ready = running.ready(&version.start) => ready,
    };
    if let Err(error) = ready {
        // Whoever waits need not wait for its end as well.
        tell(failed(&error));
        end(&version, running, &version.stop).await;
        return tell(Event::Stopped);
    }
    tell(Event::Ready(running.endpoints()));
    tokio::select! {
        biased;
        ordered = &mut stop => {
            end(&version, running, &how(ordered)).await;
            tell(Event::Stopped);
        }
        report = running.exited() => tell(Event::Exited(format!("it exited: {report}").into())),
    }
}

async fn end(version: &Version, running: impl Running, stop: &Stop) {
    let report = running.stop(stop, End::Rest).await;
    if report.stop_failed {
        // It may still run; its provider has said so in the log.
        return;
    }
    // Without its last lines: it was asked to end, and they are in the log already.
    let ended = report.outcome();
    tracing::info!(version = %version.name, "the version is stopped: {ended}");
}
