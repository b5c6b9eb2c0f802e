//! The last column of the table: why a version is in its state, in a few words.

use super::{duration, number, plain};
use crate::control::status::{AwakeStatus, VersionStatus};

/// Characters of a cause that are shown; `--json` has all of it.
const LONGEST: usize = 100;

/// Why, and then what the file remarks.
pub(super) fn about(version: &VersionStatus) -> String {
    let parts = [why(version), version.remark.as_deref().map(plain)];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Why it is in its state.
pub(crate) fn why(version: &VersionStatus) -> Option<String> {
    match version.state.as_str() {
        "asleep" if version.why.as_deref() == Some("paused") => version.why.clone(),
        "asleep" => {
            let failed = version.wakes.first()?.failed.as_deref()?;
            Some(format!("the last wake failed: {}", short(failed)))
        }
        "starting" => version.starting_ms.map(|millis| {
            let typical = version.typical_start_ms.map(|millis| format!(" of about {}", seconds(millis)));
            format!("for {}{}", seconds(millis), typical.unwrap_or_default())
        }),
        "failed" => {
            let why = version.why.as_deref().map(short)?;
            let again = version.backoff_ms.map(|millis| format!(" (not tried again for {})", seconds(millis)));
            Some(format!("{why}{}", again.unwrap_or_default()))
        }
        _ => {
            version.why.as_deref().map(short).or_else(|| version.awake.as_ref().and_then(|awake| kept(awake, version)))
        }
    }
}

fn kept(awake: &AwakeStatus, version: &VersionStatus) -> Option<String> {
    let sleeps = awake.sleeps_in.map(|seconds| format!("sleeps in {}", duration(seconds)));
    let tunnels = (awake.tunnels > 0).then(|| number(awake.tunnels, "tunnel"));
    match awake.because.as_str() {
        "keep" => Some("never sleeps (keep)".to_owned()),
        "never" => Some("never sleeps (stop_after: off)".to_owned()),
        "min" => version.replicas.map(|replicas| format!("never sleeps (min {})", replicas.min)),
        "requests" => Some(format!("awake for {}", number(awake.requests, "request"))),
        _ => {
            let parts: Vec<String> = [tunnels, sleeps].into_iter().flatten().collect();
            (!parts.is_empty()).then(|| parts.join(", "))
        }
    }
}

/// What leads over to the output of a process, which `--json` shows.
const LEADS_OVER: &str = "; its last lines:";

/// The first line, if need be cut off.
fn short(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_suffix(LEADS_OVER).unwrap_or(line);
    let mut short: String = plain(line).chars().take(LONGEST).collect();
    if short.len() < line.len() || text.lines().nth(1).is_some() {
        short.push_str(" ...");
    }
    short
}

/// `40ms`, `1.2s`.
fn seconds(millis: u64) -> String {
    if millis < 1_000 { format!("{millis}ms") } else { format!("{:.1}s", millis as f64 / 1e3) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::status::{ReplicasStatus, WakeStatus};

    fn version(state: &str) -> VersionStatus {
        VersionStatus { state: state.into(), ..VersionStatus::default() }
    }

    fn awake(because: &str, requests: u64, tunnels: u64, sleeps_in: Option<u64>) -> VersionStatus {
        let awake = Some(AwakeStatus { because: because.into(), requests, tunnels, sleeps_in });
        let replicas = Some(ReplicasStatus { min: 2, max: 5, ..ReplicasStatus::default() });
        VersionStatus { awake, replicas, ..version("normal") }
    }

    #[test]
    fn says_what_keeps_a_version_awake() {
        let said = [
            awake("idle", 0, 0, Some(42)),
            awake("tunnels", 0, 3, Some(3_661)),
            awake("requests", 1, 3, None),
            awake("min", 0, 0, None),
            awake("keep", 0, 0, None),
            awake("never", 7, 0, None),
            awake("something newer", 0, 0, None),
        ]
        .map(|version| about(&version));
        let expected = [
            "sleeps in 42s",
            "3 tunnels, sleeps in 1h 1m",
            "awake for 1 request",
            "never sleeps (min 2)",
            "never sleeps (keep)",
            "never sleeps (stop_after: off)",
            "",
        ];
        assert_eq!(said, expected);
        let at_max = VersionStatus {
            why: Some("at max, 7 waiting".into()),
            remark: Some("first".into()),
            ..awake("requests", 9, 0, None)
        };
        assert_eq!(about(&at_max), "at max, 7 waiting; first");
    }

    #[test]
    fn a_start_says_how_long_it_takes_and_a_failure_its_first_line() {
        let starting = VersionStatus {
            starting_ms: Some(850),
            typical_start_ms: Some(1_240),
            why: Some("4 requests wait for it".into()),
            ..version("starting")
        };
        assert_eq!(about(&starting), "for 850ms of about 1.2s");
        let why = format!("exited before it was ready: exit code 3; its last lines:\n{}", "no such table ".repeat(50));
        let failed = VersionStatus { why: Some(why.clone()), backoff_ms: Some(500), ..version("failed") };
        assert_eq!(about(&failed), "exited before it was ready: exit code 3 ... (not tried again for 500ms)");
        let wake = WakeStatus { failed: Some(why), ..WakeStatus::default() };
        let asleep = VersionStatus { wakes: vec![wake, WakeStatus::default()], ..version("asleep") };
        assert_eq!(about(&asleep), "the last wake failed: exited before it was ready: exit code 3 ...");
        assert_eq!(about(&VersionStatus { wakes: vec![WakeStatus::default()], ..version("asleep") }), "");
        assert!(short(&"é".repeat(500)).chars().count() < LONGEST + 5);
    }
}
