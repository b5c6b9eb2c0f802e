//! The gate of a unit: its state, its epoch, and how many leases are out, in one atomic word.
//!
//! Shutting, leasing and waiting go through the same word, so each sees what came before it: a lease is either counted before
//! the gate shuts (and waited for) or not had at all, so that nothing is ever sent to what is being stopped; and who waits is
//! either seen by whoever gives a lease back, opens the gate or falls asleep, or sees what they did. Synchronous, and checked as
//! it stands by `tests/loom.rs`; [`Line`](super::line::Line) is where requests wait, and the other half of the protocol.

use super::sync::{AtomicU64, Ordering};

const ONE_LEASE: u64 = 1;
const LEASES: u64 = (1 << 24) - 1;
const WAITED: u64 = 1 << 24;
const ONE_EPOCH: u64 = 1 << 25;
const EPOCH: u64 = ((1 << 32) - 1) << 25;
const STATE_AT: u32 = 57;
const STATE: u64 = 0b111 << STATE_AT;

/// The state of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateState {
    /// Shut: nothing runs. Who waits has to call the keeper, which [`GateWord::wake`] lets exactly one do.
    Asleep,
    /// Shut: the keeper has been called, or is at it.
    Waking,
    /// Leases can be had.
    Open,
    /// Shut, and stopped once the last lease is back. Who waits is served after the next wake.
    Closing,
    /// Shut: it could not be started. Nobody waits.
    Failed,
    /// Shut for good. Nobody waits.
    Gone,
}

impl GateState {
    fn bits(self) -> u64 {
        let number = match self {
            Self::Asleep => 0,
            Self::Waking => 1,
            Self::Open => 2,
            Self::Closing => 3,
            Self::Failed => 4,
            Self::Gone => 5,
        };
        number << STATE_AT
    }

    /// Whether a request may wait for the gate to open.
    #[must_use]
    pub fn can_be_waited_for(self) -> bool {
        !matches!(self, Self::Failed | Self::Gone)
    }
}

/// The word at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen(u64);

impl Seen {
    /// The state.
    #[must_use]
    pub fn state(self) -> GateState {
        match (self.0 & STATE) >> STATE_AT {
            0 => GateState::Asleep,
            1 => GateState::Waking,
            2 => GateState::Open,
            3 => GateState::Closing,
            4 => GateState::Failed,
            _ => GateState::Gone,
        }
    }

    /// Rises whenever an open gate is shut, and wraps after 2^32 times: connections of another epoch are of no use.
    #[must_use]
    pub fn epoch(self) -> u32 {
        u32::try_from((self.0 & EPOCH) >> EPOCH.trailing_zeros()).expect("32 bits")
    }

    /// Leases that are out, at most 2^24 - 1.
    #[must_use]
    pub fn leases(self) -> u64 {
        self.0 & LEASES
    }

    /// Whether somebody waits in line.
    #[must_use]
    pub fn is_waited_for(self) -> bool {
        self.0 & WAITED != 0
    }

    fn with(self, state: GateState) -> Self {
        let word = (self.0 & !STATE) | state.bits();
        if self.state() == GateState::Open && state != GateState::Open {
            // Adding beyond the field's end would reach the state.
            return Self((word & !EPOCH) | (word.wrapping_add(ONE_EPOCH) & EPOCH));
        }
        Self(word)
    }
}

/// Who is told of what happens at a gate. Called by any thread; must not block for long, and must not hold the line.
pub trait Parking {
    /// Somebody waits and nothing runs: start it. Called once per sleep.
    fn wake(&self);
    /// The last lease of a shut gate is back.
    fn drained(&self);
    /// A lease is back while somebody waits in line.
    fn freed(&self);
}

/// The word. Bits 0 to 23 count leases, bit 24 says that somebody waits, then 32 bits of epoch and 3 of state.
#[derive(Debug)]
pub struct GateWord(AtomicU64);

impl GateWord {
    /// A gate that is asleep.
    #[must_use]
    pub fn asleep() -> Self {
        Self(AtomicU64::new(GateState::Asleep.bits()))
    }

    /// The word now.
    #[must_use]
    pub fn seen(&self) -> Seen {
        Seen(self.0.load(Ordering::Acquire))
    }

    /// Takes a lease if the gate is open and nobody waits in line, and says in which epoch. Each success is paired with one
    /// [`Self::release`].
    #[must_use]
    pub fn try_lease(&self) -> Option<u32> {
        // Never counts on a shut gate, not even for a moment: the last release must be seen as the last.
        self.update(|seen| seen.can_lease() && !seen.is_waited_for(), |seen| Seen(seen.0 + ONE_LEASE)).map(Seen::epoch)
    }

    /// The seeded fault: whatever the state.
    #[cfg(feature = "seeded-fault")]
    pub fn lease_blindly(&self) -> u32 {
        Seen(self.0.fetch_add(ONE_LEASE, Ordering::AcqRel)).epoch()
    }

    /// The same for whoever is at the head of the line.
    #[must_use]
    pub fn lease_from_line(&self) -> Option<u32> {
        self.update(Seen::can_lease, |seen| Seen(seen.0 + ONE_LEASE)).map(Seen::epoch)
    }

    /// Gives a lease back.
    pub fn release(&self, parking: &impl Parking) {
        let before = self.give_back(parking);
        if before.state() == GateState::Open && before.is_waited_for() {
            parking.freed();
        }
    }

    /// Gives a lease back, for whoever looks after the line itself.
    pub fn give_back(&self, parking: &impl Parking) -> Seen {
        let before = Seen(self.0.fetch_sub(ONE_LEASE, Ordering::AcqRel));
        if before.leases() == 1 && before.state() != GateState::Open {
            parking.drained();
        }
        before
    }

    /// Says that somebody waits. Called with the line held; whoever calls acts on what is returned, the word until now.
    #[must_use]
    pub fn waited_for(&self) -> Seen {
        Seen(self.0.fetch_or(WAITED, Ordering::AcqRel))
    }

    /// Says that nobody waits any more. Called with the line held.
    pub fn not_waited_for(&self) {
        self.0.fetch_and(!WAITED, Ordering::AcqRel);
    }

    /// From asleep to waking; true for exactly one caller per sleep, who tells the keeper.
    #[must_use]
    pub fn wake(&self) -> bool {
        self.update(|seen| seen.state() == GateState::Asleep, |seen| seen.with(GateState::Waking)).is_some()
    }

    /// Changes the state, whatever it was, and returns the word until then. Only the keeper calls this, and only
    /// [`Self::wake`] changes a state besides.
    pub fn go(&self, state: GateState) -> Seen {
        self.update(|_| true, |seen| seen.with(state)).expect("any word will do")
    }

    /// Shuts an open gate at which nobody waits and exactly these leases are out, so that it can sleep.
    #[must_use]
    pub fn close_if(&self, leases: u64) -> bool {
        let idle = |seen: Seen| seen.state() == GateState::Open && seen.leases() == leases && !seen.is_waited_for();
        self.update(idle, |seen| seen.with(GateState::Closing)).is_some()
    }

    /// Falls asleep, unless somebody waits: then it is waking, and the keeper, which calls this, has to start it. True if asleep.
    #[must_use]
    pub fn sleep(&self) -> bool {
        let next = |seen: Seen| if seen.is_waited_for() { GateState::Waking } else { GateState::Asleep };
        let before = self.update(|_| true, |seen| seen.with(next(seen))).expect("any word will do");
        !before.is_waited_for()
    }

    fn update(&self, when: impl Fn(Seen) -> bool, next: impl Fn(Seen) -> Seen) -> Option<Seen> {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| when(Seen(word)).then(|| next(Seen(word)).0))
            .ok()
            .map(Seen)
    }
}

impl Seen {
    fn can_lease(self) -> bool {
        // The bound is there so that no count, however absurd, runs over into the flag.
        self.state() == GateState::Open && self.leases() < LEASES
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::super::sync::model;
    use super::*;

    #[derive(Default)]
    struct Told(RefCell<Vec<&'static str>>);

    impl Parking for Told {
        fn wake(&self) {
            self.0.borrow_mut().push("wake");
        }
        fn drained(&self) {
            self.0.borrow_mut().push("drained");
        }
        fn freed(&self) {
            self.0.borrow_mut().push("freed");
        }
    }

    #[test]
    fn a_shut_gate_gives_no_lease_and_says_when_the_last_is_back() {
        model(|| {
            let (gate, told) = (GateWord::asleep(), Told::default());
            assert_eq!(gate.try_lease(), None);
            assert!(gate.wake() && !gate.wake());
            gate.go(GateState::Open);
            assert_eq!((gate.try_lease(), gate.try_lease()), (Some(0), Some(0)));
            assert!(!gate.close_if(0), "two are out");
            assert_eq!(gate.go(GateState::Closing).leases(), 2);
            assert_eq!(gate.try_lease(), None);
            gate.release(&told);
            assert!(told.0.borrow().is_empty());
            gate.release(&told);
            assert_eq!(*told.0.borrow(), ["drained"]);
            assert_eq!((gate.seen().leases(), gate.seen().epoch()), (0, 1));
            assert!(gate.sleep() && gate.seen().state() == GateState::Asleep);
        });
    }

    #[test]
    fn whoever_waits_goes_first_and_is_not_slept_over() {
        model(|| {
            let (gate, told) = (GateWord::asleep(), Told::default());
            gate.go(GateState::Open);
            assert!(gate.try_lease().is_some());
            assert_eq!(gate.waited_for().state(), GateState::Open);
            assert_eq!(gate.try_lease(), None);
            gate.release(&told);
            assert_eq!(*told.0.borrow(), ["freed"]);
            assert!(gate.lease_from_line().is_some());
            gate.give_back(&told);
            assert_eq!(told.0.borrow().len(), 1, "who looks after the line is not told of it");
            gate.go(GateState::Closing);
            assert!(!gate.sleep());
            assert_eq!(gate.seen().state(), GateState::Waking);
            gate.not_waited_for();
            assert!(gate.sleep());
        });
    }

    #[test]
    fn the_epoch_wraps_within_its_bits() {
        model(|| {
            let gate = GateWord::asleep();
            gate.0.store(EPOCH | GateState::Open.bits() | WAITED | 7, Ordering::Relaxed);
            assert_eq!(gate.seen().epoch(), u32::MAX);
            gate.go(GateState::Closing);
            let seen = gate.seen();
            assert_eq!(
                (seen.epoch(), seen.state(), seen.leases(), seen.is_waited_for()),
                (0, GateState::Closing, 7, true)
            );
        });
    }
}
