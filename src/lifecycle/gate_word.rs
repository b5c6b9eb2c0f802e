//! The gate of a unit: open or shut, and how many leases are out, in one atomic word.
//!
//! Shutting and leasing go through the same word, so a lease is either counted before the gate shuts (and waited for) or
//! not had at all: nothing is ever sent to what is being stopped.

use std::sync::atomic::{AtomicU64, Ordering};

const OPEN: u64 = 1 << 63;
const LEASES: u64 = OPEN - 1;

/// The word: bit 63 says open, the rest counts leases.
#[derive(Debug, Default)]
pub struct GateWord(AtomicU64);

impl GateWord {
    /// A shut gate without leases.
    #[must_use]
    pub fn shut() -> Self {
        Self::default()
    }

    /// Takes a lease if the gate is open. Each success is paired with one [`Self::release`].
    #[must_use]
    pub fn try_lease(&self) -> bool {
        // Never counts on a shut gate, not even for a moment: the last release must be seen as the last.
        self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, |word| (word & OPEN != 0).then_some(word + 1)).is_ok()
    }

    /// Gives a lease back. True if it was the last one of a shut gate.
    pub fn release(&self) -> bool {
        self.0.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Opens the gate.
    pub fn open(&self) {
        self.0.fetch_or(OPEN, Ordering::Release);
    }

    /// Shuts the gate; leases that are out stay out.
    pub fn close(&self) {
        self.0.fetch_and(LEASES, Ordering::AcqRel);
    }

    /// Whether leases can be had.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire) & OPEN != 0
    }

    /// How many leases are out.
    #[must_use]
    pub fn leases(&self) -> u64 {
        self.0.load(Ordering::Acquire) & LEASES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shut_gate_gives_no_lease_and_says_when_the_last_is_back() {
        let gate = GateWord::shut();
        assert!(!gate.try_lease());
        gate.open();
        assert!(gate.try_lease() && gate.try_lease());
        assert_eq!(gate.leases(), 2);
        gate.close();
        assert!(!gate.try_lease());
        assert!(!gate.release());
        assert!(gate.release());
        assert_eq!((gate.leases(), gate.is_open()), (0, false));
    }
}
