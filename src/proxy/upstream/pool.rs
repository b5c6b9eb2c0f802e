//! Idle connections, per thread and instance.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::buffers::Buffers;
use super::connection::Connection;
use super::dial::{DialError, Dialer};
use super::http2::Http2Pools;
use super::idle_limit::{LONGEST, Seen};
use super::turns::{Turn, Turns};
use crate::lifecycle::instance::Instance;
use crate::lifecycle::lease::Lease;
use crate::model::transport::{Transport, UpstreamTls};
use crate::proxy::alarm::{Alarms, NEVER};

/// The longest time that a pooled connection idles. Where a backend says or shows that it closes sooner, so do we
/// (`idle_limit`); what is safe to repeat is sent again where that was not known.
pub const IDLE_LIMIT: Duration = Duration::from_millis(LONGEST);

/// What may not be sent twice goes only onto connections that were in use this recently.
pub const FRESH: Duration = Duration::from_secs(1);

/// How often the pools are looked through.
const EVICT_EVERY: Duration = Duration::from_secs(1);

/// How old a connection gets, in milliseconds (nginx's `keepalive_time`): names move to other addresses, and balancers behind them
/// want to balance anew.
const MAX_AGE: u64 = 60 * 60 * 1_000;

/// The most connections kept idle per instance and thread, where a version's `max_concurrency` says nothing else.
const MAX_IDLE: usize = 1024;

/// The most connections kept idle per thread, whatever the instances.
const MAX_IDLE_OF_ALL: usize = 16 * 1024;

/// The part of the files that may be open which idle connections may take, over all threads (HAProxy's `tune.pool-high-fd-ratio`).
const FILES_FOR_IDLE: usize = 4;

/// The idle connections of one thread, by instance.
#[derive(Debug)]
pub struct Pools {
    pools: RefCell<FxHashMap<u64, Pool>>,
    /// Over all instances.
    idle: Cell<usize>,
    /// Above this, none is kept; the sweep makes room.
    most: usize,
    turns: Rc<Turns>,
    threads: usize,
    alarms: Rc<Alarms>,
    /// Whether the sweep runs, or has been told to.
    sweeping: Cell<bool>,
    filled: Notify,
    buffers: Buffers,
    dialer: Dialer,
    http2: Http2Pools,
}

#[derive(Debug)]
struct Pool {
    instance: Arc<Instance>,
    /// In the order of their last use.
    idle: Vec<Idle>,
    /// What its closes have shown.
    seen: Seen,
    /// How long its connections may idle, by that.
    limit: u64,
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
        let files =
            getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX));
        let most = (files / FILES_FOR_IDLE / threads.max(1)).min(MAX_IDLE_OF_ALL);
        Self::of_at_most(most, alarms, threads)
    }

    fn of_at_most(most: usize, alarms: &Rc<Alarms>, threads: usize) -> Rc<Self> {
        let (pools, turns, idle) = (RefCell::default(), Turns::new(threads), Cell::new(0));
        let (alarms, sweeping, filled) = (Rc::clone(alarms), Cell::new(false), Notify::new());
        let buffers = Buffers::default();
        Rc::new(Self {
            pools,
            idle,
            most,
            turns,
            threads,
            alarms,
            sweeping,
            filled,
            buffers,
            dialer: Dialer::default(),
            http2: Http2Pools::default(),
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
    pub fn check_out(&self, lease: &Lease, max_idle: Duration, tls: Option<&Arc<UpstreamTls>>) -> Option<Connection> {
        self.take(lease.instance().id(), lease.epoch(), millis(max_idle), tls)
    }

    fn take(&self, instance: u64, epoch: u32, max_idle: u64, tls: Option<&Arc<UpstreamTls>>) -> Option<Connection> {
        let mut pools = self.pools.borrow_mut();
        let pool = pools.get_mut(&instance)?;
        let now = self.alarms.now();
        let max_idle = max_idle.min(pool.limit);
        loop {
            let last = pool.idle.last()?;
            if now.saturating_sub(last.since) > max_idle.min(last.connection.idle_limit.into()) {
                return None;
            }
            let Idle { mut connection, since } = pool.idle.pop()?;
            self.idle.set(self.idle.get() - 1);
            if !connection.is_quiet() {
                pool.closed(since, now);
            } else if connection.epoch() == epoch && connection.speaks(tls) {
                connection.read_into(self.buffers.take());
                return Some(connection);
            }
        }
    }

    /// Connects to the lease's instance.
    pub async fn open(&self, lease: &Lease, transport: &Transport) -> Result<Connection, DialError> {
        let wire = self.dialer.dial(lease.instance().endpoint(), transport).await?;
        Ok(Connection::of(wire, lease.instance(), lease.epoch(), transport.tls.clone()))
    }

    /// The connections of HTTP/2.
    pub(super) fn http2(&self) -> &Http2Pools {
        &self.http2
    }

    /// What knows how to connect.
    pub(super) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// Takes a connection back after a whole exchange, to be one of at most `most` that are idle.
    pub fn check_in(&self, mut connection: Connection, most: usize) {
        if !connection.unread.is_empty() || connection.instance().is_draining() {
            return;
        }
        let now = self.alarms.now();
        if connection.born == NEVER {
            connection.born = now;
        }
        if now - connection.born >= MAX_AGE {
            return;
        }
        if let Some(buffer) = connection.rest() {
            self.buffers.give_back(buffer);
        }
        let Some(connection) = self.turns.offer(connection) else { return };
        if most == 0 || connection.idle_limit == 0 || self.idle.get() >= self.most {
            return;
        }
        if !self.sweeping.replace(true) {
            self.filled.notify_one();
        }
        let mut pools = self.pools.borrow_mut();
        let id = connection.instance().id();
        let pool = pools.entry(id).or_insert_with(|| Pool::to(connection.instance()));
        if pool.idle.len() < most {
            pool.idle.push(Idle { connection, since: now });
            self.idle.set(self.idle.get() + 1);
        }
    }

    /// Closes all idle connections.
    pub fn clear(&self) {
        self.pools.borrow_mut().clear();
        self.idle.set(0);
    }

    /// Closes what was idle for too long, what the backend has closed, and what leads to instances that are gone, once a second
    /// while there is anything. Never returns.
    pub async fn evict(self: Rc<Self>) {
        loop {
            self.sweeping.set(false);
            self.filled.notified().await;
            // At least once, whatever is in use just now: or each connection that comes back would call.
            loop {
                // An alarm keeps the coarse clock going, also while no client is connected.
                let clock = self.alarms.alarm();
                tokio::time::sleep(EVICT_EVERY).await;
                drop(clock);
                self.sweep();
                if self.idle.get() == 0 {
                    break;
                }
            }
        }
    }

    fn sweep(&self) {
        let now = self.alarms.now();
        let mut pools = self.pools.borrow_mut();
        let mut idle = 0;
        pools.retain(|_, pool| {
            pool.sweep(now);
            idle += pool.idle.len();
            (!pool.idle.is_empty() || pool.seen.is_known(now)) && !pool.instance.is_draining()
        });
        // Room for what comes back within the next second: the oldest make it.
        let enough = self.most - self.most / 8;
        if idle > enough {
            let mut ages: Vec<u64> = pools.values().flat_map(|pool| &pool.idle).map(|idle| idle.since).collect();
            let (_, &mut oldest, _) = ages.select_nth_unstable(idle - enough - 1);
            pools.values_mut().for_each(|pool| pool.idle.retain(|idle| idle.since > oldest));
        }
        self.idle.set(pools.values().map(|pool| pool.idle.len()).sum());
    }
}

impl Pool {
    fn to(instance: &Arc<Instance>) -> Self {
        Self { instance: Arc::clone(instance), idle: Vec::new(), seen: Seen::default(), limit: LONGEST }
    }

    /// A connection that was idle since then was found closed; it may have been a sweep ago.
    fn closed(&mut self, since: u64, now: u64) {
        self.seen.closed(now.saturating_sub(since).saturating_sub(millis(EVICT_EVERY)), now);
        self.limit = self.seen.limit(now);
    }

    /// Closes what is of no use.
    fn sweep(&mut self, now: u64) {
        self.limit = self.seen.limit(now);
        let (limit, mut closed) = (self.limit, None);
        self.idle.retain_mut(|idle| {
            let quiet = idle.connection.is_quiet();
            if !quiet {
                // Of several, the one that idled for the shortest time.
                closed = Some(idle.since);
            }
            quiet && now.saturating_sub(idle.since) <= limit.min(idle.connection.idle_limit.into())
        });
        if let Some(since) = closed {
            self.closed(since, now);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::net::{TcpListener, TcpStream};

    use super::super::dial;
    use super::super::wire::Wire;

    use crate::model::version::Endpoint;

    /// An instance that listens, and connections to it with their other ends.
    async fn connected(count: usize) -> (Arc<Instance>, Vec<Connection>, Vec<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("an address").port();
        let instance = Arc::new(Instance::new(Endpoint { host: "127.0.0.1".into(), port }));
        let (mut connections, mut others) = (Vec::new(), Vec::new());
        for _ in 0..count {
            connections.push(connect(&instance).await);
            others.push(listener.accept().await.expect("accepted").0);
        }
        (instance, connections, others)
    }

    async fn connect(instance: &Arc<Instance>) -> Connection {
        let stream = dial::connect(instance.endpoint()).await.expect("connected");
        Connection::of(Wire::Plain(stream), instance, 1, None)
    }

    fn run<F: Future>(test: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(test)
    }

    const ALWAYS: u64 = u64::MAX;

    #[test]
    fn above_the_bound_of_all_the_oldest_go() {
        run(async {
            let pools = Pools::of_at_most(8, &Alarms::new(), 1);
            let (one, first, _others) = connected(4).await;
            let (two, second, _more) = connected(5).await;
            first.into_iter().for_each(|connection| pools.check_in(connection, MAX_IDLE));
            pools.pools.borrow_mut().get_mut(&one.id()).expect("a pool").idle.iter_mut().zip(0..).for_each(
                // As if they had come one after the other.
                |(idle, since)| idle.since = since,
            );
            pools.pools.borrow_mut().values_mut().flat_map(|pool| &mut pool.idle).for_each(|idle| idle.since /= 2);
            second.into_iter().for_each(|connection| pools.check_in(connection, MAX_IDLE));
            assert_eq!(pools.idle.get(), 8, "the ninth is not kept");
            pools
                .pools
                .borrow_mut()
                .get_mut(&two.id())
                .expect("a pool")
                .idle
                .iter_mut()
                .for_each(|idle| idle.since = 9);
            pools.sweep();
            let kept = |instance: &Instance| pools.pools.borrow().get(&instance.id()).map_or(0, |pool| pool.idle.len());
            assert_eq!((kept(&one), kept(&two), pools.idle.get()), (2, 4, 6), "two of the same age went together");
        });
    }

    #[test]
    fn what_is_announced_and_what_is_old_is_not_kept() {
        run(async {
            let pools = Pools::of_at_most(8, &Alarms::new(), 1);
            let (instance, mut connections, _others) = connected(2).await;
            let mut never = connections.pop().expect("two");
            never.idle_limit = 0;
            pools.check_in(never, MAX_IDLE);
            assert_eq!(pools.idle.get(), 0);
            let connection = connections.pop().expect("one");
            pools.check_in(connection, MAX_IDLE);
            assert!(pools.take(instance.id(), 2, ALWAYS, None).is_none(), "of another epoch");
            assert_eq!(pools.idle.get(), 0);
        });
    }

    #[test]
    fn what_is_closed_is_not_used() {
        run(async {
            let pools = Pools::of_at_most(8, &Alarms::new(), 1);
            let (instance, connections, mut others) = connected(2).await;
            connections.into_iter().for_each(|connection| pools.check_in(connection, MAX_IDLE));
            drop(others.pop());
            let deadline = std::time::Instant::now() + Duration::from_secs(10);
            while pools.idle.get() > 1 {
                assert!(std::time::Instant::now() < deadline, "the close is never heard of");
                tokio::task::yield_now().await;
                pools.sweep();
            }
            assert!(pools.take(instance.id(), 1, ALWAYS, None).is_some());
            assert!(pools.take(instance.id(), 1, ALWAYS, None).is_none());
        });
    }

    #[test]
    fn no_more_is_kept_than_the_threads_can_have_at_once() {
        let kept = |threads, cap| Pools::new(&Alarms::new(), threads).keep(cap);
        assert_eq!([Some(1), Some(3), Some(4), Some(5), None].map(|cap| kept(2, cap)), [0, 0, 2, 3, MAX_IDLE]);
        assert_eq!([Some(1), Some(2), Some(u32::MAX)].map(|cap| kept(1, cap)), [0, 2, MAX_IDLE]);
    }
}
