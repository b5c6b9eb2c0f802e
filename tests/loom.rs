//! The protocol between data threads and keepers, under loom: every interleaving of a few threads, and every value that the memory
//! model lets a load return.
//!
//! The files under test are those that run, with loom's atomics and lock in place of std's. What puts them together is a model: it
//! does what `Unit`, `Waiting`, `Lease` and `Keeper` do, in their order, without a runtime. Models of three threads that do much are
//! bounded to so many preemptions, as named in each; those without a bound are complete. `.ci/mutants` shows that each model fails
//! when the protocol is wrong.
//!
//! loom runs all threads of a model on one, and switches at its own atomics, locks and bells only: what is counted for the assertions
//! is in `Cell`s, which order nothing.

#[path = "../src/lifecycle/cursor.rs"]
pub mod cursor;
#[path = "../src/lifecycle/gate_word.rs"]
pub mod gate_word;
#[path = "../src/lifecycle/line.rs"]
pub mod line;
#[path = "../src/lifecycle/slots.rs"]
pub mod slots;

/// What `src/lifecycle/sync.rs` is there.
mod sync {
    pub(super) use std::sync::PoisonError;

    pub(super) use loom::model;
    pub(super) use loom::sync::Mutex;
    pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

#[path = "loom/call.rs"]
mod call;
#[path = "loom/gate.rs"]
mod gate;
#[path = "loom/keeper.rs"]
mod keeper;
#[path = "loom/process.rs"]
mod process;
#[path = "loom/queueing.rs"]
mod queueing;
#[path = "loom/splitting.rs"]
mod splitting;
#[path = "loom/stopping.rs"]
mod stopping;
#[path = "loom/turn.rs"]
mod turn;
#[path = "loom/unit.rs"]
mod unit;
#[path = "loom/waking.rs"]
mod waking;

/// Runs a model with at most so many preemptions, or all there can be.
fn check(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(model);
}
