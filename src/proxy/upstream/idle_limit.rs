//! How long a connection to an instance may idle and still be used: a request that meets a backend's close is lost, or sent twice.
//!
//! Many servers say it (`Keep-Alive: timeout=5`, the 5 s of Node.js and Apache), and others show it, by closing what idles. Times are
//! of the thread's coarse clock, in milliseconds.

use http::HeaderMap;

/// Connections are closed after this long without use, where nothing else is known: below the 60 s and more of most servers.
pub(super) const LONGEST: u64 = 55_000;

/// So long before a backend closes, a connection to it is no longer used: what is on its way then would arrive too late (the same as
/// undici, Node.js's own client). Half of it, where that is less.
const MARGIN: u64 = 2_000;

/// Closes of connections that idled for less say nothing: a backend that stops closes them too.
const LEAST_SEEN: u64 = 2_000;

/// Closes after times that differ by no more than this are of one rule; they are seen to the second.
const ALIKE: u64 = 1_500;

/// What was seen holds for so long; then connections are kept again, for the backend may have been set up anew.
const HOLDS: u64 = 10 * 60 * 1_000;

/// Before the limit that an answer announces, so long as an idle connection may be used; `None` where it announces nothing.
pub(super) fn announced(headers: &HeaderMap) -> Option<u32> {
    let seconds = headers.get("keep-alive")?.to_str().ok()?.split(',').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().parse::<u64>().ok())?
    })?;
    u32::try_from(before(seconds.saturating_mul(1_000))).ok()
}

/// With the margin taken off.
fn before(limit: u64) -> u64 {
    (limit - MARGIN.min(limit / 2)).min(LONGEST)
}

/// What an instance has shown by closing idle connections.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// How long the last one had idled, at least.
    closed_after: u64,
    /// When.
    at: u64,
    /// Whether one before it had idled for as long: only then it is a rule, and no backend that was stopped.
    twice: bool,
}

impl Seen {
    /// An idle connection was closed, after it had idled for at least `idled`.
    pub(super) fn closed(&mut self, idled: u64, now: u64) {
        if idled < LEAST_SEEN / 2 || now == self.at {
            return;
        }
        let alike = self.is_known(now) && self.closed_after.abs_diff(idled) <= ALIKE;
        let closed_after = if alike { self.closed_after.min(idled) } else { idled };
        *self = Self { closed_after, at: now, twice: alike };
    }

    /// How long a connection may idle.
    pub(super) fn limit(&self, now: u64) -> u64 {
        if self.twice && self.is_known(now) { before(self.closed_after) } else { LONGEST }
    }

    /// Whether there is anything that still holds.
    pub(super) fn is_known(&self, now: u64) -> bool {
        self.closed_after > 0 && now < self.at + HOLDS
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_is_announced_is_used_less_a_margin() {
        for (value, limit) in [
            ("timeout=5", Some(3_000)),
            ("timeout=5, max=100", Some(3_000)),
            ("max=100, Timeout = 75", Some(55_000)),
            ("timeout=57", Some(55_000)),
            ("timeout=4", Some(2_000)),
            ("timeout=1", Some(500)),
            ("timeout=0", Some(0)),
            ("timeout=99999999999999999999", None),
            ("timeout=18446744073709551615", Some(55_000)),
            ("timeout=-1", None),
            ("timeout", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("keep-alive", HeaderValue::from_static(value));
            assert_eq!(announced(&headers), limit, "{value}");
        }
        assert_eq!(announced(&HeaderMap::new()), None);
    }

    #[test]
    fn what_is_seen_twice_is_a_rule_for_a_while() {
        let mut seen = Seen::default();
        assert_eq!(seen.limit(0), LONGEST);
        seen.closed(5_100, 10_000);
        assert_eq!(seen.limit(10_000), LONGEST, "once");
        seen.closed(5_900, 20_000);
        assert_eq!(seen.limit(20_000), 3_100);
        assert_eq!(seen.limit(20_000 + HOLDS), LONGEST, "forgotten");
        seen.closed(5_900, 20_000 + HOLDS);
        assert_eq!(seen.limit(20_000 + HOLDS), LONGEST, "begun anew");
    }

    #[test]
    fn a_backend_that_stops_teaches_nothing() {
        let mut seen = Seen::default();
        // All at once, after whatever times.
        for idled in [0, 900, 30_000, 30_100, 30_200] {
            seen.closed(idled, 40_000);
        }
        seen.closed(9_000, 50_000);
        seen.closed(20_000, 80_000);
        assert_eq!(seen.limit(80_000), LONGEST);
    }
}
