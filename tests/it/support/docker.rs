//! A real Docker engine with an image of a test server on it, and names that no other test has.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerSummary, HostConfig, NetworkCreateRequest,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
};
use futures_util::StreamExt as _;
use tidegate::lifecycle::provider::docker::engine::Engine;
use tokio::runtime::{Builder, Runtime};

use super::skip;

/// The engine, and what a test makes on it. Containers, networks and images whose names begin with [`name`](Self::name) are removed
/// when it is dropped.
pub(crate) struct Containers {
    runtime: Runtime,
    client: Docker,
    name: String,
}

impl Containers {
    /// `None`, and a line that says so, where no engine answers.
    pub(crate) fn new() -> Option<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let client = match runtime.block_on(Engine::new(None).client()) {
            Ok(client) => client,
            Err(error) => {
                skip("docker", &format!("start a Docker engine, or name one by DOCKER_HOST ({error})"));
                return None;
            }
        };
        let containers = Self { runtime, client, name: format!("t{:08x}x", rand::random::<u32>()) };
        containers.import();
        Some(containers)
    }

    /// A name for a service, or to begin others with.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The version of that service with a number.
    pub(crate) fn version(&self, number: u32) -> String {
        format!("{}-{number:03}", self.name)
    }

    /// The host of that service.
    pub(crate) fn host(&self) -> String {
        format!("{}.localhost", self.name)
    }

    /// The image of the test server.
    pub(crate) fn image(&self) -> String {
        format!("{}:1", self.name)
    }

    /// Asks the engine; also from within another runtime, which waits meanwhile.
    pub(crate) fn ask<T: Send>(&self, question: impl AsyncFnOnce(&Docker) -> T + Send) -> T {
        let asking = || self.runtime.block_on(question(&self.client));
        std::thread::scope(|scope| scope.spawn(asking).join()).expect("an answer")
    }

    fn import(&self) {
        let program = fs::read(program()).expect("the test server");
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(program.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, "server", &*program).expect("in memory");
        let body = bollard::body_full(tar.into_inner().expect("in memory").into());
        let changes = ["ENTRYPOINT [\"/server\"]", "EXPOSE 8080"].map(str::to_owned).to_vec();
        let options = CreateImageOptionsBuilder::new().from_src("-").repo(&self.name).tag("1").changes(changes).build();
        self.ask(async |client| {
            let mut steps = std::pin::pin!(client.create_image(Some(options), Some(body), None));
            while let Some(step) = steps.next().await {
                step.expect("imported");
            }
        });
    }

    /// Makes a container as somebody else would, and starts it; its ID.
    pub(crate) fn run(&self, name: &str, env: &[&str], labels: &[(&str, &str)]) -> String {
        let labels: HashMap<String, String> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let body = ContainerCreateBody {
            image: Some(self.image()),
            env: Some(env.iter().map(|variable| (*variable).to_owned()).collect()),
            labels: Some(labels),
            host_config: Some(HostConfig::default()),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        self.ask(async |client| {
            let made = client.create_container(Some(options), body).await.expect("made");
            client.start_container(&made.id, None).await.expect("started");
            made.id
        })
    }

    /// What the engine says of a container.
    pub(crate) fn inspect(&self, name: &str) -> Option<ContainerInspectResponse> {
        self.ask(async |client| client.inspect_container(name, None).await.ok())
    }

    /// What a container does: `running`, `paused`, `exited`, `created`, or `gone`.
    pub(crate) fn state(&self, name: &str) -> String {
        let state = self.inspect(name).and_then(|container| container.state?.status);
        state.map_or_else(|| "gone".to_owned(), |state| state.to_string())
    }

    /// The ID of a container and when it was last started.
    pub(crate) fn run_of(&self, name: &str) -> (String, String) {
        let container = self.inspect(name).expect("a container");
        let started = container.state.and_then(|state| state.started_at).expect("a time");
        (container.id.expect("an ID"), started)
    }

    /// When a container of the test server began to listen, each time that it did, since 1970.
    pub(crate) fn listened(&self, name: &str) -> Vec<Duration> {
        let log = self.ask(async |client| {
            let options = LogsOptionsBuilder::new().stdout(true).build();
            let chunks: Vec<_> = client.logs(name, Some(options)).collect().await;
            chunks.into_iter().flatten().map(|chunk| chunk.to_string()).collect::<String>()
        });
        log.lines().filter_map(|line| line.rsplit_once(" at ")?.1.parse().ok()).map(Duration::from_nanos).collect()
    }

    /// Makes a network of that name.
    pub(crate) fn make_network(&self) {
        let network = NetworkCreateRequest { name: self.name.clone(), ..NetworkCreateRequest::default() };
        self.ask(async |client| drop(client.create_network(network).await.expect("a network")));
    }

    /// The names of all containers that begin with [`name`](Self::name), sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.ask(async |client| list(client, &self.name).await).into_iter().map(|one| one.1).collect();
        names.sort_unstable();
        names
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        self.ask(async |client| {
            for (id, _) in list(client, &self.name).await {
                drop(client.unpause_container(&id).await);
                let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
                drop(client.remove_container(&id, Some(options)).await);
            }
            drop(client.remove_network(&self.name).await);
            let options = RemoveImageOptionsBuilder::new().force(true).build();
            drop(client.remove_image(&self.image(), Some(options), None).await);
        });
    }
}

/// IDs and names of the containers whose names begin so.
async fn list(client: &Docker, beginning: &str) -> Vec<(String, String)> {
    let options = ListContainersOptionsBuilder::new().all(true).build();
    let all = client.list_containers(Some(options)).await.unwrap_or_default();
    let named = |summary: ContainerSummary| {
        let name = summary.names?.first()?.trim_start_matches('/').to_owned();
        name.starts_with(beginning).then_some((summary.id?, name))
    };
    all.into_iter().filter_map(named).collect()
}

/// The test server as a static program, compiled once.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/container/server.rs");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let program = folder.join("container-server");
        let age = |path: &Path| path.metadata().and_then(|of| of.modified()).ok();
        if age(&program) > age(&source) {
            return program;
        }
        // Beside, and moved into place: another run of the tests may do the same.
        let beside = folder.join(format!("container-server.{}", std::process::id()));
        let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        rustc.args(["--edition", "2021", "-O", "-C", "strip=symbols", "-C", "target-feature=+crt-static", "-o"]);
        let compiled = rustc.arg(&beside).arg(source).status().expect("rustc");
        assert!(compiled.success(), "the test server does not compile");
        fs::rename(&beside, &program).expect("moved");
        program
    })
}
