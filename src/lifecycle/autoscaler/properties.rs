//! What holds for every load.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Observe(f64),
    Tick(u32, Limits),
    Reset,
}

fn limits() -> impl Strategy<Value = Limits> {
    (any::<u32>(), any::<u32>(), any::<f64>()).prop_map(|(min, max, target)| Limits { min, max, target })
}

/// Limits that a config can have.
fn sane_limits() -> impl Strategy<Value = Limits> {
    (1_u32..=100, 0_u32..=100, 1_u32..1_000).prop_map(|(max, min, target)| Limits {
        min: min.min(max),
        max,
        target: f64::from(target),
    })
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let step = prop_oneof![
        8 => any::<f64>().prop_map(Step::Observe),
        8 => (0_f64..1e5).prop_map(Step::Observe),
        4 => (any::<u32>(), limits()).prop_map(|(ready, limits)| Step::Tick(ready, limits)),
        8 => (0_u32..100, sane_limits()).prop_map(|(ready, limits)| Step::Tick(ready, limits)),
        1 => Just(Step::Reset),
    ];
    prop::collection::vec((prop_oneof![0_u64..3_000, Just(70_000), Just(u64::MAX / 256)], step), 1..200)
}

proptest! {
    #[test]
    fn what_is_desired_lies_within_the_limits_whatever_is_observed(steps in steps()) {
        let mut scaler = Autoscaler::new();
        let mut now = Duration::ZERO;
        for (wait, step) in steps {
            now += Duration::from_millis(wait);
            match step {
                Step::Observe(value) => scaler.observe(now, value),
                Step::Reset => scaler.reset(),
                Step::Tick(ready, limits) => {
                    let decision = scaler.tick(now, ready, &limits);
                    let max = limits.max.max(1);
                    prop_assert!(decision.desired <= max);
                    prop_assert!(decision.desired >= limits.min.max(1).min(max));
                    prop_assert_eq!(decision.desired, decision.wanted.min(max));
                }
            }
        }
    }

    #[test]
    fn more_load_never_has_a_fresh_scaler_want_less(
        loads in prop::collection::vec((0_f64..1e4, 0_f64..1e3), 1..700), ready in 0_u32..100, limits in sane_limits(),
    ) {
        let mut light = Autoscaler::new();
        let mut heavy = Autoscaler::new();
        let mut now = Duration::ZERO;
        for (load, more) in loads {
            now += Duration::from_millis(100);
            light.observe(now, load);
            heavy.observe(now, load + more);
        }
        let (light, heavy) = (light.tick(now, ready, &limits), heavy.tick(now, ready, &limits));
        prop_assert!(light.wanted <= heavy.wanted && light.desired <= heavy.desired, "{:?} {:?}", light, heavy);
    }

    #[test]
    fn a_steady_load_ends_with_what_it_needs_and_at_most_a_tenth_more(
        load in 0_f64..5e3, ready in 0_u32..100, target in 1_u32..1_000,
    ) {
        let limits = Limits { min: 0, max: 100_000, target: f64::from(target) };
        let mut scaler = Autoscaler::new();
        let mut ready = ready;
        for second in 0..200 {
            scaler.observe(Duration::from_secs(second), load);
            ready = scaler.tick(Duration::from_secs(second), ready, &limits).desired;
        }
        let per_instance = (limits.target * 0.7).max(1.0);
        let (least, most) = (load / per_instance - 1e-3, load * 1.1 / per_instance + 1.0);
        prop_assert!(f64::from(ready) >= least && f64::from(ready) <= most.max(1.0), "{} of {} to {}", ready, least, most);
    }

    #[test]
    fn a_reset_scaler_decides_as_a_new_one(before in prop::collection::vec(0_f64..1e4, 0..200), load in 0_f64..1e4) {
        let mut used = Autoscaler::new();
        for (second, value) in (0..).zip(before) {
            used.observe(Duration::from_secs(second), value);
            used.tick(Duration::from_secs(second), 3, &Limits { min: 0, max: 100, target: 10.0 });
        }
        used.reset();
        let mut new = Autoscaler::new();
        for second in 200..300 {
            let now = Duration::from_secs(second);
            used.observe(now, load);
            new.observe(now, load);
            let limits = Limits { min: 1, max: 100, target: 10.0 };
            prop_assert_eq!(used.tick(now, 3, &limits), new.tick(now, 3, &limits));
        }
    }
}
