//! The text of one config file, and places in it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::config::diagnostic::{Diagnostic, Label};

/// The most that a config file may hold, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// A range of bytes in a [`Source`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// One file as it was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it was read from, as people wrote it (it is what errors show).
    pub path: PathBuf,
    /// What it said.
    pub text: String,
}

impl Source {
    /// Reads a file of at most [`MAX_BYTES`] of UTF-8.
    ///
    /// # Errors
    /// The file cannot be read, is too long, or is not UTF-8.
    pub fn read(path: &Path) -> Result<Self, Box<Diagnostic>> {
        match read_text(path, MAX_BYTES) {
            Ok(text) => Ok(Self { path: path.to_owned(), text }),
            Err(error) => {
                let message = match error.kind() {
                    io::ErrorKind::NotFound => "no such file".to_owned(),
                    _ => format!("cannot be read: {error}"),
                };
                Err(Box::new(Diagnostic::error(message, Label::file(path))))
            }
        }
    }

    /// Line and column of a byte, both from 1; columns count characters.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        // Counting the bytes that begin a character needs no character boundary at `offset`.
        let column = 1 + before[start..].iter().filter(|byte| **byte & 0xC0 != 0x80).count();
        (line, column)
    }
}

/// Reads a file of at most `max` bytes of UTF-8; whole KiB.
///
/// # Errors
/// The file cannot be read, is too long, or is not UTF-8.
pub(crate) fn read_text(path: &Path, max: usize) -> io::Result<String> {
    // Opening a pipe waits for a writer.
    if std::fs::metadata(path)?.file_type().is_fifo() {
        return Err(io::Error::other("it is a pipe"));
    }
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::other("it is a directory"));
    }
    let mut bytes = Vec::new();
    file.take(max as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        let most = if max < MAX_BYTES { format!("{} KiB", max / 1024) } else { "1 MiB".to_owned() };
        return Err(io::Error::other(format!("it is longer than {most}")));
    }
    String::from_utf8(bytes).map_err(|error| {
        io::Error::other(format!("it is not UTF-8 (from byte {} on)", error.utf8_error().valid_up_to()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        let source = Source { path: "x".into(), text: "a: ü\nbß: c".into() };
        assert_eq!(source.line_column(0), (1, 1));
        assert_eq!(source.line_column(3), (1, 4));
        assert_eq!(source.line_column(6), (2, 1));
        assert_eq!(source.line_column(9), (2, 3));
        assert_eq!(source.line_column(999), (2, 6));
    }
}
