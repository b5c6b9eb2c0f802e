//! What a container wrote last.

use std::time::Duration;

use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::engine::Engine;

/// So many lines are kept, as of processes.
const KEPT_LINES: usize = 20;
/// Lines of earlier runs may stand between.
const READ_LINES: &str = "60";
/// A line is cut behind so many bytes.
const LONGEST_LINE: usize = 1024;
/// The engine may have a log driver that takes its time.
const LIMIT: Duration = Duration::from_secs(2);

/// The last lines since the moment `after`, oldest first; none where the log cannot be read.
pub(super) async fn last_lines(engine: &Engine, id: &str, after: &str) -> Vec<String> {
    let read = async {
        let client = engine.client().await.ok()?;
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).timestamps(true).tail(READ_LINES);
        let mut chunks = std::pin::pin!(client.logs(id, Some(options.build())));
        let mut lines = Vec::new();
        while let Some(Ok(chunk)) = chunks.next().await {
            let text = String::from_utf8_lossy(&chunk.into_bytes()).into_owned();
            lines.extend(text.lines().filter_map(|line| since(line, after)));
        }
        let first = lines.len().saturating_sub(KEPT_LINES);
        Some(lines.split_off(first))
    };
    timeout(LIMIT, read).await.ok().flatten().unwrap_or_default()
}

/// A line without its time, if it was written after that moment. Both times are UTC, without the zeros at their end.
fn since(line: &str, after: &str) -> Option<String> {
    let (time, text) = line.split_once(' ').unwrap_or((line, ""));
    let is_later = time.trim_end_matches('Z') > after.trim_end_matches('Z');
    let cut = text.floor_char_boundary(LONGEST_LINE);
    is_later.then(|| text[..cut].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_earlier_runs_are_left_out() {
        let after = "2026-11-25T15:00:01.1Z";
        assert_eq!(since("2026-11-25T15:00:01.099Z old", after), None);
        assert_eq!(since("2026-11-25T15:00:01.123456789Z a b", after).as_deref(), Some("a b"));
        assert_eq!(since("2026-11-25T15:00:02Z", after).as_deref(), Some(""));
    }
}
