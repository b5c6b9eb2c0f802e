//! The folder of the services.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::config::compile::Check;
use crate::config::diagnostic::{Diagnostic, Label};
use crate::config::source::Span;

/// Which folder it is, whatever its name stands for by now: its device and inode; `None` where there is none.
pub(super) fn identity(folder: &Path) -> Option<(u64, u64)> {
    fs::metadata(folder).ok().map(|found| (found.dev(), found.ino()))
}

/// Notes that there is another folder without services in the place of the one that had some, as where one is not mounted any more. All
/// services would end with it.
pub(super) fn note_exchange(check: &mut Check, folder: &Path) {
    let message =
        format!("the folder `{}` is not the one that it was, and has no service: is it not mounted?", folder.display());
    let cure =
        "put it back, or a service into this one; what was in force still is, and ends when tidegate is started anew";
    check.note(Diagnostic::error(message, Label::file(folder)).help(cure));
}

/// The service files of the folder, by stem. Hidden files are the business of editors.
pub(super) fn service_files(check: &mut Check, folder: &Path, named_at: Option<Span>) -> Vec<(String, PathBuf)> {
    let listing = fs::read_dir(folder).and_then(|entries| {
        // A symlink counts as what it leads to, which shows when it is read.
        let file = |entry: fs::DirEntry| Ok((!entry.file_type()?.is_dir()).then(|| entry.path()));
        entries.filter_map(|entry| entry.and_then(file).transpose()).collect::<std::io::Result<Vec<_>>>()
    });
    let mut paths = match listing {
        Ok(paths) => paths,
        Err(error) => {
            let at = named_at.map_or_else(|| Label::file(&check.source.path), |span| Label::at(&check.source, span));
            let message = match error.kind() {
                std::io::ErrorKind::NotFound => format!("there is no folder `{}` for the services", folder.display()),
                _ => format!("the folder `{}` cannot be read: {error}", folder.display()),
            };
            check.note(Diagnostic::error(message, at).help("make it, or name another with `services: PATH`"));
            return Vec::new();
        }
    };
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let (Some(stem), Some(extension)) = (path.file_stem(), path.extension()) else { continue };
        let stem = stem.to_string_lossy().into_owned();
        if stem.starts_with('.') {
            continue;
        }
        if extension == "yaml" {
            files.push((stem, path));
        } else if extension == "yml" {
            let cure = format!("rename it to `{stem}.yaml`");
            check
                .found
                .push(Diagnostic::warning("this file is not read: services are *.yaml", Label::file(&path)).help(cure));
        }
    }
    files
}
