//! What the process counts whatever the service.

use super::{Count, Shards, add_each};

/// Why a request was answered without a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unrouted {
    /// No service has this host (and path).
    UnknownHost,
    /// A preview domain that this client may not see.
    PreviewDenied,
    /// Not HTTP, or HTTP that two readers would understand differently.
    BadRequest,
    /// A head above the limit.
    HeadTooLarge,
    /// A head that did not come in time.
    HeadTimeout,
    /// `CONNECT`, or an upgrade to something else than WebSocket.
    NotAllowed,
    /// Sent over a connection whose certificate does not cover the host.
    Misdirected,
}

impl Unrouted {
    /// All of them, in the order of [`ProxyTotals::unrouted`].
    pub const ALL: [Self; 7] = [
        Self::UnknownHost,
        Self::PreviewDenied,
        Self::BadRequest,
        Self::HeadTooLarge,
        Self::HeadTimeout,
        Self::NotAllowed,
        Self::Misdirected,
    ];

    /// As in the metric's label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownHost => "unknown_host",
            Self::PreviewDenied => "preview_denied",
            Self::BadRequest => "bad_request",
            Self::HeadTooLarge => "head_too_large",
            Self::HeadTimeout => "head_timeout",
            Self::NotAllowed => "not_allowed",
            Self::Misdirected => "misdirected",
        }
    }
}

/// What the process counts whatever the service; one shard per data thread.
#[derive(Debug)]
pub struct ProxyCounters(Shards<ProxyShard>);

/// One data thread's part of [`ProxyCounters`], for it to add to.
#[derive(Debug, Default)]
pub struct ProxyShard {
    /// Client connections accepted.
    pub connections_accepted: Count,
    /// Those of them that are over.
    pub connections_closed: Count,
    /// Client connections turned away because `max_connections` were open.
    pub connections_refused: Count,
    /// Client connections that turned out to speak HTTP/2.
    pub http2_opened: Count,
    /// Those of them that are over.
    pub http2_closed: Count,
    /// Those of them that were closed, since the client cancelled too many requests.
    pub http2_abused: Count,
    /// Tunnels (WebSocket) begun.
    pub tunnels_opened: Count,
    /// Those of them that are over.
    pub tunnels_closed: Count,
    /// Requests sent again to another connection or instance.
    pub retries: Count,
    unrouted: [Count; Unrouted::ALL.len()],
}

impl ProxyCounters {
    /// Counters for `threads` data threads.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self(Shards::new(threads))
    }

    /// The part of one data thread.
    ///
    /// # Panics
    /// If there is no such data thread.
    #[inline]
    #[must_use]
    pub fn of(&self, thread: usize) -> &ProxyShard {
        self.0.of(thread)
    }

    /// The sum over all threads.
    #[must_use]
    pub fn total(&self) -> ProxyTotals {
        let mut total = ProxyTotals::default();
        for shard in self.0.iter() {
            // What ended is read before what began, so that the difference is never below the truth.
            let (connections, tunnels) = (shard.connections_closed.get(), shard.tunnels_closed.get());
            let http2 = shard.http2_closed.get();
            total.http2_open += shard.http2_opened.get().saturating_sub(http2);
            total.http2_opened += shard.http2_opened.get();
            total.http2_abused += shard.http2_abused.get();
            let (accepted, opened) = (shard.connections_accepted.get(), shard.tunnels_opened.get());
            total.connections_accepted += accepted;
            total.connections_open += accepted.saturating_sub(connections);
            total.connections_refused += shard.connections_refused.get();
            total.tunnels_opened += opened;
            total.tunnels_open += opened.saturating_sub(tunnels);
            total.retries += shard.retries.get();
            add_each(&mut total.unrouted, &shard.unrouted.each_ref().map(Count::get));
        }
        total
    }
}

impl ProxyShard {
    /// Counts a request that was answered without a service.
    pub fn unrouted(&self, why: Unrouted) {
        self.unrouted[why as usize].add(1);
    }
}

/// What [`ProxyCounters`] had counted, at one moment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ProxyTotals {
    /// Client connections since the start.
    pub connections_accepted: u64,
    /// Client connections now.
    pub connections_open: u64,
    /// Client connections turned away.
    pub connections_refused: u64,
    /// Client connections since the start that spoke HTTP/2.
    pub http2_opened: u64,
    /// Those of them now.
    pub http2_open: u64,
    /// Those of them that were closed, since the client cancelled too many requests.
    pub http2_abused: u64,
    /// Tunnels since the start.
    pub tunnels_opened: u64,
    /// Tunnels now.
    pub tunnels_open: u64,
    /// Requests sent again.
    pub retries: u64,
    /// Requests answered without a service, in the order of [`Unrouted::ALL`].
    pub unrouted: [u64; Unrouted::ALL.len()],
}
