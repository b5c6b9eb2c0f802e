//! The data plane: N threads, each with a runtime, its connections and its pools of its own; what crosses threads on the
//! warm path is [`crate::live::Published`], the gate words and the schedule's cursor.
//!
//! A request's road: [`listener`] accepts, [`connection`] speaks HTTP to the client, [`handler`] routes and chooses,
//! [`forward`] leases an instance, [`waiting`] for one where none
//! is to be had at once, and sends ([`upstream`]), [`body`] streams both ways, [`exchange`] counts at the end.

pub mod alarm;
pub mod answer;
mod awaiting;
pub mod body;
pub mod client_io;
pub mod connection;
mod encoding;
pub mod error;
pub mod exchange;
pub mod forward;
mod forward_http2;
pub mod handler;
pub mod hangup;
pub mod headers;
pub mod held;
mod http2;
pub mod leftovers;
pub mod listener;
pub mod outline;
pub mod phase;
pub mod proxy_protocol;
pub mod refusals;
pub mod secured;
pub mod streams;
pub mod threads;
pub mod tunnel;
pub mod upgrade;
pub mod upstream;
pub mod waiting;
pub mod waiting_page;
pub mod worker;
