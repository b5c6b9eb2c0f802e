//! What happened in a run.

use std::time::Duration;

use super::plan::Mood;

/// One thing that happened. Numbers are those of copies and of generations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Start(usize),
    StartFailed(usize),
    StartCancelled(usize),
    Started(usize),
    Ready(usize),
    NotReady(usize),
    Exited(usize),
    Pause(usize),
    Paused(usize),
    NotPaused(usize),
    Resume(usize),
    NotResumed(usize),
    Stop(usize),
    Discard,
    Over(usize),
    State(usize, &'static str),
    Waits,
    Left,
    Leased(usize),
    Back(usize),
    Refused(&'static str),
    Edit,
    Mood(Mood),
    Sleep,
    SleepAnswered(bool),
    Knock,
    Adopt(u32),
    Remove(usize, Duration),
    Begin(usize),
    Settled,
    Stopped,
}
