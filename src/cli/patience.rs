//! What a person is told while a command takes long.

use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::status::about;
use crate::admin::client::Client;
use crate::control::status::{Status, VersionStatus};

/// How long a command may take before a person wonders whether it hangs.
const SOON: Duration = Duration::from_secs(1);

/// Does `work`; if it is not over soon, says on standard error what it waits for.
pub(super) fn telling<T>(client: &Client, version: &str, work: impl FnOnce() -> T) -> T {
    thread::scope(|scope| {
        let (over, waits) = mpsc::channel::<()>();
        scope.spawn(move || {
            if waits.recv_timeout(SOON) == Err(RecvTimeoutError::Timeout) {
                // Nobody is left to read a closed standard error.
                let _told = writeln!(io::stderr(), "{}", waits_for(client, version));
            }
        });
        let done = work();
        drop(over);
        done
    })
}

fn waits_for(client: &Client, version: &str) -> String {
    // Without an answer less is said; the command itself says what is wrong.
    let status: Option<Status> = client.get_json("/status").ok();
    let mut versions = status.iter().flat_map(|status| &status.services).flat_map(|service| &service.versions);
    versions.find(|found| found.name == version).map_or_else(|| format!("waits for {version}"), said)
}

fn said(version: &VersionStatus) -> String {
    let (name, why) = (&version.name, about::why(version));
    match (version.state.as_str(), why) {
        ("draining", Some(why)) if version.in_flight > 0 => format!("waits for {why}"),
        ("draining", _) => format!("waits for {name} to stop"),
        ("starting", Some(why)) => format!("waits for {name}, which is starting {why}"),
        _ => format!("waits for {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_waited_for() {
        let version = VersionStatus { name: "shop-001".into(), ..VersionStatus::default() };
        let drains = |in_flight| VersionStatus {
            state: "draining".into(),
            in_flight,
            why: Some("1 request in flight".into()),
            ..version.clone()
        };
        assert_eq!(said(&drains(1)), "waits for 1 request in flight");
        assert_eq!(said(&drains(0)), "waits for shop-001 to stop");
        let starts = VersionStatus { state: "starting".into(), starting_ms: Some(1_000), ..version.clone() };
        assert_eq!(said(&starts), "waits for shop-001, which is starting for 1.0s");
        assert_eq!(said(&version), "waits for shop-001");
    }
}
