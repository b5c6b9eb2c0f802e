//! What outlives snapshots: units (the running side of versions), their instances, and the leases on them.
//!
//! The data plane knows [`unit::Unit::acquire`] and the [`lease::Lease`] it gives, and nothing of providers; the control
//! thread runs one task per unit that starts and stops what the version's backend asks for.

pub mod gate_word;
pub mod instance;
pub mod lease;
pub mod ports;
pub mod probe;
pub mod provider;
pub mod unit;
pub mod units;
