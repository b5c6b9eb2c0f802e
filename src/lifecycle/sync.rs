//! What the protocol's files are made of: std's atomics and lock here, loom's in `tests/loom.rs`, which includes those files.

pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
pub(super) use std::sync::{Mutex, PoisonError};

/// Runs a test of one of those files, which is a model there.
#[cfg(test)]
pub(super) fn model(test: impl Fn()) {
    test();
}
