//! The line in which requests wait at a gate: the other half of the protocol of [`GateWord`].
//!
//! First come, first served, over all threads. Behind a lock that is held for a few instructions, and that only requests which
//! wait, and leases given back while some do, ever take: an open gate without a line is atomics only. The flag in the word that
//! says "somebody waits" changes with the lock held, and is set before the word is looked at again, so that no lease given back
//! and no gate opened in between goes unnoticed.

use std::collections::BTreeMap;

use super::gate_word::{GateState, GateWord, Seen};
use super::sync::{AtomicU32, Mutex, Ordering, PoisonError};

/// Those who wait at one gate; `W` is the handle by which one of them is called.
#[derive(Debug)]
pub struct Line<W> {
    // Held to add, remove or call waiters; never while one is woken or a lease is dropped.
    inner: Mutex<Inner<W>>,
    length: AtomicU32,
}

#[derive(Debug)]
struct Inner<W> {
    next: u64,
    waiting: BTreeMap<u64, W>,
    /// Leases of this round that may be without an answer while somebody waits: a gate that has just opened is not run over.
    window: u64,
    /// Those that there are.
    unanswered: u64,
    round: Round,
}

/// From one opening of the gate to the next; what was handed out in another does not count against the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Round(u64);

/// A place in the line; given up by [`Line::leave`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// What came of joining.
#[derive(Debug)]
pub enum Joined<W> {
    /// It waits. The word as it was until then says what is to be done: a gate that is asleep is to be woken, and at an open one
    /// the line to be handed leases.
    Waits(Ticket, Seen),
    /// There is no place left.
    Full(W),
    /// Nobody waits at such a gate.
    Shut(W, GateState),
}

impl<W> Line<W> {
    /// Nobody waits.
    #[must_use]
    pub fn new() -> Self {
        let (waiting, round) = (BTreeMap::new(), Round::default());
        let inner = Inner { next: 0, waiting, window: u64::MAX, unanswered: 0, round };
        Self { inner: Mutex::new(inner), length: AtomicU32::new(0) }
    }

    /// Takes the last place, if fewer than `most` are taken.
    pub fn join(&self, gate: &GateWord, most: u32, waiter: W) -> Joined<W> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.waiting.len() as u64 >= u64::from(most) {
            return Joined::Full(waiter);
        }
        let seen = gate.waited_for();
        if !seen.state().can_be_waited_for() {
            if inner.waiting.is_empty() {
                gate.not_waited_for();
            }
            return Joined::Shut(waiter, seen.state());
        }
        let ticket = inner.next;
        inner.next += 1;
        inner.waiting.insert(ticket, waiter);
        self.length.fetch_add(1, Ordering::Relaxed);
        Joined::Waits(Ticket(ticket), seen)
    }

    /// Gives a place up. `None` if its waiter has been called already.
    pub fn leave(&self, gate: &GateWord, ticket: Ticket) -> Option<W> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let waiter = inner.waiting.remove(&ticket.0)?;
        self.removed(gate, &inner, 1);
        Some(waiter)
    }

    /// Leases for those who wait, the first in line first, as many as `lease` gives and the window allows; the caller calls them,
    /// and gives the lease of one who has left back. Each is paired with one [`Self::answered`] or [`Self::given_back`].
    #[must_use]
    pub fn hand_out<L>(&self, gate: &GateWord, mut lease: impl FnMut(Round) -> Option<L>) -> Vec<(W, L)> {
        let mut called = Vec::new();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        while !inner.waiting.is_empty() && inner.unanswered < inner.window {
            let Some(lease) = lease(inner.round) else { break };
            inner.unanswered += 1;
            let (_, waiter) = inner.waiting.pop_first().expect("somebody waits");
            called.push((waiter, lease));
        }
        if !called.is_empty() {
            self.removed(gate, &inner, called.len());
        }
        called
    }

    /// A lease that was handed out in this round has its answer: it counts no more, and the window is one wider. True if somebody
    /// waits, who may have one now.
    pub fn answered(&self, round: Round) -> bool {
        self.no_more(round, 1)
    }

    /// A lease that was handed out in this round is given back without an answer; giving it back to the gate comes after.
    pub fn given_back(&self, round: Round) {
        self.no_more(round, 0);
    }

    fn no_more(&self, round: Round, wider: u64) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.round == round {
            inner.unanswered -= 1;
            inner.window = inner.window.saturating_add(wider);
        }
        !inner.waiting.is_empty()
    }

    /// How many leases may be without an answer while somebody waits: of a new round, or with `widen`, of this one, and then more if
    /// that is so already.
    pub fn set_window(&self, window: u64, widen: bool) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if widen {
            inner.window = inner.window.max(window);
        } else {
            inner.round.0 += 1;
            (inner.window, inner.unanswered) = (window, 0);
        }
    }

    /// Sends everybody away.
    #[must_use]
    pub fn clear(&self, gate: &GateWord) -> Vec<W> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = std::mem::take(&mut inner.waiting);
        if !waiting.is_empty() {
            self.removed(gate, &inner, waiting.len());
        }
        waiting.into_values().collect()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.length.load(Ordering::Relaxed)
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn removed(&self, gate: &GateWord, inner: &Inner<W>, count: usize) {
        self.length.fetch_sub(u32::try_from(count).expect("as many as were added"), Ordering::Relaxed);
        if inner.waiting.is_empty() {
            gate.not_waited_for();
        }
    }
}

impl<W> Default for Line<W> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::super::sync::model;
    use super::*;

    fn waits(joined: &Joined<u8>) -> (Ticket, Seen) {
        match joined {
            Joined::Waits(ticket, seen) => (*ticket, *seen),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_in_line_is_served_first_within_the_window() {
        model(|| {
            let (gate, line) = (GateWord::asleep(), Line::new());
            for waiter in 0..4 {
                assert_eq!(waits(&line.join(&gate, 4, waiter)).1.state(), GateState::Asleep);
            }
            assert!(matches!(line.join(&gate, 4, 9), Joined::Full(9)));
            gate.go(GateState::Open);
            line.set_window(2, false);
            let mut round = Round::default();
            let handed = line.hand_out(&gate, |this| {
                round = this;
                gate.lease_from_line()
            });
            assert_eq!(handed, [(0, 0), (1, 0)]);
            assert_eq!(gate.try_lease(), None, "whoever comes now is behind those who wait");
            line.given_back(round);
            assert_eq!(
                line.hand_out(&gate, |_| gate.lease_from_line()),
                [(2, 0)],
                "and the window is as wide as it was"
            );
            assert_eq!((line.len(), gate.seen().is_waited_for()), (1, true));
            assert_eq!(line.clear(&gate), [3]);
            assert!(gate.try_lease().is_some() && line.is_empty());
        });
    }

    #[test]
    fn the_window_counts_what_has_no_answer_in_this_round() {
        model(|| {
            let (gate, line) = (GateWord::asleep(), Line::new());
            for waiter in 0..5 {
                waits(&line.join(&gate, 9, waiter));
            }
            gate.go(GateState::Open);
            let mut rounds = Vec::new();
            let mut hand_out = || {
                let handed = line.hand_out(&gate, |round| {
                    rounds.push(round);
                    gate.lease_from_line()
                });
                (handed.into_iter().map(|(waiter, _)| waiter).collect::<Vec<u8>>(), rounds[rounds.len() - 1])
            };
            line.set_window(1, false);
            let (first, round) = hand_out();
            assert_eq!((first, hand_out().0.len()), (vec![0], 0));
            assert!(line.answered(round));
            let (next, _) = hand_out();
            assert_eq!(next, [1, 2], "one for the answer, and one more; the lease is still out");
            line.set_window(1, false);
            assert_eq!(hand_out().0, [3], "what is left of the round before does not count");
            assert!(line.answered(round));
            assert_eq!(hand_out().0.len(), 0, "nor does its answer");
        });
    }

    #[test]
    fn leaving_frees_the_place_and_the_gate() {
        model(|| {
            let (gate, line) = (GateWord::asleep(), Line::new());
            let (ticket, _) = waits(&line.join(&gate, 9, 1));
            assert_eq!((line.leave(&gate, ticket), line.leave(&gate, ticket)), (Some(1), None));
            assert!(gate.sleep(), "nobody waits");
        });
    }

    #[test]
    fn nobody_waits_for_what_failed_or_is_gone() {
        model(|| {
            for state in [GateState::Failed, GateState::Gone] {
                let (gate, line) = (GateWord::asleep(), Line::new());
                gate.go(state);
                assert!(matches!(line.join(&gate, 9, 1), Joined::Shut(1, found) if found == state));
                assert!(!gate.seen().is_waited_for() && line.is_empty());
            }
        });
    }
}
