//! What a version's process writes: each line goes to the log under the version's name, 1,000 a second at most, and the last ones are
//! kept for errors.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::task::{JoinSet, coop, yield_now};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use super::line_rate::LineRate;
use crate::model::name::VersionName;

/// The longest line in bytes; the rest of a longer one is dropped.
const LONGEST_LINE: usize = 8 * 1024;
/// How many lines are kept.
const KEPT_LINES: usize = 20;
/// The pipes end with the last process that holds them. One handed to a stranger must not hold up the news of an exit.
const END_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the news of a program's end, or of a start that took too long, waits for its last lines.
pub(super) const LAST_LINES_TIMEOUT: Duration = Duration::from_millis(20);

type Tail = Arc<Mutex<VecDeque<String>>>;

/// The streams of one process. Once dropped, they are still read until they end.
#[derive(Debug, Default)]
pub(super) struct Output {
    // Held to push or copy 20 lines.
    tail: Tail,
    rate: LineRate,
    readers: JoinSet<()>,
}

impl Output {
    /// Its lines count against `rate`, which others of the same version share.
    pub(super) fn with_rate(rate: LineRate) -> Self {
        Self { tail: Tail::default(), rate, readers: JoinSet::new() }
    }

    /// Logs each line of `source` under `version` and the stream's name, as a task of the current runtime.
    pub(super) fn log(
        &mut self,
        version: VersionName,
        stream: &'static str,
        source: impl AsyncRead + Unpin + Send + 'static,
    ) {
        let log = Log { version, stream, rate: self.rate.clone() };
        self.read(source, Some(log));
    }

    /// Keeps the last lines of `source` without logging them.
    pub(super) fn keep(&mut self, source: impl AsyncRead + Unpin + Send + 'static) {
        self.read(source, None);
    }

    fn read(&mut self, source: impl AsyncRead + Unpin + Send + 'static, log: Option<Log>) {
        let tail = Arc::clone(&self.tail);
        self.readers.spawn(async move {
            let mut source = BufReader::new(source);
            // An error of a pipe is its end.
            while let Ok(Some(line)) = next_line_or_tally(&mut source, log.as_ref()).await {
                if let Some(log) = &log {
                    log.line(&line);
                }
                {
                    let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
                    if tail.len() == KEPT_LINES {
                        tail.pop_front();
                    }
                    tail.push_back(line);
                }
                // Lines that are in memory already would be no reason to let others have a turn.
                coop::consume_budget().await;
            }
            if let Some(log) = &log {
                log.left_out(log.rate.tally());
            }
        });
    }

    /// Waits until all that was written has been read. Can be cancelled and called again.
    pub(super) async fn ended(&mut self) {
        // What is still open after that belongs to a stranger; the lines so far are what there is to say.
        self.ended_within(END_TIMEOUT).await;
    }

    /// The same, for `limit` at most.
    pub(super) async fn ended_within(&mut self, limit: Duration) {
        let all = async { while self.readers.join_next().await.is_some() {} };
        if timeout(limit, all).await.is_err() {
            // On a busy host, what the pipes hold and the end of the time become known in the same turn.
            yield_now().await;
        }
    }

    /// The last lines, oldest first.
    pub(super) fn last_lines(&self) -> Vec<String> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.readers.detach_all();
    }
}

/// Where lines go.
struct Log {
    version: VersionName,
    stream: &'static str,
    rate: LineRate,
}

impl Log {
    fn line(&self, line: &str) {
        let admitted = self.rate.admit(Instant::now());
        self.left_out(admitted.left_out);
        if admitted.log {
            info!(target: "tidegate::version", version = %self.version, stream = self.stream, "{line}");
        }
    }

    fn left_out(&self, lines: u64) {
        if lines > 0 {
            warn!(target: "tidegate::version", version = %self.version, "{lines} lines left out: it writes too many");
        }
    }
}

/// The next line; while it does not come, the log is told how many were left out before.
async fn next_line_or_tally(source: &mut (impl AsyncBufRead + Unpin), log: Option<&Log>) -> io::Result<Option<String>> {
    let mut next = pin!(next_line(source));
    while let Some(log) = log {
        let Some(due) = log.rate.tally_due() else { break };
        match timeout_at(due, next.as_mut()).await {
            Ok(line) => return line,
            Err(_) => log.left_out(log.rate.tally()),
        }
    }
    next.await
}

/// Reads a line of any length in bounded memory; `None` at the end. What is not UTF-8 is replaced.
async fn next_line(source: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut seen = false;
    loop {
        let available = source.fill_buf().await?;
        if available.is_empty() {
            break;
        }
        seen = true;
        let end = available.iter().position(|byte| *byte == b'\n');
        let part = &available[..end.unwrap_or(available.len())];
        line.extend_from_slice(&part[..part.len().min(LONGEST_LINE - line.len())]);
        let consumed = end.map_or(part.len(), |end| end + 1);
        source.consume(consumed);
        if end.is_some() {
            break;
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(seen.then(|| String::from_utf8_lossy(&line).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    async fn lines(text: &[u8]) -> Vec<String> {
        let mut source = BufReader::with_capacity(7, Cursor::new(text.to_vec()));
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut source).await.expect("memory does not fail") {
            lines.push(line);
        }
        lines
    }

    #[tokio::test]
    async fn splits_lines_and_keeps_the_unfinished_last_one() {
        assert_eq!(lines(b"one\r\n\nthree\xff\nlast").await, ["one", "", "three\u{fffd}", "last"]);
        assert!(lines(b"").await.is_empty());
    }

    #[tokio::test]
    async fn cuts_a_long_line_and_goes_on_with_the_next() {
        let text = format!("{}\nnext\n", "x".repeat(100_000));
        let lines = lines(text.as_bytes()).await;
        assert_eq!((lines[0].len(), lines[1].as_str()), (LONGEST_LINE, "next"));
    }

    #[tokio::test]
    async fn keeps_the_last_twenty_lines() {
        let mut output = Output::default();
        let service = crate::model::name::ServiceName::new("shop").expect("a name");
        let text: String = (0..50).map(|n| format!("line {n}\n")).collect();
        output.log(VersionName::numbered(&service, 1), "stdout", Cursor::new(text.into_bytes()));
        output.ended().await;
        let kept = output.last_lines();
        assert_eq!((kept.len(), kept[0].as_str(), kept[19].as_str()), (20, "line 30", "line 49"));
    }
}
