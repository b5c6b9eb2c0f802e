//! How much processor time a container uses.

use std::pin::Pin;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::ContainerStatsResponse;
use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::future::join_all;
use futures_util::{Stream, StreamExt as _};
use tokio::time::sleep;

use super::engine::Engine;

/// How long a stream that has ended is left alone.
const AGAIN: Duration = Duration::from_secs(1);

/// What the engine measures of the containers of one instance, about once a second.
pub(super) struct Meter {
    engine: Engine,
    containers: Vec<Metered>,
}

/// One container.
struct Metered {
    id: Box<str>,
    /// The cores that it may use.
    most: f64,
    stream: Stats,
    before: Option<Sample>,
    /// In per cent, since the others were last told as well.
    used: Option<f64>,
}

type Stats = Option<Pin<Box<dyn Stream<Item = Result<ContainerStatsResponse, Error>>>>>;
/// What had been used at one moment, in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Sample {
    used: u64,
    /// By the whole host, over its cores.
    host: u64,
    cores: u32,
}

impl Meter {
    /// Of containers by their IDs, and the thousandths of a core that each may use; one core where it is not limited.
    pub(super) fn new(engine: &Engine, containers: impl Iterator<Item = (Box<str>, Option<u32>)>) -> Self {
        let metered = |(id, most): (_, Option<u32>)| {
            let most = most.map_or(1.0, |thousandths| f64::from(thousandths) / 1000.0);
            Metered { id, most, stream: None, before: None, used: None }
        };
        Self { engine: engine.clone(), containers: containers.map(metered).collect() }
    }

    /// Waits for what has been used since the last time, in per cent of what may be; of several containers the mean. Can be cancelled
    /// and called again.
    pub(super) async fn next(&mut self) -> f64 {
        join_all(self.containers.iter_mut().map(|container| container.next(&self.engine))).await;
        let used: Vec<f64> = self.containers.iter_mut().filter_map(|container| container.used.take()).collect();
        used.iter().sum::<f64>() / used.len().max(1) as f64
    }
}

impl Metered {
    /// Waits until `used` is known.
    async fn next(&mut self, engine: &Engine) {
        while self.used.is_none() {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                None => {
                    let Ok(client) = engine.client().await else {
                        sleep(AGAIN).await;
                        continue;
                    };
                    self.before = None;
                    let options = StatsOptionsBuilder::new().stream(true).build();
                    self.stream.insert(Box::pin(client.stats(&self.id, Some(options))))
                }
            };
            let Some(Ok(stats)) = stream.next().await else {
                self.stream = None;
                sleep(AGAIN).await;
                continue;
            };
            let Some(sample) = Sample::read(&stats) else { continue };
            let cores = self.before.replace(sample).and_then(|before| sample.since(before));
            self.used = cores.map(|cores| cores / self.most * 100.0);
        }
    }
}

impl Sample {
    fn read(stats: &ContainerStatsResponse) -> Option<Self> {
        let cpu = stats.cpu_stats.as_ref()?;
        let usage = cpu.cpu_usage.as_ref()?;
        let listed = usage.percpu_usage.as_ref().and_then(|each| u32::try_from(each.len()).ok());
        let cores = cpu.online_cpus.filter(|cores| *cores > 0).or(listed)?;
        Some(Self { used: usage.total_usage?, host: cpu.system_cpu_usage?, cores })
    }

    /// In cores, as `docker stats` has it; nothing where no time has passed, or the container has been started anew.
    fn since(self, before: Self) -> Option<f64> {
        let used = self.used.checked_sub(before.used)?;
        let host = self.host.checked_sub(before.host).filter(|host| *host > 0)?;
        Some(used as f64 / host as f64 * f64::from(self.cores))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_core_is_a_half_on_any_host() {
        for cores in [1, 2, 64] {
            let at = |used, seconds: u64| Sample { used, host: seconds * 1_000_000_000 * u64::from(cores), cores };
            let used = at(5_500_000_000, 11).since(at(5_000_000_000, 10)).expect("a second has passed");
            assert!((used - 0.5).abs() < 1e-9, "{used}");
            assert_eq!(at(1, 11).since(at(2, 10)).map(|_| ()), None, "started anew");
            assert_eq!(at(2, 10).since(at(2, 10)).map(|_| ()), None, "no time has passed");
        }
    }
}
