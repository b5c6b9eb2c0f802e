//! Loads over time, and what the formulas make of them, worked out by hand.
//!
//! With the target 100, an instance should have 70. Ticks come at the end of every odd second, so that the panic window is that
//! second and the five before it.

use super::*;

const LIMITS: Limits = Limits { min: 0, max: 100, target: 100.0 };

/// A version whose instances are there as soon as they are asked for.
struct Version {
    scaler: Autoscaler,
    limits: Limits,
    /// Observations in a second.
    samples: u32,
    second: u64,
    ready: u32,
}

impl Version {
    fn new(ready: u32) -> Self {
        Self { scaler: Autoscaler::new(), limits: LIMITS, samples: 10, second: 0, ready }
    }

    fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Runs for `seconds`, which is even, with `load` for each observation, told its second. Returns what each tick decided.
    fn run(&mut self, seconds: u64, mut load: impl FnMut(u64) -> f64) -> Vec<Decision> {
        let mut decisions = Vec::new();
        for second in self.second..self.second + seconds {
            for sample in 0..self.samples {
                let at = Duration::from_secs(second) + Duration::from_secs(1) * sample / self.samples;
                self.scaler.observe(at, load(second));
            }
            if second % 2 == 1 {
                decisions.push(self.tick(Duration::from_secs(second) + Duration::from_millis(950)));
            }
        }
        self.second += seconds;
        decisions
    }

    /// Ticks for `seconds`, which is even, without an observation.
    fn run_blind(&mut self, seconds: u64) -> Vec<Decision> {
        let odd = (self.second..self.second + seconds).filter(|second| second % 2 == 1);
        let decisions =
            odd.map(|second| self.tick(Duration::from_secs(second) + Duration::from_millis(950))).collect::<Vec<_>>();
        self.second += seconds;
        decisions
    }

    fn tick(&mut self, now: Duration) -> Decision {
        let decision = self.scaler.tick(now, self.ready, &self.limits);
        self.ready = decision.desired;
        decision
    }
}

fn desired(decisions: &[Decision]) -> Vec<u32> {
    decisions.iter().map(|decision| decision.desired).collect()
}

/// The decision that holds throughout.
fn only(decisions: &[Decision]) -> Decision {
    let first = decisions[0];
    assert!(decisions.iter().all(|decision| *decision == first), "{decisions:?}");
    first
}

fn calm(desired: u32) -> Decision {
    Decision { desired, wanted: desired, panicking: false }
}

fn panicking(desired: u32) -> Decision {
    Decision { desired, wanted: desired, panicking: true }
}

#[test]
fn a_steady_load_keeps_its_instances() {
    let mut version = Version::new(1);
    assert_eq!(only(&version.run(600, |_| 70.0)), calm(1), "70 / 70 = 1");

    // 2 needed of 1 ready is 200%: panic at second 1, and until more than 60 s after it.
    let mut version = Version::new(1);
    assert_eq!(only(&version.run(62, |_| 140.0)), panicking(2), "140 / 70 = 2");
    assert_eq!(only(&version.run(600, |_| 140.0)), calm(2));
}

#[test]
fn a_little_more_than_an_instance_should_have_needs_another() {
    assert_eq!(only(&Version::new(1).run(10, |_| 70.1)).desired, 2);
    // 3 × 0.7 is a little less than 2.1 in binary.
    let limits = Limits { target: 3.0, ..LIMITS };
    assert_eq!(only(&Version::new(1).with_limits(limits).run(10, |_| 2.1)), calm(1));
}

#[test]
fn an_instance_should_have_at_least_one_request() {
    let limits = Limits { target: 1.0, ..LIMITS };
    assert_eq!(only(&Version::new(1).with_limits(limits).run(60, |_| 1.0)), calm(1), "not 1 / 0.7");
}

#[test]
fn tenfold_load_panics_and_has_its_instances_within_the_panic_window() {
    let mut version = Version::new(1);
    assert_eq!(only(&version.run(60, |_| 35.0)), calm(1));
    // (2 × 350 + 4 × 35) / 6 = 140; (4 × 350 + 2 × 35) / 6 = 245; 350. Over 70 each.
    let surge = version.run(6, |_| 350.0);
    assert_eq!(surge, [panicking(2), panicking(4), panicking(5)]);
    // The threshold was last reached at second 63 (4 of 2), so that the panic ends after second 123.
    assert_eq!(only(&version.run(58, |_| 350.0)), panicking(5));
    assert_eq!(only(&version.run(300, |_| 350.0)), calm(5));
}

#[test]
fn a_slow_rise_of_the_stable_average_does_not_panic() {
    let mut version = Version::new(3).with_limits(Limits { min: 3, ..LIMITS });
    assert_eq!(only(&version.run(60, |_| 210.0)), calm(3));
    // In the panic window, 300 needs 5 of 3. In the stable one, n seconds of it make 210 + 1.5 n: at once more than 3 instances
    // should have, and from n = 47 on more than 280, which 4 should have.
    let rise = version.run(60, |_| 300.0);
    assert_eq!(only(&rise[..23]), calm(4));
    assert_eq!(only(&rise[23..]), calm(5));
}

#[test]
fn a_spike_is_held_for_a_stable_window_and_then_halved_at_each_tick() {
    let mut version = Version::new(1);
    version.run(60, |_| 35.0);
    // (2 × 700 + 4 × 35) / 6 = 256.7; (4 × 700 + 2 × 35) / 6 = 478.3; 700. Only the first is 200% of what is ready.
    assert_eq!(version.run(6, |_| 700.0), [panicking(4), panicking(7), panicking(10)]);
    assert_eq!(only(&version.run(56, |_| 35.0)), panicking(10), "up to second 121, 60 s after second 61");
    assert_eq!(version.run(8, |_| 35.0), [calm(5), calm(2), calm(1), calm(1)]);
}

#[test]
fn a_second_spike_prolongs_the_panic() {
    let mut version = Version::new(1);
    version.run(6, |_| 350.0);
    assert_eq!(only(&version.run(44, |_| 35.0)), panicking(5));
    let second = version.run(2, |_| 2100.0);
    assert_eq!(second, [panicking(11)], "(2 × 2100 + 4 × 35) / 6 / 70 = 10.3, of 5");
    assert_eq!(only(&version.run(60, |_| 35.0)), panicking(11));
    assert_eq!(version.run(2, |_| 35.0), [calm(5)]);
}

#[test]
fn a_ramp_never_loses_an_instance() {
    let mut version = Version::new(1);
    let ramp = version.run(300, |second| 14.0 * second.min(50) as f64);
    let counts = desired(&ramp);
    assert!(counts.is_sorted(), "{counts:?}");
    // Over the panic window: 14 × (s - 2.5). At second 7, 63; at 9, 91; at 49, 651; from 55 on, 700.
    assert_eq!(ramp[3], calm(1));
    assert_eq!(ramp[4], panicking(2));
    assert_eq!(counts[24], 10);
    assert_eq!(ramp.last(), Some(&calm(10)));
}

#[test]
fn no_load_goes_to_the_floor_as_the_stable_average_falls() {
    let mut version = Version::new(1);
    version.run(120, |_| 140.0);
    // With 34 seconds of nothing, 140 × 26 / 60 × 1.1 = 66.7 fits one instance; with 32, it is 71.9.
    let falling = version.run(120, |_| 0.0);
    assert_eq!(only(&falling[..16]), calm(2));
    assert_eq!(only(&falling[16..]), calm(1));
}

#[test]
fn an_instance_goes_only_when_a_tenth_more_load_would_not_need_it() {
    let mut version = Version::new(1);
    version.run(120, |_| 100.0);
    assert_eq!(only(&version.run(300, |_| 64.0)), calm(2), "64 × 1.1 = 70.4");
    version.run(60, |_| 63.0);
    assert_eq!(only(&version.run(300, |_| 63.0)), calm(1), "63 × 1.1 = 69.3");
}

#[test]
fn noise_makes_no_flapping() {
    // Around one and two instances, and so around the loads at which they just do; as concurrency and as requests per second.
    for samples in [10, 1] {
        for load in (55..=160).map(f64::from) {
            let mut version = Version { samples, ..Version::new(1) };
            let mut noise = noise();
            let counts = desired(&version.run(1800, |_| load * (1.0 + 0.1 * noise())));
            let turns = counts.windows(2).filter(|pair| pair[0] != pair[1]).count();
            assert!(turns <= 3, "{samples} samples a second of {load}: {counts:?}");
            let settled = &counts[60..];
            let rises = settled.windows(2).any(|pair| pair[0] < pair[1]);
            let falls = settled.windows(2).any(|pair| pair[0] > pair[1]);
            assert!(!(rises && falls), "{samples} samples a second of {load}: {settled:?}");
        }
    }
}

/// Between -1 and 1, the same every time (the generator MMIX of Knuth, "The Art of Computer Programming", volume 2, 3.3.4).
fn noise() -> impl FnMut() -> f64 {
    let mut state = 42_u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1_u32 << 30) - 1.0
    }
}

#[test]
fn max_holds_and_what_is_wanted_shows() {
    let mut version = Version::new(1).with_limits(Limits { max: 3, ..LIMITS });
    let decision = only(&version.run(60, |_| 700.0));
    assert_eq!(decision, Decision { desired: 3, wanted: 10, panicking: true });
    version.limits.max = 20;
    assert_eq!(version.run(2, |_| 700.0)[0].desired, 10, "max was raised");
}

#[test]
fn min_holds_without_load() {
    let mut version = Version::new(0).with_limits(Limits { min: 3, ..LIMITS });
    assert_eq!(only(&version.run(300, |_| 0.0)), calm(3));
    version.limits.min = 5;
    assert_eq!(version.run(2, |_| 0.0), [calm(5)], "min was raised");
    version.limits.min = 0;
    assert_eq!(version.run(6, |_| 0.0), [calm(2), calm(1), calm(1)], "min was taken away");
}

#[test]
fn one_tick_goes_no_further_than_the_rates() {
    let limits = Limits { max: u32::MAX, ..LIMITS };
    for ready in [0, 1] {
        let mut version = Version::new(ready).with_limits(limits);
        assert_eq!(desired(&version.run(4, |_| 1e9)), [1_000, 1_000_000]);
    }
    let mut version = Version::new(1);
    version.run(2, |_| 699.0);
    assert_eq!(version.ready, 10);
    // 9 of the 10 are gone at once, and come back no more than they are needed.
    version.ready = 1;
    assert_eq!(version.run(2, |_| 699.0)[0].desired, 10);
}

#[test]
fn instances_found_at_the_first_tick_stay_for_a_stable_window() {
    let mut version = Version::new(9);
    assert_eq!(only(&version.run(62, |_| 0.0)), panicking(9));
    assert_eq!(version.run(8, |_| 0.0), [calm(4), calm(2), calm(1), calm(1)]);
}

#[test]
fn without_observations_all_stays() {
    let mut version = Version::new(7);
    assert_eq!(only(&version.run_blind(60)), calm(7), "nothing was ever observed");

    let mut version = Version::new(1);
    version.run(120, |_| 350.0);
    // The panic window of the ticks at 121, 123 and 125 still has observations; all of them were 350.
    assert_eq!(only(&version.run_blind(600)), calm(5));
    version.ready = 3;
    assert_eq!(version.run_blind(2), [calm(5)], "two that failed are replaced");
}

#[test]
fn after_a_reset_nothing_is_remembered() {
    let mut version = Version::new(1);
    version.run(120, |_| 700.0);
    version.run(2, |_| 9_000.0);
    version.scaler.reset();
    version.ready = 1;
    assert_eq!(version.run_blind(2), [calm(1)]);
    assert_eq!(only(&version.run(600, |_| 35.0)), calm(1));
}

#[test]
fn nonsense_in_the_limits_is_bounded() {
    let tick = |limits: Limits| Version::new(0).with_limits(limits).run(2, |_| 1e6)[0].desired;
    assert_eq!(tick(Limits { min: 0, max: 0, target: 100.0 }), 1);
    assert_eq!(tick(Limits { min: 9, max: 3, target: f64::INFINITY }), 3);
    for target in [f64::NAN, f64::NEG_INFINITY, -1.0, 0.0] {
        assert_eq!(tick(Limits { min: 0, max: 5, target }), 5, "{target} counts as 1");
    }
}
