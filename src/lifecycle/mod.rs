//! What outlives snapshots: units (the running side of versions), their instances, and the leases on them.
//!
//! The data plane knows [`unit::Unit::acquire`] and the [`lease::Lease`] it gives, and nothing of providers; the control
//! thread runs one task per unit that starts and stops what the version's backend asks for.

pub mod autoscaler;
pub mod cursor;
pub mod gate_word;
pub mod instance;
pub mod keeper;
pub mod lease;
pub mod line;
pub mod ports;
pub mod probe;
pub mod provider;
pub mod slots;
mod sync;
pub mod turns;
pub mod unit;
pub mod units;
pub mod wakes;
