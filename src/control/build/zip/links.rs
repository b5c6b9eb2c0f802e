//! Symbolic links inside a zip, followed as a file system would.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use super::{Entries, Kind};

/// As many links as Linux follows.
const MOST_HOPS: usize = 40;

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// To this path, which no link is part of.
    At(PathBuf),
    /// Out of the zip: to an absolute path, or above the root.
    Outside,
    /// Round in circles.
    Nowhere,
}

/// Follows the links of a path. What does not exist has no links.
pub(super) fn resolve(entries: &Entries, path: &Path) -> Place {
    let mut at = PathBuf::new();
    let mut hops = 0;
    let mut left: VecDeque<Part> = parts(path).collect();
    while let Some(part) = left.pop_front() {
        match part {
            Part::Root => return Place::Outside,
            Part::Up => {
                if !at.pop() {
                    return Place::Outside;
                }
            }
            Part::Down(name) => {
                let next = at.join(name);
                if let Some(Kind::Link { target }) = entries.get(&next).map(|entry| &entry.kind) {
                    hops += 1;
                    if hops > MOST_HOPS {
                        return Place::Nowhere;
                    }
                    for part in parts(target).collect::<Vec<_>>().into_iter().rev() {
                        left.push_front(part);
                    }
                } else {
                    at = next;
                }
            }
        }
    }
    Place::At(at)
}

enum Part {
    Root,
    Up,
    Down(OsString),
}

fn parts(path: &Path) -> impl Iterator<Item = Part> + '_ {
    path.components().filter_map(|part| match part {
        Component::CurDir => None,
        Component::ParentDir => Some(Part::Up),
        Component::RootDir | Component::Prefix(_) => Some(Part::Root),
        Component::Normal(name) => Some(Part::Down(name.to_owned())),
    })
}
