//! Why a zip is not taken.

use std::io;
use std::path::PathBuf;

use zip::result::ZipError as Broken;

/// Why a zip is not taken as a context.
#[derive(Debug, thiserror::Error)]
pub enum ZipError {
    /// It cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The zip.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no zip, or one that is not understood.
    #[error("`{}` is not a zip that can be read: {source}; pack it again, as with `zip -r`", path.display())]
    Broken {
        /// The zip.
        path: PathBuf,
        /// What is wrong with it.
        source: Broken,
    },
    /// An entry with a password.
    #[error("`{0}` in the zip is encrypted: pack it without a password")]
    Encrypted(String),
    /// An absolute path, or one with `..`.
    #[error("`{0}` in the zip would lie outside of it: pack it with paths that are relative to its root")]
    Out(String),
    /// No path that can be meant.
    #[error("`{0}` in the zip is no path: those have `/` between their parts and are not deeper than 256 folders")]
    Name(String),
    /// Two entries of one path, or one below a file or link.
    #[error("`{}` is in the zip more than once, or below what is no folder: pack it again", .0.display())]
    Twice(PathBuf),
    /// A link that leads out.
    #[error("`{}` in the zip is a symbolic link to `{}`, which is outside of it: take it out", entry.display(), target.display())]
    LinkOut {
        /// The link.
        entry: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// Too many entries.
    #[error("`{}` has {entries} entries; {most} are allowed: is it the right one, without `node_modules` and the like?", path.display())]
    TooMany {
        /// The zip.
        path: PathBuf,
        /// How many it has, or says to have.
        entries: u64,
        /// How many are allowed.
        most: u64,
    },
    /// Too many bytes.
    #[error("`{}` would unpack to {bytes} bytes; {most} are allowed: build from a folder instead", path.display())]
    TooLarge {
        /// The zip.
        path: PathBuf,
        /// How many it says to have.
        bytes: u64,
        /// How many are allowed.
        most: u64,
    },
    /// It packs suspiciously well.
    #[error(
        "`{}` has {packed} bytes and would unpack to {bytes}, as zip bombs do: build from a folder if it is none",
        path.display()
    )]
    Bomb {
        /// The zip.
        path: PathBuf,
        /// Unpacked.
        bytes: u64,
        /// Packed.
        packed: u64,
    },
    /// Entries share their bytes, as in the bombs that pack best.
    #[error("entries of `{}` overlap, as in zip bombs: pack it again, as with `zip -r`", .0.display())]
    Overlap(PathBuf),
    /// An entry is broken.
    #[error("`{}` in the zip cannot be unpacked: {source}; pack it again", entry.display())]
    Entry {
        /// The entry.
        entry: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// An entry is longer or shorter than it says.
    #[error("`{}` in the zip is not as long as it says: pack it again", .0.display())]
    Length(PathBuf),
}
