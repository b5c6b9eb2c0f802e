//! Units run on a clock of their own, with a provider that fails in every way and clients that come and go as a seed says. Thousands
//! of runs, each of some minutes that take no time; the same seed is the same run.
//!
//! `TIDEGATE_SEEDS` says how many runs there are in all, `TIDEGATE_SEED` that there is only this one of each test.

mod client;
mod generation;
mod invariants;
mod plan;
mod provider;
mod random;
mod run;
mod trace;
mod tunables;
mod world;

use std::sync::mpsc;
use std::time::Duration;

use self::plan::Story;
use self::run::run;

/// Runs over all tests, if nothing else is said.
const SEEDS: u64 = 2_000;

/// The real time that one run may take: it takes some milliseconds, unless it goes round in circles.
const PATIENCE: Duration = Duration::from_secs(60);

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Runs a share of all seeds, on a thread that is left behind if it does not come back.
fn runs(test: &str, story: Story, percent: u64) {
    let seeds = match variable("TIDEGATE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..(variable("TIDEGATE_SEEDS").unwrap_or(SEEDS) * percent / 100).max(1),
    };
    let (tell, told) = mpsc::channel();
    let of_thread = seeds.clone();
    std::thread::spawn(move || {
        for seed in of_thread {
            let failure = run(seed, story).err();
            let failed = failure.is_some();
            if tell.send(failure).is_err() || failed {
                return;
            }
        }
    });
    for seed in seeds {
        let again = format!("TIDEGATE_SEED={seed} cargo test --test it simulation::{test}");
        match told.recv_timeout(PATIENCE) {
            Ok(None) => {}
            Ok(Some(failure)) => panic!("{failure}\nagain: {again}"),
            Err(error) => panic!("seed {seed} does not come back ({error})\nagain: {again}"),
        }
    }
}

#[test]
fn whoever_comes_to_a_version_that_is_well_is_served() {
    runs("whoever_comes_to_a_version_that_is_well_is_served", Story::Calm, 25);
}

#[test]
fn a_load_that_does_not_change_changes_nothing() {
    runs("a_load_that_does_not_change_changes_nothing", Story::Steady, 3);
}

#[test]
fn edits_and_orders_lose_nobody() {
    runs("edits_and_orders_lose_nobody", Story::Edited, 25);
}

#[test]
fn what_fails_is_tried_now_and_then_and_recovers() {
    runs("what_fails_is_tried_now_and_then_and_recovers", Story::Failing, 10);
}

#[test]
fn everything_at_once() {
    runs("everything_at_once", Story::Mixed, 37);
}

#[test]
fn a_seed_is_one_run() {
    for seed in 0..4 {
        for story in [Story::Calm, Story::Steady, Story::Edited, Story::Failing, Story::Mixed] {
            let (once, again) = (run(seed, story), run(seed, story));
            assert_eq!(once, again, "seed {seed}, {story:?}");
        }
    }
}
