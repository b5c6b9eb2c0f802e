//! What a person is told on standard error while long work goes on: plain lines, and on a terminal one that is written over.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How often a line that is written over changes, and how often a plain one comes.
const TERMINAL_PACE: Duration = Duration::from_millis(100);
const PLAIN_PACE: Duration = Duration::from_secs(5);

/// Lines on standard error.
#[derive(Debug)]
pub(super) struct Progress {
    is_terminal: bool,
    /// Whether a line stands there that the next one writes over.
    is_open: bool,
    last: Option<Instant>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), is_open: false, last: None }
    }

    /// A line that stays.
    pub(super) fn line(&mut self, text: &str) {
        let clear = if self.is_open { "\r\u{1b}[K" } else { "" };
        self.is_open = false;
        // Nobody is left to read a closed standard error.
        let _told = writeln!(io::stderr(), "{clear}{}", super::table::plain(text));
    }

    /// How far it is; shown now and then.
    pub(super) fn step(&mut self, text: &str) {
        let pace = if self.is_terminal { TERMINAL_PACE } else { PLAIN_PACE };
        if self.last.is_some_and(|last| last.elapsed() < pace) {
            return;
        }
        self.last = Some(Instant::now());
        if self.is_terminal {
            self.is_open = true;
            let mut out = io::stderr();
            let _told = write!(out, "\r\u{1b}[K{}", super::table::plain(text)).and_then(|()| out.flush());
        } else {
            self.line(text);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_open {
            let _told = writeln!(io::stderr());
        }
    }
}

/// A note beside the result.
pub(super) fn note(text: &str) {
    Progress::new().line(text);
}
