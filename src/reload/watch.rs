//! Notices that a file of the configuration changed, for the reloader.
//!
//! inotify (through `notify`) watches folders *and* files: folders see renames on save, swapped symlinks and files that are new;
//! a file's own watch sees writes made through another name of it (a hard link, the other side of a bind mount).
//! Events of one edit are gathered into one [`Changed`]. What inotify cannot tell (a parent of the folder was renamed, something
//! was mounted over it) a slow look at the inodes and times finds; where inotify itself is not to be had, the same look, taken more
//! often, stands in for it.

mod places;
mod set;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout_at},
};

use places::Places;
pub use set::WatchSet;

/// An edit is over when nothing has happened for this long; editors and `git` write several times within a millisecond.
pub const QUIET: Duration = Duration::from_millis(20);
/// The longest that a steady stream of events may put a reload off.
pub const CEILING: Duration = Duration::from_millis(200);
/// How often the files are looked at where inotify works, for what it cannot tell.
const SAFETY_NET: Duration = Duration::from_secs(5);
/// How often the files are looked at where inotify is not available.
const POLL: Duration = Duration::from_secs(2);
/// How many paths a [`Changed`] names at most; the rest of a large checkout is of no interest to a log line.
const NAMED: usize = 16;

/// Something in the watched set may have changed: read it again and compare.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changed {
    /// What was seen to change, with symlinks resolved, at most 16 of them. Empty where it is not known: for a set that is new,
    /// after an overflow, or where a look at the files found it.
    pub paths: BTreeSet<PathBuf>,
    /// Whether `paths` is all of it, and each one a file of a watched folder that was there before and is there now.
    pub is_all: bool,
}

/// Watches a [`WatchSet`]. Lives on the control thread; dropping it ends the watching.
#[derive(Debug)]
pub struct Watcher {
    set: WatchSet,
    shared: Arc<Shared>,
    inotify: Option<RecommendedWatcher>,
    /// What `notify` was told to watch.
    armed: BTreeMap<PathBuf, Armed>,
    fingerprint: u64,
    look_every: Duration,
    /// When they were looked at last; a wait that is cancelled does not put the next look off.
    looked: Instant,
    /// The next change is more than the paths that come with it.
    unnamed: bool,
    /// A change was noticed and not reported yet; it survives a `next_change` that was cancelled while it waited for quiet.
    pending: bool,
}

/// What was found at a path when it was watched.
#[derive(Debug)]
struct Armed {
    /// The inode and its device.
    inode: Option<(u64, u64)>,
    /// What it has added to the fingerprint, if it is a file.
    print: u64,
}

/// What the thread of `notify` shares with the watcher.
#[derive(Debug, Default)]
struct Shared {
    /// Held for a few lines at a time, and never while `notify` is called, whose thread takes it too.
    seen: Mutex<Seen>,
    signal: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    /// What counts as a change.
    places: Arc<Places>,
    changed: BTreeSet<PathBuf>,
    /// Removed or moved: `notify` has dropped its watches there, whatever is there now.
    gone: BTreeSet<PathBuf>,
    overflow: bool,
}

impl Watcher {
    /// Watches `set`. Where inotify cannot be had (its limit of instances is reached), warns with the cure and looks at the files
    /// every 2 s instead.
    ///
    /// The first [`next_change`](Self::next_change) returns at once, since an edit may have come between the reading of the files
    /// and this call.
    #[must_use]
    pub fn new(set: WatchSet) -> Self {
        let shared = Arc::new(Shared::default());
        let handler = Arc::clone(&shared);
        let inotify = notify::recommended_watcher(move |event| handler.take(event));
        let inotify = inotify.map_err(|error| warn_of_polling(None, &error, "max_user_instances")).ok();
        Self::start(set, shared, inotify, POLL)
    }

    fn start(set: WatchSet, shared: Arc<Shared>, inotify: Option<RecommendedWatcher>, poll: Duration) -> Self {
        let look_every = if inotify.is_some() { SAFETY_NET } else { poll };
        let armed = BTreeMap::new();
        let mut watcher = Self {
            set,
            shared,
            inotify,
            armed,
            fingerprint: 0,
            look_every,
            looked: Instant::now(),
            unnamed: true,
            pending: true,
        };
        watcher.arm();
        watcher
    }

    /// Watches `set` from now on. A set that differs from the one before counts as a change, for the reason that `new` gives; the
    /// same set again is free.
    pub fn set_paths(&mut self, set: WatchSet) {
        if set != self.set {
            self.set = set;
            self.arm();
            (self.unnamed, self.pending) = (true, true);
        }
    }

    /// Waits for a change, and then until nothing has happened for 20 ms, or 200 ms have passed. What happens after it returns
    /// makes the next one. Nothing is lost when the future is dropped.
    pub async fn next_change(&mut self) -> Changed {
        let paths = loop {
            if !self.pending {
                self.unnamed = self.noticed().await;
                self.pending = true;
            }
            self.quiet().await;
            let mut seen = self.shared.lock();
            let paths = std::mem::take(&mut seen.changed);
            if self.unnamed || seen.overflow || !paths.is_empty() {
                break paths;
            }
            // What called has been reported already.
            self.pending = false;
        };
        // Before the caller reads: what it finds is then either older than the watches or will be noticed by them.
        let is_all = !self.unnamed && self.arm_again(&paths);
        if !is_all {
            self.arm();
        }
        (self.unnamed, self.pending) = (false, false);
        Changed { paths, is_all }
    }

    /// Whether changes are found by looking every 2 s, because inotify could not be had for all that is watched.
    #[must_use]
    pub fn polls(&self) -> bool {
        self.look_every != SAFETY_NET
    }

    /// Waits for an event, or for a look at the files to find what had none; true if it did.
    async fn noticed(&mut self) -> bool {
        loop {
            tokio::select! {
                () = self.shared.signal.notified() => return false,
                () = sleep_until(self.looked + self.look_every) => {
                    self.looked = Instant::now();
                    if Places::trace(&self.set).fingerprint(self.polls(), |_, _| {}) != self.fingerprint {
                        return true;
                    }
                }
            }
        }
    }

    async fn quiet(&self) {
        let ceiling = Instant::now() + CEILING;
        loop {
            let quiet = ceiling.min(Instant::now() + QUIET);
            let more = timeout_at(quiet, self.shared.signal.notified()).await;
            if more.is_err() || Instant::now() >= ceiling {
                return;
            }
        }
    }

    /// Resolves the set and moves the watches to where it is now. Repeated while folders come and go beneath it; what is still
    /// moving after that has left an event behind.
    fn arm(&mut self) {
        let mut places = Arc::new(Places::trace(&self.set));
        for _ in 0..4 {
            self.move_watches(&places);
            let now = Places::trace(&self.set);
            if now == *places {
                break;
            }
            places = Arc::new(now);
        }
        self.looked = Instant::now();
        let polls = self.polls();
        let armed = &mut self.armed;
        self.fingerprint = places.fingerprint(polls, |file, print| {
            if let Some(armed) = armed.get_mut(file) {
                armed.print = print;
            }
        });
    }

    /// The same where nothing but these files may have changed, at a cost that does not grow with the number of all files. False if
    /// more than that may have happened; then [`Self::arm`] is needed.
    fn arm_again(&mut self, changed: &BTreeSet<PathBuf>) -> bool {
        let Some(inotify) = &mut self.inotify else { return false };
        let mut seen = self.shared.lock();
        let named = (1..NAMED).contains(&changed.len()) && seen.gone.is_subset(changed);
        let plain = || changed.iter().all(|path| seen.places.is_plain(path) && self.armed.contains_key(path));
        if self.look_every == POLL || seen.overflow || !named || !plain() {
            return false;
        }
        let gone = std::mem::take(&mut seen.gone);
        drop(seen);
        for path in changed {
            let Some(armed) = self.armed.get_mut(path) else { continue };
            let inode = places::inode(path); // before the watch, as below
            if armed.inode != inode || gone.contains(path) {
                drop(inotify.unwatch(path));
                if inotify.watch(path, RecursiveMode::NonRecursive).is_err() {
                    // What is gone is no less so for that.
                    self.shared.lock().gone.extend(gone);
                    return false;
                }
                armed.inode = inode;
            }
            let print = places::file_print(path);
            self.fingerprint = self.fingerprint.wrapping_sub(armed.print).wrapping_add(print);
            armed.print = print;
        }
        true
    }

    fn move_watches(&mut self, places: &Arc<Places>) {
        let mut seen = self.shared.lock();
        seen.places = Arc::clone(places);
        let gone = std::mem::take(&mut seen.gone);
        let overflow = std::mem::take(&mut seen.overflow);
        drop(seen);

        let Some(inotify) = &mut self.inotify else { return };
        let wanted: BTreeSet<&Path> = places.all().collect();
        self.armed.retain(|path, armed| {
            // `notify` drops a watch by its path, and all those below it. If it did so for a file that is there again, only a
            // fresh watch sees the new inode; and its record of the old one must go first, or its end would take the new one.
            let lost = overflow || gone.iter().any(|gone| path.starts_with(gone));
            let keep = !lost && wanted.contains(path.as_path()) && armed.inode == places::inode(path);
            if !keep {
                // "No such watch" is what an event that removed it has left.
                drop(inotify.unwatch(path));
            }
            keep
        });
        for path in wanted {
            if self.armed.contains_key(path) {
                continue;
            }
            let inode = places::inode(path); // before the watch: if it is replaced in between, the next time tells
            match inotify.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.armed.insert(path.to_owned(), Armed { inode, print: 0 });
                }
                Err(error) if is_missing(&error) => {} // gone since it was resolved; `arm` resolves again
                Err(error) => {
                    if self.look_every != POLL {
                        warn_of_polling(Some(path), &error, "max_user_watches");
                    }
                    self.look_every = POLL;
                }
            }
        }
    }
}

impl Shared {
    /// Called on the thread of `notify`, in the order of the events.
    fn take(&self, event: notify::Result<notify::Event>) {
        let mut seen = self.lock();
        match event {
            Ok(event) if !event.need_rescan() => {
                if places::removes(&event.kind) {
                    let gone: Vec<_> = event.paths.iter().filter(|path| seen.places.touches(path)).cloned().collect();
                    seen.gone.extend(gone);
                }
                if !places::matters(&event.kind) {
                    return;
                }
                let relevant: Vec<_> = event.paths.into_iter().filter(|path| seen.places.concerns(path)).collect();
                if relevant.is_empty() {
                    return;
                }
                for path in relevant {
                    if seen.changed.len() < NAMED {
                        seen.changed.insert(path);
                    }
                }
            }
            // The queue ran over, or could not be read: anything may have happened.
            Ok(_) | Err(_) => seen.overflow = true,
        }
        drop(seen);
        self.signal.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_missing(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn warn_of_polling(path: Option<&Path>, error: &notify::Error, limit: &str) {
    let reached = match &error.kind {
        ErrorKind::MaxFilesWatch => true,
        ErrorKind::Io(error) => matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENOSPC)),
        _ => false,
    };
    let cure = if reached {
        format!("; the limit is reached: raise it with `sysctl fs.inotify.{limit}=1048576` and restart tidegate")
    } else {
        String::new()
    };
    let what = path.map_or_else(|| "the files".to_owned(), |path| path.display().to_string());
    tracing::warn!("cannot watch {what} ({error}), so edits are noticed within 2 s instead of at once{cure}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn polling(set: WatchSet) -> Watcher {
        Watcher::start(set, Arc::new(Shared::default()), None, Duration::from_millis(5))
    }

    #[tokio::test]
    async fn without_inotify_a_look_at_the_files_finds_the_edit() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tidegate.yaml");
        std::fs::write(&file, "a").unwrap();
        let services = folder.path().join("services");
        let mut watcher = polling(WatchSet::new().file(&file).folder(&services));
        watcher.next_change().await;
        assert!(watcher.polls());

        for step in 0..4 {
            match step {
                0 => std::fs::write(&file, "longer").unwrap(),
                1 => std::fs::create_dir(&services).unwrap(),
                2 => std::fs::write(services.join("shop.yaml"), "a").unwrap(),
                _ => std::fs::remove_file(&file).unwrap(),
            }
            tokio::time::timeout(Duration::from_secs(60), watcher.next_change()).await.expect("the edit is found");
        }
    }

    #[tokio::test]
    async fn an_overflow_is_a_change_and_the_watches_are_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tidegate.yaml");
        std::fs::write(&file, "a").unwrap();
        let mut watcher = Watcher::new(WatchSet::new().file(&file));
        watcher.next_change().await;

        let overflow = notify::Event::new(notify::EventKind::Other).set_flag(notify::event::Flag::Rescan);
        watcher.shared.take(Ok(overflow));
        assert_eq!(watcher.next_change().await, Changed::default());

        std::fs::write(&file, "b").unwrap();
        let changed =
            tokio::time::timeout(Duration::from_secs(60), watcher.next_change()).await.expect("still watched");
        assert_eq!(changed.paths.len(), 1);
    }

    #[tokio::test]
    async fn after_an_edit_of_a_service_a_look_at_the_files_finds_nothing_new() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shop.yaml");
        std::fs::write(&file, "a").unwrap();
        let mut watcher = Watcher::new(WatchSet::new().folder(folder.path()));
        watcher.next_change().await;
        for text in ["b", "longer"] {
            std::fs::write(folder.path().join("new"), text).unwrap();
            std::fs::rename(folder.path().join("new"), &file).unwrap();
            let changed = tokio::time::timeout(Duration::from_secs(10), watcher.next_change()).await.expect("reported");
            assert!(changed.is_all);
            let now = Places::trace(&watcher.set).fingerprint(false, |_, _| {});
            assert_eq!(watcher.fingerprint, now);
        }
    }

    #[tokio::test]
    async fn a_cancelled_wait_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tidegate.yaml");
        std::fs::write(&file, "a").unwrap();
        let mut watcher = Watcher::new(WatchSet::new().file(&file));
        watcher.next_change().await;

        std::fs::write(&file, "b").unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut reported = None;
        while !watcher.pending && reported.is_none() {
            assert!(Instant::now() < deadline, "the write was never noticed");
            // Less than the quiet time, so that every one of these is cancelled, unless the machine sleeps over both times.
            reported = tokio::time::timeout(QUIET / 4, watcher.next_change()).await.ok();
        }
        let last = async {
            match reported {
                Some(changed) => changed,
                None => watcher.next_change().await,
            }
        };
        let changed = tokio::time::timeout(Duration::from_secs(60), last).await.expect("reported");
        // A look at the files, where inotify cannot be had, does not say which.
        assert!(changed.paths.len() == 1 || watcher.polls(), "{changed:?}");
    }

    // On a clock of its own: on that of the machine, a pause of somebody else's would be quiet.
    #[tokio::test(start_paused = true)]
    async fn a_steady_stream_of_events_does_not_put_the_change_off_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let mut watcher = polling(WatchSet::new().folder(folder.path()));
        watcher.next_change().await;

        let shared = Arc::clone(&watcher.shared);
        let started = Instant::now();
        let path = folder.path().canonicalize().unwrap().join("shop.yaml");
        let stream = async {
            loop {
                shared.take(Ok(notify::Event::new(notify::EventKind::Any).add_path(path.clone())));
                tokio::time::advance(QUIET / 4).await;
            }
        };
        tokio::select! {
            _ = watcher.next_change() => {}
            () = stream => unreachable!("it has no end"),
        }
        assert!(started.elapsed() >= CEILING, "{:?}", started.elapsed());
    }
}
