//! Idle connections, per thread and instance.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::buffers::Buffers;
use super::connection::Connection;
use super::turns::{Turn, Turns};
use crate::lifecycle::instance::Instance;
use crate::lifecycle::lease::Lease;
use crate::proxy::alarm::Alarms;

/// Pooled connections are closed after this long without use. Below the 60 s and more of most servers; the 5 s of Node.js are met by
/// retries of what is safe to repeat, and by [`FRESH`] for what is not.
pub const IDLE_LIMIT: Duration = Duration::from_secs(55);

/// What may not be sent twice goes only onto connections that were in use this recently.
pub const FRESH: Duration = Duration::from_secs(1);

/// How often the pools are looked through.
const EVICT_EVERY: Duration = Duration::from_secs(1);

/// The most connections kept idle per instance and thread, where a version's `max_concurrency` says nothing else.
const MAX_IDLE: usize = 1024;

/// The idle connections of one thread, by instance.
#[derive(Debug)]
pub struct Pools {
    idle: RefCell<FxHashMap<u64, Pool>>,
    turns: Rc<Turns>,
    threads: usize,
    alarms: Rc<Alarms>,
    filled: Notify,
    buffers: Buffers,
}

#[derive(Debug)]
struct Pool {
    instance: Arc<Instance>,
    /// In the order of their last use.
    idle: Vec<Idle>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    /// Of the thread's coarse clock, in milliseconds.
    since: u64,
}

impl Pools {
    /// No connections yet, on one of `threads` threads. [`Self::evict`] has to run on it.
    #[must_use]
    pub fn new(alarms: &Rc<Alarms>, threads: usize) -> Rc<Self> {
        let (idle, turns) = (RefCell::default(), Turns::new(threads));
        Rc::new(Self {
            idle,
            turns,
            threads,
            alarms: Rc::clone(alarms),
            filled: Notify::new(),
            buffers: Buffers::default(),
        })
    }

    /// How many connections are kept idle to an instance that has so many requests at a time. The instance may serve no more
    /// connections than that, so what the threads keep must not be in the way of what another needs: none where each thread would
    /// not have two.
    #[must_use]
    pub fn keep(&self, max_concurrency: Option<u32>) -> usize {
        let Some(cap) = max_concurrency else { return MAX_IDLE };
        let cap = usize::try_from(cap).unwrap_or(usize::MAX);
        if cap / 2 < self.threads { 0 } else { cap.div_ceil(self.threads).min(MAX_IDLE) }
    }

    /// Waits for a turn to connect to the lease's instance, or where `reuse` is allowed for a connection that comes back.
    pub async fn turn(&self, lease: &Lease, reuse: bool) -> Turn {
        self.turns.turn(lease, reuse).await
    }

    /// The connection to the lease's instance that was in use last, if it was within `max_idle` and in the lease's epoch.
    #[must_use]
    pub fn check_out(&self, lease: &Lease, max_idle: Duration) -> Option<Connection> {
        let mut pools = self.idle.borrow_mut();
        let idle = &mut pools.get_mut(&lease.instance().id())?.idle;
        let oldest = self.alarms.now().saturating_sub(millis(max_idle));
        while idle.last()?.since >= oldest {
            let Idle { mut connection, .. } = idle.pop()?;
            if connection.epoch() == lease.epoch() && connection.is_quiet() {
                connection.read_into(self.buffers.take());
                return Some(connection);
            }
        }
        None
    }

    /// Takes a connection back after a whole exchange, to be one of at most `most` that are idle.
    pub fn check_in(&self, mut connection: Connection, most: usize) {
        if !connection.unread.is_empty() || connection.instance().is_draining() {
            return;
        }
        if let Some(buffer) = connection.rest() {
            self.buffers.give_back(buffer);
        }
        let Some(connection) = self.turns.offer(connection) else { return };
        if most == 0 {
            return;
        }
        let mut pools = self.idle.borrow_mut();
        if pools.is_empty() {
            self.filled.notify_one();
        }
        let id = connection.instance().id();
        let pool =
            pools.entry(id).or_insert_with(|| Pool { instance: Arc::clone(connection.instance()), idle: Vec::new() });
        if pool.idle.len() < most {
            pool.idle.push(Idle { connection, since: self.alarms.now() });
        }
    }

    /// Closes all idle connections.
    pub fn clear(&self) {
        self.idle.borrow_mut().clear();
    }

    /// Closes what was idle for too long, what the backend has closed, and what leads to instances that are gone, once a second
    /// while there is anything. Never returns.
    pub async fn evict(self: Rc<Self>) {
        loop {
            while self.idle.borrow().is_empty() {
                self.filled.notified().await;
            }
            // An alarm keeps the coarse clock going, also while no client is connected.
            let clock = self.alarms.alarm();
            tokio::time::sleep(EVICT_EVERY).await;
            drop(clock);
            let oldest = self.alarms.now().saturating_sub(millis(IDLE_LIMIT));
            self.idle.borrow_mut().retain(|_, pool| {
                pool.idle.retain(|idle| idle.since >= oldest && idle.connection.is_quiet());
                !pool.idle.is_empty() && !pool.instance.is_draining()
            });
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_the_threads_can_have_at_once() {
        let kept = |threads, cap| Pools::new(&Alarms::new(), threads).keep(cap);
        assert_eq!([Some(1), Some(3), Some(4), Some(5), None].map(|cap| kept(2, cap)), [0, 0, 2, 3, MAX_IDLE]);
        assert_eq!([Some(1), Some(2), Some(u32::MAX)].map(|cap| kept(1, cap)), [0, 2, MAX_IDLE]);
    }
}
