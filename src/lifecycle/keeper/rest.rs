//! Sleep: when it begins, and how deep it is. A container that nobody asks for is paused first, which keeps it in memory and lets it
//! answer within milliseconds, and stopped when still nobody has come.

use std::time::Duration;

use tokio::time::Instant;

use super::member::Member;
use super::{Again, Closing, Keeper, Tier, idle};
use crate::lifecycle::gate_word::GateState;
use crate::lifecycle::provider::{End, Provider};

impl<P: Provider> Keeper<P> {
    pub(super) fn sleep_if_idle(&mut self, now: Instant, again: &mut Again) {
        let version = &self.order.version;
        let tier = if version.pauses_after().is_some() { Tier::Paused } else { Tier::Stopped };
        let may_sleep = self.order.min() == 0 && self.order.version.backend.is_ours();
        let Some(limit) = version.sleeps_after().filter(|_| may_sleep) else {
            return self.unit.set_idle_since(None);
        };
        let seen = self.unit.gate().seen();
        let busy = seen.leases() > self.unit.quiet() || seen.is_waited_for();
        let since = self.idle.look(now, busy, self.unit.activity());
        self.unit.set_idle_since(since);
        if since.is_some_and(|since| now >= since + limit) && self.unit.gate().close_if(seen.leases()) {
            let how = if tier == Tier::Paused { "pausing" } else { "going to sleep" };
            tracing::info!(version = %self.unit.name(), "no traffic for {limit:?}: {how}");
            self.close(Closing::Idle(tier));
            return;
        }
        let next = now + idle::pace(limit);
        again.at(since.map_or(next, |since| next.min((since + limit).max(now + idle::SHORTEST))));
    }

    /// Stops what has been paused for as long as is left until `stop_after`.
    pub(super) fn stop_who_rests_for_long(&mut self, now: Instant, again: &mut Again) {
        let Some(limit) = self.stop_paused_after() else { return };
        let (stop, mut stopped) = (self.order.version.stop.clone(), false);
        for member in self.members.iter_mut().filter(|member| member.is_paused()) {
            if now >= member.since + limit {
                member.stop(&stop, End::Rest);
                stopped = true;
            } else {
                again.at(member.since + limit);
            }
        }
        if stopped && self.unit.gate().seen().state() == GateState::Asleep {
            tracing::info!(version = %self.unit.name(), "nobody came while it was paused: it is stopped");
            self.unit.set_paused(false);
        }
    }

    /// Stops what is paused.
    pub(super) fn stop_who_rests(&mut self) {
        let stop = self.order.version.stop.clone();
        self.members.iter_mut().filter(|member| member.rests()).for_each(|member| member.stop(&stop, End::Rest));
        self.unit.set_paused(false);
    }

    /// Has one that is paused go on, rather than start another.
    pub(super) fn resume_one(&mut self) -> bool {
        let member = self.members.iter_mut().find(|member| member.is_paused());
        member.map(Member::resume).is_some()
    }

    /// It waits for its turn to start, or does not any more.
    pub(super) fn wait_in_line(&mut self, at: usize, waits: bool) {
        self.members[at].in_line = waits;
        self.unit.set_in_line(self.count(|member| member.in_line));
    }

    /// How long it stays paused; for ever where `None`.
    fn stop_paused_after(&self) -> Option<Duration> {
        let sleep = &self.order.version.sleep;
        Some(sleep.stop_after?.saturating_sub(sleep.pause_after.unwrap_or_default()))
    }
}
