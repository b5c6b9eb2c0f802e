//! The first moment of a container's program, seen from outside while the engine is still busy with its start.
//!
//! The engine says that a container runs some milliseconds after its program does, on a busy host many, and requests wait. What can be
//! seen sooner: the container's address, once the engine has told that it joins its network, and that its first process is no longer the
//! runtime's. Before that moment its address must not be tried: the host would look for who has it, in vain, and not look again for a
//! second. Where this cannot be seen (another host, another process namespace, another runtime), the engine's word is waited for.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::watch;
use tokio::time::sleep;

use super::address::{self, Way};
use super::shared::Shared;
use crate::model::settings::Reach;

/// How often is looked. The timer's grain makes it 1 to 2 ms.
const PAUSE: Duration = Duration::from_millis(1);
/// What runc calls itself, in a container that is ready but for its program (its `libcontainer/nsenter`).
const RUNTIME: &str = "runc:[2:INIT]";

/// The way to `port` of a container that is being started, once its program runs; for ever where that cannot be seen. `happened` has been
/// subscribed to before the start.
pub(super) async fn way(shared: &Shared, id: &str, port: u16, mut happened: watch::Receiver<()>) -> Way {
    let found = async {
        let net = address_of(shared, id, &mut happened).await?;
        program_runs(id).await;
        Some(Way { address: SocketAddr::new(net.addr(), port), is_published: false })
    };
    match found.await {
        Some(way) => way,
        None => std::future::pending().await,
    }
}

/// Its address on the configured network; `None` where it is not reached by that.
async fn address_of(shared: &Shared, id: &str, happened: &mut watch::Receiver<()>) -> Option<IpNet> {
    if shared.settings.reach == Reach::Published {
        return None;
    }
    loop {
        happened.changed().await.ok()?;
        let client = shared.engine.client().await.ok()?;
        let network = client.inspect_network(&shared.settings.network, None).await.ok()?;
        let Some(end) = network.containers.and_then(|mut all| all.remove(id)) else { continue };
        let net: IpNet = end.ipv4_address?.parse().ok()?;
        return address::is_here(&[net]).then_some(net);
    }
}

/// Waits until its first process is no longer the runtime's, having seen that it was.
async fn program_runs(id: &str) {
    let mut first = None;
    loop {
        match first {
            None => first = processes(id).into_iter().find(|pid| name(*pid).is_some_and(|name| name == RUNTIME)),
            Some(pid) => match name(pid) {
                Some(name) if name == RUNTIME => {}
                Some(_) => return,
                // It has ended already, which the engine tells.
                None => std::future::pending().await,
            },
        }
        sleep(PAUSE).await;
    }
}

/// The processes of a container, from its control group, wherever the engine has put that.
fn processes(id: &str) -> Vec<u32> {
    let folders = ["/sys/fs/cgroup", "/sys/fs/cgroup/pids"];
    let mut paths = folders.iter().flat_map(|folder| {
        [format!("{folder}/docker/{id}/cgroup.procs"), format!("{folder}/system.slice/docker-{id}.scope/cgroup.procs")]
    });
    let list = paths.find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    list.lines().filter_map(|line| line.parse().ok()).collect()
}

fn name(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim_end().to_owned())
}
