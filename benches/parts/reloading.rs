//! From files to what is in force.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion};
use tidegate::config::load::load;
use tidegate::lifecycle::ports::Ports;
use tidegate::lifecycle::provider::Providers;
use tidegate::lifecycle::provider::docker::DockerProvider;
use tidegate::lifecycle::provider::hook::HookProvider;
use tidegate::lifecycle::provider::process::ProcessProvider;
use tidegate::lifecycle::turns::Turns;
use tidegate::lifecycle::unit::Unit;
use tidegate::lifecycle::units::Units;
use tidegate::model::settings::Docker;
use tidegate::reload::reloader::{FirstLoad, Reloader};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use super::config::Config;

/// A config in force, without listeners.
pub(crate) struct Running {
    reloader: Reloader,
    tasks: LocalSet,
    runtime: Runtime,
}

impl Running {
    pub(crate) fn start(config: &Config) -> Self {
        let (runtime, tasks) =
            (Builder::new_current_thread().enable_all().build().expect("a runtime"), LocalSet::new());
        let first = FirstLoad::read(&config.root()).expect("no errors");
        let process = ProcessProvider::new(Ports::new(20_000..=29_999, 0));
        let units = Units::new(
            Providers {
                process,
                hook: HookProvider::default(),
                docker: DockerProvider::new(&Docker::default(), "bench"),
            },
            Turns::new(16),
            2,
        );
        let reloader = tasks.block_on(&runtime, async { first.publish(units, 2) }).expect("nothing to refuse");
        Self { reloader, tasks, runtime }
    }

    /// The unit of a version, once it takes requests.
    pub(crate) fn unit(&self, version: &str) -> Arc<Unit> {
        let live = self.reloader.published().load();
        let (_, unit) = live.version(version).expect("it is there");
        let deadline = Instant::now() + Duration::from_secs(10);
        while !unit.is_open() {
            assert!(Instant::now() < deadline, "{version} does not open");
            self.tasks.block_on(&self.runtime, tokio::task::yield_now());
        }
        Arc::clone(unit)
    }

    fn reload(&mut self, edited: Option<&BTreeSet<std::path::PathBuf>>) {
        let Self { reloader, tasks, runtime } = self;
        let changed = tasks.block_on(runtime, async { reloader.reload(edited) });
        assert!(changed, "the edit is in force");
        reloader.sweep();
    }
}

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("from files");
    group.sample_size(20);
    let config = Config::of_many(1_000);
    group.bench_function("compile 1,000 files", |bench| bench.iter(|| load(&config.root(), None, &|_| None)));

    let config = Config::of_many(10_000);
    let mut running = Running::start(&config);
    let edited = BTreeSet::from([config.service("s5000").canonicalize().expect("it is there")]);
    let mut edits = 0;
    let mut edit = || {
        edits += 1;
        config.edit(5_000, edits);
    };
    group.bench_function("reload one of 10,000, named by its event", |bench| {
        bench.iter_batched(&mut edit, |()| running.reload(Some(&edited)), BatchSize::PerIteration);
    });
    group.bench_function("reload one of 10,000, found among all", |bench| {
        bench.iter_batched(&mut edit, |()| running.reload(None), BatchSize::PerIteration);
    });
    group.finish();
}
