//! Containers: how long after one listens the request that was held for it arrives there, and how long one that is paused takes to
//! answer. On a real engine, `DOCKER_HOST` or the one of this host.
//!
//! Another container keeps the bridge up meanwhile. Without any, the kernel takes it down with the last that stops, and brings it up again
//! at most once a second (`linkwatch`), so that a start now and then waits for up to a second, whoever starts it.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
};
use futures_util::StreamExt as _;
use tidegate::lifecycle::provider::docker::engine::Engine;
use tokio::runtime::Runtime;

use crate::server::{Server, cpu_ms, get, quantile};

/// The bar for cold starts, in microseconds from `listen`.
const MOST_COLD: u64 = 10_000;
/// The bar for a wake from a pause, in microseconds from the client's first byte to the answer's.
const MOST_PAUSED: u64 = 50_000;
/// How long the container takes before it listens, in milliseconds.
const DELAYS: [u64; 2] = [0, 200];
const CONTAINER: &str = "app-001-1";
/// Keeps the bridge up.
const OTHER: &str = "tidegate-bench-bridge";

/// Measures so many of both, and says whether the 99th percentiles meet the bars.
pub(crate) fn run(rounds: usize) -> io::Result<bool> {
    let image = Image::import()?;
    let mut cold = Vec::new();
    println!("{:>28} {:>10} {:>10} {:>10} {:>10} {:>14}", "us", "p50", "p99", "max", "whole p50", "CPU ms/start");
    for delay in DELAYS {
        let service = format!(
            "versions:\n  app-001:\n    image: {}\n    env: {{DELAY_MS: {delay}}}\n    sleep: {{stop_after: 1h}}\n",
            image.name
        );
        let server = Server::start(&service)?;
        // The first makes the container, which later rounds start again.
        up_us(&get(server.address)?)?;
        server.sleep("app-001")?;
        let (mut times, mut whole, before) = (Vec::new(), Vec::new(), cpu_ms(server.pid())?);
        for _ in 0..rounds {
            let began = Instant::now();
            times.push(up_us(&get(server.address)?)?);
            whole.push(micros(began));
            server.sleep("app-001")?;
        }
        let cpu = (cpu_ms(server.pid())? - before) as f64 / rounds as f64;
        report(&format!("cold start, {delay} ms to listen"), &mut times, &mut whole, cpu);
        cold.extend(times);
        drop(server);
        image.remove(CONTAINER);
    }
    cold.sort_unstable();

    let service =
        format!("versions:\n  app-001: {{image: {}, sleep: {{pause_after: 100ms, stop_after: 1h}}}}\n", image.name);
    let server = Server::start(&service)?;
    up_us(&get(server.address)?)?;
    let (mut times, before) = (Vec::new(), cpu_ms(server.pid())?);
    for _ in 0..rounds {
        image.wait_for_pause()?;
        let began = Instant::now();
        up_us(&get(server.address)?)?;
        times.push(micros(began));
    }
    let cpu = (cpu_ms(server.pid())? - before) as f64 / rounds as f64;
    let mut whole = times.clone();
    report("wake from a pause", &mut times, &mut whole, cpu);
    drop(server);

    let (cold, paused) = (quantile(&cold, 0.99), quantile(&times, 0.99));
    let verdict = |is: u64, most: u64| if is <= most { "meets" } else { "MISSES" };
    println!("cold start p99 {} the bar of {MOST_COLD} us", verdict(cold, MOST_COLD));
    println!("wake from a pause p99 {} the bar of {MOST_PAUSED} us", verdict(paused, MOST_PAUSED));
    Ok(cold <= MOST_COLD && paused <= MOST_PAUSED)
}

fn report(what: &str, times: &mut [u64], whole: &mut [u64], cpu: f64) {
    times.sort_unstable();
    whole.sort_unstable();
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| quantile(times, share));
    println!("{what:>28} {p50:>10} {p99:>10} {max:>10} {:>10} {cpu:>14.2}", quantile(whole, 0.5));
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// How long the container had listened when the request arrived.
fn up_us(answer: &str) -> io::Result<u64> {
    let line = answer.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("x-up-us: ").map(str::to_owned));
    line.and_then(|number| number.trim().parse().ok())
        .ok_or_else(|| io::Error::other(format!("not served by the container: {answer}")))
}

/// An image of the server that the tests use too; removed when dropped.
struct Image {
    runtime: Runtime,
    client: bollard::Docker,
    name: String,
}

impl Image {
    fn import() -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let program = folder.path().join("server");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/container/server.rs");
        let compiled = Command::new("rustc")
            .args(["--edition", "2021", "-O", "-C", "strip=symbols", "-C", "target-feature=+crt-static", "-o"])
            .args([&program, &source])
            .status()?;
        if !compiled.success() {
            return Err(io::Error::other("the server does not compile"));
        }
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_path_with_name(&program, "server")?;
        let body = bollard::body_full(tar.into_inner()?.into());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(Engine::new(None).client()).map_err(io::Error::other)?;
        let name = format!("tidegate-bench-{}", std::process::id());
        let changes = vec!["ENTRYPOINT [\"/server\"]".to_owned()];
        let options = CreateImageOptionsBuilder::new().from_src("-").repo(&name).tag("1").changes(changes).build();
        runtime.block_on(async {
            let mut steps = std::pin::pin!(client.create_image(Some(options), Some(body), None));
            while let Some(step) = steps.next().await {
                step.map_err(io::Error::other)?;
            }
            io::Result::Ok(())
        })?;
        let image = Self { runtime, client, name: format!("{name}:1") };
        image.run_other()?;
        Ok(image)
    }

    fn run_other(&self) -> io::Result<()> {
        let body = ContainerCreateBody { image: Some(self.name.clone()), ..ContainerCreateBody::default() };
        let options = CreateContainerOptionsBuilder::new().name(OTHER).build();
        self.runtime
            .block_on(async {
                self.client.create_container(Some(options), body).await?;
                self.client.start_container(OTHER, None).await
            })
            .map_err(io::Error::other)
    }

    fn wait_for_pause(&self) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        self.runtime.block_on(async {
            loop {
                let state = self.client.inspect_container(CONTAINER, None).await.map_err(io::Error::other)?.state;
                if state.and_then(|state| state.paused) == Some(true) {
                    // The engine has told tidegate a little later than us.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    return Ok(());
                }
                if Instant::now() > deadline {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    }

    fn remove(&self, container: &str) {
        let options = RemoveContainerOptionsBuilder::new().force(true).build();
        // It may never have been made.
        drop(self.runtime.block_on(self.client.remove_container(container, Some(options))));
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        self.remove(CONTAINER);
        self.remove(OTHER);
        let options = RemoveImageOptionsBuilder::new().force(true).build();
        drop(self.runtime.block_on(self.client.remove_image(&self.name, Some(options), None)));
    }
}
