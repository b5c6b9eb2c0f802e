//! The thread that writes the access log.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    mem,
    path::Path,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{EARLY_BYTES, Shared, Target};

/// How long lines may wait for others to be written with them.
const GATHER: Duration = Duration::from_millis(100);

pub(super) struct Writer {
    target: Target,
    /// None is standard output.
    file: Option<File>,
    shared: Arc<Shared>,
    /// Swapped with a lane's buffer; both stay allocated.
    spare: Vec<u8>,
    /// The last write failed, perhaps in the middle of a line.
    failing: bool,
}

impl Writer {
    pub(super) fn open(target: Target, shared: Arc<Shared>) -> io::Result<Self> {
        let file = open(&target)?;
        Ok(Self { target, file, shared, spare: Vec::new(), failing: false })
    }

    /// Until the log is closed. Sleeps without a timer while there is nothing to write.
    pub(super) fn run(mut self) {
        loop {
            self.gather();
            // In this order: what was recorded before goes out before, and to the old file.
            let close = self.shared.close.load(Ordering::Acquire);
            let reopen = self.shared.reopen.swap(false, Ordering::Acquire);
            self.write_lanes();
            if close {
                return;
            }
            if reopen {
                match open(&self.target) {
                    Ok(file) => self.file = file,
                    Err(error) => tracing::warn!("cannot reopen {}: {error}; the old file is kept", name(&self.target)),
                }
            }
        }
    }

    fn gather(&self) {
        let shared = &self.shared;
        let urgent = || shared.urgent.swap(false, Ordering::Acquire);
        // A line is announced before the thread is woken, so none is slept through.
        while !shared.waiting.swap(false, Ordering::Acquire) {
            if urgent() {
                return;
            }
            thread::park();
        }
        let until = Instant::now() + GATHER;
        while !urgent() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }

    fn write_lanes(&mut self) {
        let shared = Arc::clone(&self.shared);
        for lane in &shared.lanes {
            let mut lines = lane.lock();
            mem::swap(&mut lines.bytes, &mut self.spare);
            let number = mem::take(&mut lines.number);
            drop(lines);
            if number > 0 && !self.write() {
                shared.dropped.fetch_add(number, Ordering::Relaxed);
            }
            self.spare.clear();
            self.spare.shrink_to(EARLY_BYTES);
        }
    }

    fn write(&mut self) -> bool {
        if self.failing {
            // So that half a line spoils no whole one.
            self.spare.insert(0, b'\n');
        }
        let done = match &mut self.file {
            Some(file) => file.write_all(&self.spare),
            None => io::stdout().lock().write_all(&self.spare).and_then(|()| io::stdout().flush()),
        };
        if let (Err(error), false) = (&done, self.failing) {
            tracing::warn!("cannot write {}: {error}; lines are lost", name(&self.target));
        }
        self.failing = done.is_err();
        !self.failing
    }
}

fn open(target: &Target) -> io::Result<Option<File>> {
    match target {
        Target::Stdout => Ok(None),
        Target::File(path) => OpenOptions::new().append(true).create(true).open(path).map(Some),
    }
}

fn name(target: &Target) -> impl std::fmt::Display {
    match target {
        Target::Stdout => Path::new("the access log on standard output").display(),
        Target::File(path) => path.display(),
    }
}
