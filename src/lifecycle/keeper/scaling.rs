//! How many instances the load asks for.

use std::time::Duration;

use tokio::time::Instant;

use super::member::Member;
use super::{Again, Keeper};
use crate::lifecycle::autoscaler::{Limits, TICK};
use crate::lifecycle::gate_word::GateState;
use crate::lifecycle::provider::Provider;
use crate::lifecycle::wakes::Wakes;
use crate::model::version::ScaleOn;

/// How often requests at a time are counted, of a version that can have several instances.
const SAMPLE: Duration = Duration::from_millis(100);

/// How often rates and processor time are looked at.
const SECOND: Duration = Duration::from_secs(1);

impl<P: Provider> Keeper<P> {
    /// How many instances the load asks for.
    pub(super) fn scale(&mut self, now: Instant, again: &mut Again) {
        let (version, floor) = (&self.order.version, self.order.min().max(1));
        let max = version.replicas.max.max(floor);
        if max == floor || !version.backend.is_ours() {
            self.desired = floor;
            self.sampled = None;
            self.unit.set_wanted(0);
            return;
        }
        let every = match version.scale.on {
            ScaleOn::Concurrency => SAMPLE,
            ScaleOn::Rps | ScaleOn::Cpu => SECOND,
        };
        let (at, requests) = (now - self.born, self.unit.counters().total().requests());
        match self.sampled {
            Some((last, _)) if now < last + every => {}
            before => {
                let load = match (version.scale.on, before) {
                    (ScaleOn::Concurrency, _) => Some((self.unit.in_flight() + u64::from(self.unit.waiting())) as f64),
                    (ScaleOn::Rps, Some((last, before))) => {
                        Some(requests.wrapping_sub(before) as f64 / (now - last).as_secs_f64())
                    }
                    // There is no rate from one look.
                    (ScaleOn::Rps, None) => None,
                    (ScaleOn::Cpu, _) => self.used(),
                };
                if let Some(load) = load {
                    self.scaler.observe(at, load);
                }
                self.sampled = Some((now, requests));
            }
        }
        again.at(self.sampled.map_or(now, |(last, _)| last) + every);
        if now >= self.ticked + TICK {
            self.ticked = now;
            let limits = Limits { min: floor, max, target: version.scale_target().into() };
            let decision = self.scaler.tick(at, self.count(Member::is_ready), &limits);
            self.desired = decision.desired;
            self.unit.set_wanted(if decision.wanted > max { decision.wanted } else { 0 });
        }
        self.desired = self.desired.clamp(floor, max);
        again.at(self.ticked + TICK);
    }

    /// The processor time that all instances used lately, in per cent of what one may have; `None` while none has said so.
    fn used(&self) -> Option<f64> {
        let used: Vec<f64> = self.members.iter().filter(|member| member.is_ready()).filter_map(|m| m.used).collect();
        (!used.is_empty()).then(|| used.iter().sum())
    }

    /// So many instances run already: they are wanted, and the provider takes them over before it makes others.
    pub(super) fn adopt(&mut self, count: u32) {
        let floor = self.order.min().max(1);
        let count = count.min(self.order.version.replicas.max.max(floor));
        if self.order.leave.is_some() || self.closing.is_some() || !self.order.version.backend.is_ours() {
            return;
        }
        if self.unit.gate().seen().state() == GateState::Failed {
            // What runs by now need not be waited for.
            self.backoff.reset();
            self.unit.with_wakes(Wakes::begin);
            self.unit.gate().go(GateState::Waking);
        }
        self.unit.knock();
        self.desired = self.desired.max(count);
    }
}
