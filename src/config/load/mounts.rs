//! Files that are mounted by themselves, as containers' configs often are. Whoever replaces such a file outside, as editors do, makes a
//! new one that never shows inside: the mount keeps the old one.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::config::diagnostic::{Diagnostic, Label};

/// A warning for each of these files, and each file in these folders, that is a mount of its own.
pub(super) fn warnings(watched: &[PathBuf]) -> Vec<Diagnostic> {
    // Without /proc nothing can be said, and nothing is wrong for that.
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let watched: BTreeSet<PathBuf> = watched.iter().filter_map(|path| path.canonicalize().ok()).collect();
    mount_points(&table)
        .into_iter()
        .filter(|point| watched.contains(point) || point.parent().is_some_and(|parent| watched.contains(parent)))
        .filter(|point| point.is_file())
        .map(|point| warning(&point))
        .collect()
}

fn warning(file: &Path) -> Diagnostic {
    let message = "this file is mounted by itself: edits that replace it outside never show here";
    Diagnostic::warning(message, Label::file(file)).help("mount the folder, not the file")
}

/// The fifth field of each line (proc(5)); white space and backslashes in it are octal escapes.
fn mount_points(table: &[u8]) -> Vec<PathBuf> {
    let lines = table.split(|byte| *byte == b'\n');
    lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4)).map(unescape).collect()
}

fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = tail.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.map(|digits| u8::from_str_radix(digits, 8)) {
            Some(Ok(byte)) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let table = b"22 1 254:0 / / rw - ext4 /dev/root rw\n\
            31 22 254:0 /a /etc/tidegate/tidegate.yaml rw,relatime - ext4 /dev/root rw\n\
            32 22 254:0 /b /srv/my\\040config\\134x rw - ext4 /dev/root rw\n";
        let points = mount_points(table);
        assert_eq!(points, ["/", "/etc/tidegate/tidegate.yaml", "/srv/my config\\x"].map(PathBuf::from));
    }
}
