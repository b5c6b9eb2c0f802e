//! The right to send a request to an instance: taken and given back, by two threads at once.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use criterion::Criterion;
use tidegate::lifecycle::unit::Unit;

use super::config::Config;
use super::reloading::Running;

pub(crate) fn benches(criterion: &mut Criterion) {
    let running = Running::start(&Config::of_many(1));
    let unit = running.unit("s0-001");
    let mut group = criterion.benchmark_group("acquire and release");
    for threads in [1, 2] {
        let name = if threads == 1 { "one thread" } else { "two threads at once" };
        group.bench_function(name, |bench| bench.iter_custom(|times| acquire(&unit, threads, times)));
    }
    group.finish();
}

/// How long it takes until each of so many threads has done it so many times.
fn acquire(unit: &Arc<Unit>, threads: usize, times: u64) -> Duration {
    let barrier = Barrier::new(threads + 1);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    for random in 0..times {
                        assert!(unit.acquire(random).is_some(), "the version takes requests");
                    }
                })
            })
            .collect();
        barrier.wait();
        let began = Instant::now();
        workers.into_iter().for_each(|worker| worker.join().expect("no thread panics"));
        began.elapsed()
    })
}
