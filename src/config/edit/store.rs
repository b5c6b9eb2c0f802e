//! Files that are read, edited and written, one writer of ours at a time; edits by others in between are noticed.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::exchange;
use crate::config::source::{MAX_BYTES, read_text};

/// In the folder of the services: whoever writes there has to be able to make files in it anyway. Hidden, so that it is no service.
const LOCK: &str = ".tidegate.lock";

/// Each of ours holds the lock for milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// So often is an edit made anew on what somebody else has just written.
const TRIES: u32 = 20;

/// A file that was written so shortly ago may be written further: editors that write in place do it in pieces.
const SETTLED: Duration = Duration::from_millis(20);

/// Why a file is not written. It is as it was, or as somebody else has just written it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another writer of ours holds the lock.
    #[error("{} has been locked by another tidegate command for {} s: try again when it is done", .0.display(), LOCK_WAIT.as_secs())]
    Locked(PathBuf),
    /// The lock cannot be had.
    #[error("cannot lock the folder {} for an edit: {source}; run this as the user that may write there", .folder.display())]
    NoLock {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody else edits it all the time.
    #[error("{} is being edited by somebody else: it changed with each of {TRIES} tries; try again when that is over", .0.display())]
    Busy(PathBuf),
    /// It cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write {}: {source}; run this as the user that may write there", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A new file would belong to somebody else than the old one.
    #[error("{} belongs to another user ({uid}:{gid}), which an edit would change: run this as that user, or as root", .path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

/// The lock that all of ours hold from reading a service's file to having written it. Given back when dropped.
#[derive(Debug)]
pub struct WriteLock {
    _file: Flock<File>,
}

impl WriteLock {
    /// Takes the lock for the services in a folder, when it is free.
    ///
    /// # Errors
    /// It is not free within 30 s, or its file cannot be made.
    pub fn take(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(LOCK);
        let no_lock = |source| StoreError::NoLock { folder: folder.to_owned(), source };
        // Somebody else's file need only be readable to be locked.
        let open = OpenOptions::new().create(true).append(true).mode(0o644).open(&path);
        let mut file = open.or_else(|error| File::open(&path).map_err(|_| error)).map_err(no_lock)?;
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(Self { _file: lock }),
                Err((back, Errno::EWOULDBLOCK)) if Instant::now() < deadline => file = back,
                Err((_, Errno::EWOULDBLOCK)) => return Err(StoreError::Locked(folder.to_owned())),
                Err((_, error)) => return Err(no_lock(error.into())),
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Reads a file, has it edited and puts the new text in its place at once; mode and owner are kept, and symlinks followed. `edit`
    /// gets `None` where there is no file, and gives `None` to leave all as it is. Where somebody else writes the file in the
    /// meantime, that stays, and `edit` is asked again with it. Says whether anything was written.
    ///
    /// # Errors
    /// What `edit` refuses, or as [`StoreError`] says.
    pub fn rewrite<E: From<StoreError>>(
        &self,
        path: &Path,
        mut edit: impl FnMut(Option<&str>) -> Result<Option<String>, E>,
    ) -> Result<bool, E> {
        for _ in 0..TRIES {
            let target = target(path).map_err(|source| StoreError::Read { path: path.to_owned(), source })?;
            let old = settled(&target)?;
            let Some(new) = edit(old.as_deref())? else { return Ok(false) };
            if old.as_deref() == Some(new.as_str()) {
                return Ok(false);
            }
            if put(&target, old.as_deref(), &new)? {
                return Ok(true);
            }
        }
        Err(StoreError::Busy(path.to_owned()).into())
    }

    /// Takes a file away, if it is still what `expected` says.
    ///
    /// # Errors
    /// It cannot be removed, or somebody else has edited it meanwhile.
    pub fn remove(&self, path: &Path, expected: &str) -> Result<(), StoreError> {
        let write = |source| StoreError::Write { path: path.to_owned(), source };
        let aside = beside(path);
        fs::rename(path, &aside).map_err(write)?;
        if read_text(&aside, MAX_BYTES).ok().as_deref() == Some(expected) {
            return fs::remove_file(&aside).map_err(write);
        }
        exchange::move_to_free(&aside, path).or_else(|_| fs::rename(&aside, path)).map_err(write)?;
        Err(StoreError::Busy(path.to_owned()))
    }
}

/// The file itself, where the path is a symlink.
fn target(path: &Path) -> io::Result<PathBuf> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => fs::canonicalize(path),
        _ => Ok(path.to_owned()),
    }
}

/// The text of a file that nobody has written to just now; `None` where there is no file.
fn settled(path: &Path) -> Result<Option<String>, StoreError> {
    let read = |source| StoreError::Read { path: path.to_owned(), source };
    for _ in 0..TRIES {
        let metadata = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata.map_err(read)?,
        };
        let age = metadata.modified().ok().and_then(|then| SystemTime::now().duration_since(then).ok());
        match age.filter(|age| *age < SETTLED) {
            Some(age) => thread::sleep(SETTLED.saturating_sub(age)),
            None => break,
        }
    }
    match read_text(path, MAX_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        text => text.map(Some).map_err(read),
    }
}

/// Puts `new` in the place of `old`; false if something else is there by now, which then stays.
fn put(path: &Path, old: Option<&str>, new: &str) -> Result<bool, StoreError> {
    let write = |source| StoreError::Write { path: path.to_owned(), source };
    let aside = beside(path);
    let done = put_by(path, &aside, old, new);
    // Whatever it is by now, it is not wanted any more. Mostly it is gone already.
    drop(fs::remove_file(&aside));
    let done = done?;
    if done && let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(write)?;
    }
    Ok(done)
}

fn put_by(path: &Path, aside: &Path, old: Option<&str>, new: &str) -> Result<bool, StoreError> {
    let write = |source| StoreError::Write { path: path.to_owned(), source };
    create(path, aside, new)?;
    let Some(old) = old else {
        return match exchange::move_to_free(aside, path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) if exchange::is_unsupported(&error) && !path.exists() => {
                fs::rename(aside, path).map(|()| true).map_err(write)
            }
            Err(error) => Err(write(error)),
        };
    };
    let is = |path: &Path, text: &str| read_text(path, MAX_BYTES).is_ok_and(|found| found == text);
    if !is(path, old) {
        return Ok(false);
    }
    match exchange::exchange(aside, path) {
        Ok(()) => {}
        Err(error) if exchange::is_unsupported(&error) => {
            return fs::rename(aside, path).map(|()| true).map_err(write);
        }
        // It was taken away just now.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(write(error)),
    }
    if is(aside, old) {
        return Ok(true);
    }
    // Somebody has written it between our look and the exchange. What we took away goes back; should that again take away something
    // that is not ours, it is newer still, and goes back in turn.
    for _ in 0..TRIES {
        exchange::exchange(aside, path).map_err(write)?;
        if is(aside, new) {
            break;
        }
    }
    Ok(false)
}

/// A new file beside, with the mode and the owner of the one whose place it is to take.
fn create(path: &Path, aside: &Path, text: &str) -> Result<(), StoreError> {
    let write = |source| StoreError::Write { path: path.to_owned(), source };
    // Left over by a command that was killed: nobody else has the lock.
    drop(fs::remove_file(aside));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(aside).map_err(write)?;
    if let Ok(before) = fs::metadata(path) {
        let (uid, gid) = (before.uid(), before.gid());
        let own = file.metadata().map_err(write)?;
        if (own.uid(), own.gid()) != (uid, gid) {
            std::os::unix::fs::fchown(&file, Some(uid), Some(gid)).map_err(|_| StoreError::Owner {
                path: path.to_owned(),
                uid,
                gid,
            })?;
        }
        file.set_permissions(Permissions::from_mode(before.mode() & 0o7777)).map_err(write)?;
    }
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(write)
}

/// A hidden file in the same folder, whose name is not one of YAML.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tidegate"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[derive(Debug)]
    struct Refused;

    impl From<StoreError> for Refused {
        fn from(error: StoreError) -> Self {
            panic!("{error}");
        }
    }

    fn replace(path: &Path, number: usize, text: &str) {
        let beside = path.with_extension(format!("new{number}"));
        fs::write(&beside, text).expect("write");
        fs::rename(&beside, path).expect("rename");
    }

    #[test]
    fn mode_and_links_are_kept_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().expect("a folder");
        let (real, link) = (dir.path().join("real.yaml"), dir.path().join("link.yaml"));
        fs::write(&real, "a").expect("write");
        fs::set_permissions(&real, Permissions::from_mode(0o640)).expect("mode");
        symlink("real.yaml", &link).expect("link");
        let lock = WriteLock::take(dir.path()).expect("a lock");
        let append = |text: Option<&str>| Ok::<_, Refused>(text.map(|text| format!("{text}b")));
        assert!(lock.rewrite(&link, append).expect("written"));
        assert!(!lock.rewrite(&link, |_| Ok::<_, Refused>(None)).expect("left"));
        assert_eq!(fs::read_to_string(&real).expect("text"), "ab");
        assert_eq!(fs::metadata(&real).expect("there").mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        let new = dir.path().join("new.yaml");
        assert!(lock.rewrite(&new, |text| Ok::<_, Refused>(text.is_none().then(|| "x".to_owned()))).expect("made"));
        lock.remove(&new, "y").expect_err("another text");
        lock.remove(&new, "x").expect("removed");
        let mut names: Vec<_> =
            fs::read_dir(dir.path()).expect("list").map(|entry| entry.expect("entry").file_name()).collect();
        names.sort();
        assert_eq!(names, [LOCK, "link.yaml", "real.yaml"]);
    }

    #[test]
    fn edits_of_others_are_not_lost_and_ours_neither() {
        const OURS: usize = 15;
        const THEIRS: usize = 20;
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("x.yaml");
        fs::write(&path, "").expect("write");
        thread::scope(|scope| {
            for writer in 0..3 {
                let (path, dir) = (&path, dir.path());
                scope.spawn(move || {
                    for number in 0..OURS {
                        let lock = WriteLock::take(dir).expect("a lock");
                        let add = |text: Option<&str>| {
                            Ok::<_, Refused>(text.map(|text| format!("{text}{writer}-{number}\n")))
                        };
                        assert!(lock.rewrite(path, add).expect("written"));
                    }
                });
            }
            // A person who knows nothing of locks, and puts back what of ours the own edits have overwritten.
            scope.spawn(|| {
                let (aside, mut lines) = (path.with_extension("theirs"), Vec::new());
                for number in 0.. {
                    lines.extend((number < THEIRS).then(|| format!("hand-{number}\n")));
                    if lines.is_empty() {
                        break;
                    }
                    let text = fs::read_to_string(&path).expect("text");
                    fs::write(&aside, format!("{text}{}", lines.concat())).expect("write");
                    exchange::exchange(&aside, &path).expect("exchange");
                    let overwritten = fs::read_to_string(&aside).expect("text");
                    let lost = |line: &&str| !text.split_inclusive('\n').any(|known| known == *line);
                    lines = overwritten.split_inclusive('\n').filter(lost).map(str::to_owned).collect();
                    thread::sleep(Duration::from_millis(15));
                }
            });
        });
        let text = fs::read_to_string(&path).expect("text");
        let ours = (0..3).flat_map(|writer| (0..OURS).map(move |number| format!("{writer}-{number}")));
        for line in ours.chain((0..THEIRS).map(|number| format!("hand-{number}"))) {
            assert!(text.lines().any(|found| *found == line), "{line} is lost:\n{text}");
        }
    }

    #[test]
    fn what_somebody_saves_just_then_stays_and_is_edited() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("x.yaml");
        fs::write(&path, "first\n").expect("write");
        let lock = WriteLock::take(dir.path()).expect("a lock");
        let mut seen = Vec::new();
        let done = lock.rewrite(&path, |text| {
            let text = text.expect("there").to_owned();
            if seen.len() < 3 {
                replace(&path, seen.len(), &format!("hand {}\n", seen.len()));
            }
            seen.push(text.clone());
            Ok::<_, Refused>(Some(format!("{text}ours\n")))
        });
        assert!(done.expect("written"));
        assert_eq!(seen, ["first\n", "hand 0\n", "hand 1\n", "hand 2\n"]);
        assert_eq!(fs::read_to_string(&path).expect("text"), "hand 2\nours\n");
    }
}
