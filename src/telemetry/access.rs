//! The access log: one JSON object per request, off unless configured, and free then.
//!
//! A data thread formats its line into a buffer of its own, behind a lock that is contended only in the moment when the one
//! writer thread swaps the buffer for an empty one; there is no allocation and no wake-up per line. A disk that is too slow, or
//! full, costs lines (they are counted), never a request's time.

mod line;
mod writer;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver},
    },
    thread::{self, Thread},
    time::Duration,
};

pub use line::{Entry, Failure};
use writer::Writer;

/// How many bytes of lines may wait for the writer per data thread.
const LANE_BYTES: usize = 1024 * 1024;
/// With this many waiting, the writer does not wait for more.
const EARLY_BYTES: usize = 256 * 1024;
/// How long the last lines may take when the log is closed. A pipe that nobody reads must not hold up the end.
const CLOSING: Duration = Duration::from_secs(1);

/// Where the lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file, which is appended to and never truncated.
    File(PathBuf),
}

impl Target {
    /// `-` is standard output.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        if path.as_os_str() == "-" { Self::Stdout } else { Self::File(path.to_owned()) }
    }
}

/// An open access log. Dropping it writes what waits (for at most a second).
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
    writer: Thread,
    /// Ends when the writer thread does. The lock is for `Sync` only; nobody takes it.
    ended: Mutex<Receiver<()>>,
}

#[derive(Debug)]
struct Shared {
    lanes: Box<[Lane]>,
    /// Lines wait.
    waiting: AtomicBool,
    /// They wait to be written at once.
    urgent: AtomicBool,
    reopen: AtomicBool,
    close: AtomicBool,
    dropped: AtomicU64,
}

/// One data thread's buffer, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    number: u64,
}

impl AccessLog {
    /// Opens the log and starts its writer, for `threads` data threads.
    ///
    /// # Errors
    /// Where the file cannot be opened for appending, or no thread be started.
    pub fn open(target: Target, threads: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            lanes: (0..threads.max(1)).map(|_| Lane::default()).collect(),
            waiting: AtomicBool::new(false),
            urgent: AtomicBool::new(false),
            reopen: AtomicBool::new(false),
            close: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
        });
        let writer = Writer::open(target, Arc::clone(&shared))?;
        let (alive, ended) = mpsc::channel();
        let writer = thread::Builder::new().name("access-log".into()).spawn(move || {
            writer.run();
            drop(alive);
        })?;
        Ok(Self { shared, writer: writer.thread().clone(), ended: Mutex::new(ended) })
    }

    /// Logs a request that is over. `thread` is the number of the data thread that calls, so that threads stay out of each
    /// other's way; any number does no harm.
    pub fn record(&self, thread: usize, entry: &Entry<'_>) {
        let lane = &self.shared.lanes[thread % self.shared.lanes.len()];
        let mut lines = lane.lock();
        let before = lines.bytes.len();
        if before >= LANE_BYTES {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        entry.write(&mut lines.bytes);
        lines.number += 1;
        let after = lines.bytes.len();
        drop(lines);
        if before == 0 {
            self.shared.waiting.store(true, Ordering::Release);
            self.writer.unpark();
        } else if before < EARLY_BYTES && after >= EARLY_BYTES {
            self.hurry();
        }
    }

    /// Opens the file anew, after what waits has gone to the old one. For `SIGHUP` after a rotation by rename. Returns at once;
    /// where the file cannot be opened, a warning says so and the old one is kept.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        self.hurry();
    }

    /// Lines lost so far, because the writer did not keep up or could not write.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    fn hurry(&self) {
        self.shared.urgent.store(true, Ordering::Release);
        self.writer.unpark();
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.shared.close.store(true, Ordering::Release);
        self.hurry();
        // Nothing is ever sent: the channel only ends, or does not in time.
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(CLOSING) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("the access log could not be written out within {CLOSING:?}; its last lines are lost");
        }
    }
}

impl Lane {
    /// Held for the formatting of one line, or a swap.
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        time::{Instant, SystemTime},
    };

    use super::*;

    fn entry(path: &str) -> Entry<'_> {
        Entry {
            at: SystemTime::UNIX_EPOCH,
            elapsed: Duration::from_micros(1_234),
            client: [127, 0, 0, 1].into(),
            protocol: "HTTP/1.1",
            method: "GET",
            host: "shop.localhost",
            path,
            query: None,
            status: Some(200),
            bytes_in: 0,
            bytes_out: 12,
            service: Some("shop"),
            version: Some("shop-001"),
            choice: "weight",
            instance: Some("127.0.0.1:20000"),
            error: None,
            user_agent: None,
        }
    }

    fn lines(path: &Path) -> Vec<serde_json::Value> {
        fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    fn wait_until(what: &str, done: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !done() {
            assert!(Instant::now() < deadline, "{what}");
            thread::yield_now();
        }
    }

    #[test]
    fn threads_write_whole_lines_and_closing_loses_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        fs::write(&path, "{\"before\":1}\n").unwrap();
        let log = AccessLog::open(Target::of(&path), 4).unwrap();
        thread::scope(|scope| {
            for n in 0..4 {
                let log = &log;
                scope.spawn(move || (0..500).for_each(|i| log.record(n, &entry(&format!("/{n}/{i}")))));
            }
        });
        assert_eq!(log.dropped(), 0);
        drop(log);

        let lines = lines(&path);
        assert_eq!(lines.len(), 2_001, "appended, and all there");
        for n in 0..4 {
            let of_thread = lines.iter().filter_map(|line| line["path"].as_str()?.strip_prefix(&format!("/{n}/")));
            assert!(of_thread.eq((0..500).map(|i| i.to_string())), "each thread's lines in order");
        }
    }

    #[test]
    fn lines_arrive_without_closing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = AccessLog::open(Target::of(&path), 1).unwrap();
        for n in 1..=3 {
            log.record(0, &entry("/"));
            wait_until("the line arrives", || lines(&path).len() == n);
        }
    }

    #[test]
    fn a_rotated_file_is_left_alone_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let log = AccessLog::open(Target::of(&path), 1).unwrap();
        log.record(0, &entry("/before"));
        fs::rename(&path, &old).unwrap();
        log.reopen();
        wait_until("the new file", || path.exists());
        log.record(0, &entry("/after"));
        drop(log);
        assert_eq!(lines(&old).iter().map(|line| &line["path"]).collect::<Vec<_>>(), ["/before"]);
        assert_eq!(lines(&path).iter().map(|line| &line["path"]).collect::<Vec<_>>(), ["/after"]);
    }

    #[test]
    fn a_writer_that_does_not_keep_up_costs_lines_and_no_time() {
        // A pipe takes 64 KiB; then the writer is stuck, for nobody reads.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let reader = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let log = AccessLog::open(Target::of(&path), 1).unwrap();
        let long = "/x".repeat(2_000);
        wait_until("the buffer is full", || {
            log.record(0, &entry(&long));
            log.dropped() > 0
        });
        drop(reader);
    }

    #[test]
    fn a_disk_that_is_full_costs_lines_that_are_counted() {
        let log = AccessLog::open(Target::of(Path::new("/dev/full")), 1).unwrap();
        log.record(0, &entry("/"));
        wait_until("the line is given up", || log.dropped() == 1);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(AccessLog::open(Target::of(folder.path()), 1).is_err());
    }
}
