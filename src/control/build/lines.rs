//! Output that comes in pieces, as lines.

use std::collections::VecDeque;

/// The longest line that is kept, in bytes; the rest of a longer one is left out.
const LONGEST: usize = 16 << 10;

/// How many lines an error shows.
const LAST: usize = 20;

/// Puts pieces together and remembers the last lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
    last: VecDeque<String>,
}

impl Lines {
    /// Takes a piece, and gives the lines that are complete. A `\r` ends a line too: what is behind it is progress.
    pub(super) fn take(&mut self, piece: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for byte in piece {
            if matches!(byte, b'\n' | b'\r') {
                lines.extend(self.end());
            } else if self.partial.len() < LONGEST {
                self.partial.push(*byte);
            }
        }
        lines
    }

    /// Ends a line that has no end of its own; `None` if it is empty.
    pub(super) fn end(&mut self) -> Option<String> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.partial)).trim_end().to_owned();
        if line.is_empty() {
            return None;
        }
        if self.last.len() == LAST {
            self.last.pop_front();
        }
        self.last.push_back(line.clone());
        Some(line)
    }

    /// The last lines, oldest first; they are then forgotten.
    pub(super) fn last(&mut self) -> Vec<String> {
        std::mem::take(&mut self.last).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_lines() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(b"one\ntw"), ["one"]);
        assert_eq!(lines.take(b"o\r\n\n10%\r20%\rthree"), ["two", "10%", "20%"]);
        assert_eq!(lines.end().as_deref(), Some("three"));
        assert_eq!((lines.end(), lines.last().len(), lines.last().len()), (None, 5, 0));
        assert_eq!(lines.take(&[b'x'; 20_000]), Vec::<String>::new());
        assert_eq!(lines.take(b"\n")[0].len(), LONGEST);
        (0..30).for_each(|at| drop(lines.take(format!("{at}\n").as_bytes())));
        assert_eq!(lines.last()[0], "10");
    }
}
