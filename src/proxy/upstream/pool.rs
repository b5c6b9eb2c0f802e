//! Idle connections, per thread and instance.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::connection::Connection;
use crate::lifecycle::instance::Instance;
use crate::proxy::alarm::Alarms;

/// Pooled connections are closed after this long without use. Below the 60 s and more of most servers; the 5 s of Node.js are met by
/// retries of what is safe to repeat, and by [`FRESH`] for what is not.
pub const IDLE_LIMIT: Duration = Duration::from_secs(55);

/// What may not be sent twice goes only onto connections that were in use this recently.
pub const FRESH: Duration = Duration::from_secs(1);

/// How often the pools are looked through.
const EVICT_EVERY: Duration = Duration::from_secs(1);

/// The most connections kept idle per instance and thread.
const MAX_IDLE: usize = 1024;

/// The idle connections of one thread, by instance.
#[derive(Debug)]
pub struct Pools {
    idle: RefCell<FxHashMap<u64, Pool>>,
    alarms: Rc<Alarms>,
    filled: Notify,
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
    /// No connections yet. [`Self::evict`] has to run on the thread.
    #[must_use]
    pub fn new(alarms: &Rc<Alarms>) -> Rc<Self> {
        Rc::new(Self { idle: RefCell::default(), alarms: Rc::clone(alarms), filled: Notify::new() })
    }

    /// The connection to this instance that was in use last, if it was within `max_idle`.
    #[must_use]
    pub fn check_out(&self, instance: &Arc<Instance>, max_idle: Duration) -> Option<Connection> {
        let mut pools = self.idle.borrow_mut();
        let idle = &mut pools.get_mut(&instance.id())?.idle;
        let oldest = self.alarms.now().saturating_sub(millis(max_idle));
        while idle.last()?.since >= oldest {
            let Idle { connection, .. } = idle.pop()?;
            if connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Takes a connection back after a whole exchange.
    pub fn check_in(&self, mut connection: Connection) {
        if !connection.unread.is_empty() || connection.instance().is_retired() {
            return;
        }
        connection.rest();
        let mut pools = self.idle.borrow_mut();
        if pools.is_empty() {
            self.filled.notify_one();
        }
        let id = connection.instance().id();
        let pool =
            pools.entry(id).or_insert_with(|| Pool { instance: Arc::clone(connection.instance()), idle: Vec::new() });
        if pool.idle.len() < MAX_IDLE {
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
                !pool.idle.is_empty() && !pool.instance.is_retired()
            });
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
