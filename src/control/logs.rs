//! What the containers of a version write, by the engine and without a server.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use bytes::Bytes;
use futures_util::future::ready;
use futures_util::stream::{SelectAll, once, select_all};
use futures_util::{Stream, StreamExt as _};
use tokio::time::sleep;

use super::containers::Made;
use crate::lifecycle::provider::docker::engine::Engine;
use crate::lifecycle::provider::docker::engine_error::EngineError;

/// How soon a container that has come up is noticed while logs are followed.
const LOOK: Duration = Duration::from_secs(1);

/// What of the logs is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Whether to go on with what is written from now on, until dropped.
    pub follow: bool,
    /// So many of the last lines of each container; all where `None`.
    pub tail: Option<u32>,
}

/// The name of a container and a piece of its log; none when that has ended.
type Pieces = Pin<Box<dyn Stream<Item = (Made, Option<Result<Bytes, EngineError>>)>>>;

/// Gives what containers have written to `out`, with each one's name. `list` tells which there are; where logs are followed it is asked
/// again, since containers come and go.
///
/// # Errors
/// The engine cannot be asked, or `out` fails.
pub async fn read<E: From<EngineError>>(
    engine: &Engine,
    wanted: Wanted,
    list: impl AsyncFn() -> Result<Vec<Made>, EngineError>,
    mut out: impl FnMut(&str, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut streams: SelectAll<Pieces> = select_all([]);
    // When the log of each was read to its end; none while it is read.
    let mut read: HashMap<String, Option<i32>> = HashMap::new();
    for container in list().await? {
        streams.push(pieces(engine, &container, wanted.follow, wanted.tail, None).await?);
        read.insert(container.id, None);
    }
    loop {
        tokio::select! {
            piece = streams.next(), if !streams.is_empty() => match piece {
                Some((container, Some(piece))) => out(&container.name, &piece?)?,
                Some((container, None)) => drop(read.insert(container.id, Some(seconds()))),
                None => {}
            },
            () = sleep(LOOK), if wanted.follow => {
                for container in list().await?.into_iter().filter(|container| container.is_running) {
                    let since = match read.get(&container.id) {
                        Some(None) => continue,
                        Some(Some(ended)) => Some(*ended),
                        None => None,
                    };
                    streams.push(pieces(engine, &container, true, None, since).await?);
                    read.insert(container.id, None);
                }
            }
            else => return Ok(()),
        }
    }
}

async fn pieces(
    engine: &Engine,
    container: &Made,
    follow: bool,
    tail: Option<u32>,
    since: Option<i32>,
) -> Result<Pieces, EngineError> {
    let client = engine.client().await?;
    let tail = tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).follow(follow).tail(&tail);
    let options = options.since(since.unwrap_or(0)).build();
    let (this, engine) = (container.clone(), engine.clone());
    let logs = client.logs(&container.id, Some(options));
    let pieces = logs.map(move |piece| Some(piece.map(LogOutput::into_bytes).map_err(|error| engine.error(error))));
    let all = pieces.chain(once(ready(None)));
    Ok(Box::pin(all.map(move |piece| (this.clone(), piece))))
}

fn seconds() -> i32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i32::try_from(now.as_secs()).unwrap_or(i32::MAX)
}
