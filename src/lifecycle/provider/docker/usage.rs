//! How much processor time a container uses.

use std::pin::Pin;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::ContainerStatsResponse;
use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::{Stream, StreamExt as _};
use tokio::time::sleep;

use super::engine::Engine;

/// How long a stream that has ended is left alone.
const AGAIN: Duration = Duration::from_secs(1);

/// What the engine measures of one container, about once a second.
#[derive(Default)]
pub(super) struct Usage {
    stream: Option<Pin<Box<dyn Stream<Item = Result<ContainerStatsResponse, Error>>>>>,
    before: Option<Sample>,
}

/// What had been used at one moment, in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Sample {
    used: u64,
    /// By the whole host, over its cores.
    host: u64,
    cores: u32,
}

impl Usage {
    /// Waits for what has been used since the last time, in cores. Can be cancelled and called again.
    pub(super) async fn next(&mut self, engine: &Engine, id: &str) -> f64 {
        loop {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                None => {
                    let Ok(client) = engine.client().await else {
                        sleep(AGAIN).await;
                        continue;
                    };
                    self.before = None;
                    let options = StatsOptionsBuilder::new().stream(true).build();
                    self.stream.insert(Box::pin(client.stats(id, Some(options))))
                }
            };
            let Some(Ok(stats)) = stream.next().await else {
                self.stream = None;
                sleep(AGAIN).await;
                continue;
            };
            let Some(sample) = Sample::read(&stats) else { continue };
            let cores = self.before.replace(sample).and_then(|before| sample.since(before));
            if let Some(cores) = cores {
                return cores;
            }
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
