//! What is measured, and the bar for it.

use crate::peers::Peer;

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    /// As on the command line.
    pub(crate) name: &'static str,
    /// What it is, for the reader of the table.
    pub(crate) about: &'static str,
    /// What is done.
    pub(crate) work: Work,
    /// How its connections are opened.
    pub(crate) opening: Opening,
    /// Connections at once.
    pub(crate) connections: usize,
    /// Services that are configured and asked for, round robin.
    pub(crate) services: usize,
    /// Whether everybody writes an access log.
    pub(crate) log: bool,
    /// What counts.
    pub(crate) metric: Metric,
    /// The peer that the goal names.
    pub(crate) reference: Reference,
    /// The bar.
    pub(crate) goal: Option<Goal>,
}

impl Row {
    /// Whether bodies are what costs.
    pub(crate) fn has_large_bodies(&self) -> bool {
        matches!(self.work, Work::Down | Work::Up)
    }

    /// Whether the backend can do the same without a proxy: it knows neither TLS nor names, and writes no log.
    pub(crate) fn has_direct(&self) -> bool {
        self.metric != Metric::Memory && self.services == 1 && !self.log && self.opening == Opening::Clear
    }
}

/// What a client does over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Gets 1 KiB.
    Small,
    /// Gets 1 KiB over a new connection each time.
    Anew,
    /// Gets 1 KiB over many streams of each HTTP/2 connection.
    Streams,
    /// Gets 1 MiB.
    Down,
    /// Puts 10 MiB.
    Up,
    /// Gets 1 KiB once and keeps its connection open.
    Idle,
}

/// How a connection is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// In clear text.
    Clear,
    /// TLS 1.3 with a full handshake.
    Full,
    /// TLS 1.3; all but the first connection of a client resume the session of the one before.
    Resumed,
}

/// Whom a goal is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reference {
    /// The first of these that takes part; where that is not the first of all, the report says so.
    First(&'static [Peer]),
    /// The one of these with the lowest median.
    Best(&'static [Peer]),
}

/// The figure that a row compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    /// User and system time of the proxy's processes per request, in microseconds.
    Cpu,
    /// The median latency less that of the backend without a proxy, in microseconds.
    AddedLatency,
    /// What the resident memory of the proxy's processes grows by, per connection, in KiB.
    Memory,
}

impl Metric {
    /// What heads the column.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::Cpu => "CPU µs/request",
            Self::AddedLatency => "added p50 µs",
            Self::Memory => "KiB/connection",
        }
    }
}

/// What has to be reached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// At most this much of the reference peer's figure.
    Ratio(f64),
    /// At most this, in the metric's unit.
    Most(f64),
}

const H1: Row = Row {
    name: "h1",
    about: "HTTP/1.1 keep-alive, GET 1 KiB, 64 connections",
    work: Work::Small,
    opening: Opening::Clear,
    connections: 64,
    services: 1,
    log: false,
    metric: Metric::Cpu,
    reference: Reference::First(&[Peer::Nginx]),
    goal: Some(Goal::Ratio(0.95)),
};

/// All rows, in the order of the table.
pub(crate) const ROWS: [Row; 14] = [
    H1,
    Row {
        name: "down",
        about: "GET 1 MiB, 16 connections",
        work: Work::Down,
        connections: 16,
        reference: Reference::First(&[Peer::Haproxy]),
        goal: Some(Goal::Ratio(0.90)),
        ..H1
    },
    Row {
        name: "up",
        about: "PUT 10 MiB, 8 connections",
        work: Work::Up,
        connections: 8,
        reference: Reference::First(&[Peer::Haproxy]),
        goal: Some(Goal::Ratio(1.05)),
        ..H1
    },
    Row {
        name: "idle",
        about: "memory of a keep-alive connection that served one request, 5,000 connections",
        work: Work::Idle,
        connections: 5_000,
        metric: Metric::Memory,
        goal: Some(Goal::Most(16.0)),
        ..H1
    },
    Row {
        name: "latency",
        about: "added latency, GET 1 KiB, 1 connection",
        connections: 1,
        metric: Metric::AddedLatency,
        goal: Some(Goal::Ratio(1.0)),
        ..H1
    },
    Row { name: "services-10", about: "h1 over 10 services", services: 10, goal: None, ..H1 },
    Row { name: "services-1000", about: "h1 over 1,000 services", services: 1_000, goal: None, ..H1 },
    Row { name: "services-10000", about: "h1 over 10,000 services", services: 10_000, goal: None, ..H1 },
    Row {
        name: "tls",
        about: "h1 over TLS 1.3",
        opening: Opening::Full,
        reference: Reference::Best(&[Peer::Nginx, Peer::Haproxy]),
        goal: Some(Goal::Ratio(0.80)),
        ..H1
    },
    Row {
        name: "handshake-full",
        about: "a new connection with a full handshake for each GET of 1 KiB, 32 at once",
        work: Work::Anew,
        opening: Opening::Full,
        connections: 32,
        reference: Reference::First(&[Peer::Envoy, Peer::Nginx]),
        goal: Some(Goal::Ratio(0.60)),
        ..H1
    },
    Row {
        name: "handshake-resumed",
        about: "a new connection with a resumed session for each GET of 1 KiB, 32 at once",
        work: Work::Anew,
        opening: Opening::Resumed,
        connections: 32,
        reference: Reference::First(&[Peer::Envoy, Peer::Nginx]),
        goal: Some(Goal::Ratio(0.65)),
        ..H1
    },
    Row {
        name: "h2",
        about: "HTTP/2 over TLS, GET 1 KiB, 16 connections with 32 streams each",
        work: Work::Streams,
        opening: Opening::Full,
        connections: 16,
        reference: Reference::First(&[Peer::Haproxy]),
        goal: Some(Goal::Ratio(1.0)),
        ..H1
    },
    Row {
        name: "idle-tls",
        about: "idle over TLS",
        work: Work::Idle,
        opening: Opening::Full,
        connections: 5_000,
        metric: Metric::Memory,
        goal: Some(Goal::Most(24.0)),
        ..H1
    },
    Row { name: "log", about: "h1 with the access log to a file", log: true, goal: None, ..H1 },
];
