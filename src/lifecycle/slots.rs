//! The slots of one instance: how many requests it has, and whether it takes more, in one atomic word.

use super::sync::{AtomicU32, Ordering};

const CLOSED: u32 = 1 << 31;

/// Counts requests; once closed, no more can be taken, and the last one given back is told so. Checked by `tests/loom.rs`.
#[derive(Debug)]
pub struct Slots(AtomicU32);

impl Slots {
    /// Open, with none taken.
    #[must_use]
    pub fn open() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Takes a slot, if these are open and fewer than `most` are taken. Each success is paired with one [`Self::give_back`].
    #[must_use]
    pub fn take(&self, most: u32) -> bool {
        let free = |word: u32| (word & CLOSED == 0 && word < most.min(CLOSED - 1)).then(|| word + 1);
        self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, free).is_ok()
    }

    /// The seeded fault: closed or not.
    #[cfg(feature = "seeded-fault")]
    pub fn take_blindly(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    /// Gives a slot back. True if it was the last of closed ones.
    #[must_use]
    pub fn give_back(&self) -> bool {
        self.0.fetch_sub(1, Ordering::AcqRel) == CLOSED | 1
    }

    /// No slot can be taken from now on. True if none is.
    pub fn close(&self) -> bool {
        self.0.fetch_or(CLOSED, Ordering::AcqRel) & !CLOSED == 0
    }

    /// Slots can be taken again; those that are taken stay so.
    pub fn reopen(&self) {
        self.0.fetch_and(!CLOSED, Ordering::AcqRel);
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> u32 {
        self.0.load(Ordering::Acquire) & !CLOSED
    }

    /// Whether no slot can be taken any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.load(Ordering::Acquire) & CLOSED != 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::sync::model;
    use super::*;

    #[test]
    fn closed_slots_are_not_taken_and_the_last_is_known() {
        model(|| {
            let slots = Slots::open();
            assert!(slots.take(2) && slots.take(2) && !slots.take(2) && slots.take(u32::MAX));
            assert!(!slots.give_back());
            assert!(!slots.close() && !slots.take(9) && slots.is_closed());
            assert!(!slots.give_back() && slots.give_back());
            assert_eq!(slots.taken(), 0);
            assert!(slots.close());
        });
    }

    #[test]
    fn reopened_slots_count_those_that_were_taken() {
        model(|| {
            let slots = Slots::open();
            assert!(slots.take(2) && !slots.close());
            slots.reopen();
            assert!(slots.take(2) && !slots.take(2) && !slots.is_closed());
            assert!(!slots.give_back() && !slots.close() && slots.give_back());
        });
    }
}
