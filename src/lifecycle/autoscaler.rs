//! How many instances a version should have, by the algorithm of Knative's pod autoscaler.
//!
//! Two averages of the load decide, one over a long window (stable) and one over a short one (panic). Normally the long one does.
//! Where the short one needs [`PANIC_THRESHOLD`] times the instances that are ready, the version panics: it takes the larger of
//! both, and removes nothing until a stable window has passed in which the threshold was not reached again.
//!
//! The numbers are the defaults of Knative's `config-autoscaler` (`defaultConfig` in `pkg/autoscaler/config/config.go`, documented
//! in `config/core/configmaps/autoscaler.yaml`), the formulas those of `Scale` in `pkg/autoscaler/scaling/autoscaler.go` and of
//! `ResolveMetricTarget` in `pkg/reconciler/autoscaling/resources/target.go`. What differs:
//! - What is there stays while the load of either window and [`SCALE_DOWN_TOLERANCE`] more needs it. Knative removes it as soon as
//!   the stable average allows; a load at the edge between two counts then starts and stops an instance for ever, and one that has
//!   just risen loses instances that it gets back when the stable average has caught up.
//! - Zero is not its business: it wants at least 1. Putting a version to sleep has a clock of its own.
//! - There is no `activation-scale` and no `scale-down-delay`; both do nothing by Knative's defaults (1 and 0 s).
//! - A second without observations counts for nothing rather than as zero, and without any in the panic window all stays as it was.

mod window;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod traces;

use std::time::Duration;

use window::Window;

/// How often [`Autoscaler::tick`] is called. Knative's `tick-interval`.
pub const TICK: Duration = Duration::from_secs(2);

/// What the stable average is taken over. Knative's `stable-window`.
pub const STABLE_WINDOW: Duration = Duration::from_secs(window::SECONDS);

/// What the panic average is taken over: 10% of [`STABLE_WINDOW`], Knative's `panic-window-percentage`.
pub const PANIC_WINDOW: Duration = Duration::from_secs(window::SECONDS / 10);

/// Needing so many times the instances that are ready is panic. Knative's `panic-threshold-percentage`, 200%.
pub const PANIC_THRESHOLD: f64 = 2.0;

/// The part of its target that an instance should have, so that there is room while others start. Knative's
/// `container-concurrency-target-percentage`, and `TargetUtilization` for requests per second.
pub const TARGET_UTILISATION: f64 = 0.7;

/// At most so many times the ready instances are wanted at one tick. Knative's `max-scale-up-rate`.
pub const MAX_SCALE_UP_RATE: f64 = 1000.0;

/// At least the ready instances divided by this are wanted at one tick, rounded down. Knative's `max-scale-down-rate`.
pub const MAX_SCALE_DOWN_RATE: f64 = 2.0;

/// How far the load may rise, as a part of it, before instances that are removed now would be needed again. The default of the
/// Kubernetes controller manager's `--horizontal-pod-autoscaler-tolerance`.
pub const SCALE_DOWN_TOLERANCE: f64 = 0.1;

/// What an instance should have is never below this, as in Knative's `ResolveMetricTarget`.
const LEAST_PER_INSTANCE: f64 = 1.0;

/// Between what a version's instances should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// At least so many; 0 counts as 1, and more than `max` as `max`.
    pub min: u32,
    /// At most so many; 0 counts as 1.
    pub max: u32,
    /// How much of what is observed one instance is meant to have at most, 1 or more; [`TARGET_UTILISATION`] of it is aimed at.
    /// Where instances have a hard limit of requests at a time, the caller gives at most that.
    pub target: f64,
}

/// What a tick decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// How many instances there should be, between `min` (at least 1) and `max`.
    pub desired: u32,
    /// How many there would be without `max`; never below `desired`.
    pub wanted: u32,
    /// Nothing is removed until a stable window has passed without a surge.
    pub panicking: bool,
}

/// The autoscaler of one version. Its memory is bounded, and nothing is allocated after it was made.
#[derive(Debug, Clone, Default)]
pub struct Autoscaler {
    load: Window,
    panic: Option<Panic>,
    /// What the last tick that had observations wanted.
    wanted: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Panic {
    /// When the threshold was last reached.
    since: Duration,
    /// The most instances wanted since the panic began.
    most: u32,
}

/// The averages of both windows.
struct Load {
    stable: f64,
    panic: f64,
}

impl Autoscaler {
    /// One that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What was observed (requests at a time, or per second) over all instances, as of `now`, the time since any fixed origin,
    /// which never goes back. Below zero is taken as zero, what is not a number is left out. Observations of one second are
    /// averaged, so that it does not matter how many there are.
    pub fn observe(&mut self, now: Duration, value: f64) {
        self.load.add(now.as_secs(), value);
    }

    /// How many instances there should be, where `ready` are. Called every [`TICK`] with the clock of
    /// [`observe`](Self::observe). Without observations in the panic window, the last decision holds, or `ready` before the first.
    pub fn tick(&mut self, now: Duration, ready: u32, limits: &Limits) -> Decision {
        let max = limits.max.max(1);
        let floor = limits.min.clamp(1, max);
        let wanted = match self.load(now) {
            Some(load) => {
                // The first decision removes nothing, for so little is known; `newAutoscaler` starts in panic for the same reason.
                if self.wanted.is_none() && ready > floor {
                    self.panic = Some(Panic { since: now, most: ready });
                }
                let wanted = self.decide(now, ready, limits.target, &load).max(floor);
                self.wanted = Some(wanted);
                wanted
            }
            None => self.wanted.unwrap_or(ready).max(floor),
        };
        Decision { desired: wanted.min(max), wanted, panicking: self.panic.is_some() }
    }

    /// Forgets all: the version slept.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    fn load(&self, now: Duration) -> Option<Load> {
        let average = |window: Duration| self.load.average(now.as_secs(), window.as_secs());
        Some(Load { stable: average(STABLE_WINDOW)?, panic: average(PANIC_WINDOW)? })
    }

    fn decide(&mut self, now: Duration, ready: u32, target: f64, load: &Load) -> u32 {
        let before = f64::from(self.wanted.unwrap_or(ready));
        let ready = f64::from(ready.max(1));
        // `max` also turns a target that is not a number into the least.
        let per_instance = (target * TARGET_UTILISATION).max(LEAST_PER_INSTANCE);
        let needed_stable = instances(load.stable, per_instance);
        let needed_panic = instances(load.panic, per_instance);
        let kept = instances(load.stable.max(load.panic) * (1.0 + SCALE_DOWN_TOLERANCE), per_instance);

        let stable = within_rates(before.min(kept).max(needed_stable), ready);
        self.update_panic(now, needed_panic / ready >= PANIC_THRESHOLD);
        match &mut self.panic {
            Some(panic) => {
                panic.most = panic.most.max(stable).max(within_rates(needed_panic, ready));
                panic.most
            }
            None => stable,
        }
    }

    /// Begins, prolongs or ends the panic.
    fn update_panic(&mut self, now: Duration, over_threshold: bool) {
        match &mut self.panic {
            Some(panic) if over_threshold => panic.since = now,
            Some(panic) if now.saturating_sub(panic.since) > STABLE_WINDOW => self.panic = None,
            None if over_threshold => self.panic = Some(Panic { since: now, most: 0 }),
            Some(_) | None => {}
        }
    }
}

/// How many instances `load` needs. A millionth of one is noise of the division (2.1 / (3 × 0.7) is a little more than 1).
fn instances(load: f64, per_instance: f64) -> f64 {
    const PRECISION: f64 = 1e6;
    ((load / per_instance * PRECISION).round() / PRECISION).ceil()
}

/// `wanted` as far as one tick may go from `ready`, which is at least 1.
fn within_rates(wanted: f64, ready: f64) -> u32 {
    let least = (ready / MAX_SCALE_DOWN_RATE).floor();
    let most = (ready * MAX_SCALE_UP_RATE).ceil();
    // The cast stops at the bounds of its type.
    wanted.max(least).min(most) as u32
}
