//! What a connection costs that is open and has nothing to do.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::client::{Client, Fault, Stream};
use crate::load::{self, Requests};
use crate::process::Process;

/// How many connections open at once: more would have the proxy grow for the burst and not for those that idle.
const AT_ONCE: usize = 32;

/// Before the first look the proxy has served so many connections for so long, so that what it allocates once is there.
const WARM_UP: Duration = Duration::from_secs(1);

/// Memory counts once it has not moved for so many steps of half a second: before the connections ...
const STILL_BEFORE: u32 = 4;

/// ... and after them, when what is not used any more is given back in turns, seconds apart ...
const STILL_AFTER: u32 = 12;

/// ... and at the latest after so many steps.
const MOST: u32 = 60;

/// What the memory grew by per connection, in KiB, and what went wrong.
pub(crate) fn measure(
    process: &Process,
    address: SocketAddr,
    requests: &Arc<Requests>,
    count: usize,
) -> io::Result<(f64, Vec<String>)> {
    let mut faults = load::run(address, requests, AT_ONCE, WARM_UP)?.faults;
    let before = settled(process, STILL_BEFORE)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (kept, failed) = runtime.block_on(open(address, requests, count));
    faults.extend(failed);
    let after = settled(process, STILL_AFTER)?;
    Ok((after.saturating_sub(before) as f64 / kept.len().max(1) as f64, faults))
}

async fn open(address: SocketAddr, requests: &Arc<Requests>, count: usize) -> (Vec<Stream>, Vec<String>) {
    let (mut kept, mut faults, mut tasks) = (Vec::with_capacity(count), Vec::new(), JoinSet::new());
    for started in 0.. {
        if started >= AT_ONCE || started >= count {
            let Some(task) = tasks.join_next().await else { break };
            match task
                .map_err(|error| error.to_string())
                .and_then(|opened: Result<_, Fault>| opened.map_err(|fault| fault.to_string()))
            {
                Ok(stream) => kept.push(stream),
                Err(fault) => faults.push(fault),
            }
        }
        if started < count {
            let requests = Arc::clone(requests);
            tasks.spawn(async move {
                let mut client = Client::connect(address, &mut requests.dialer()).await?;
                client.exchange(requests.next(), requests.expected()).await?;
                Ok(client.idle())
            });
        }
    }
    (kept, faults)
}

/// The resident memory when it has come to rest, in KiB.
fn settled(process: &Process, enough: u32) -> io::Result<u64> {
    let (mut last, mut still) = (process.rss_kib()?, 0);
    for _ in 0..MOST {
        thread::sleep(Duration::from_millis(500));
        let now = process.rss_kib()?;
        // Half a per cent is the noise of what runs in the background.
        still = if now.abs_diff(last) * 200 <= last { still + 1 } else { 0 };
        last = now;
        if still == enough {
            break;
        }
    }
    Ok(last)
}
