//! The Docker provider on a real engine: what it takes, makes, finds wrong and leaves.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::query_parameters::{
    KillContainerOptionsBuilder, RemoveContainerOptionsBuilder, RenameContainerOptionsBuilder,
};
use tidegate::lifecycle::provider::End;
use tidegate::lifecycle::provider::docker::instance::DockerInstance;
use tidegate::lifecycle::provider::docker::{DockerProvider, EngineState};
use tidegate::lifecycle::provider::error::StartError;
use tidegate::model::name::{ServiceName, VersionName};
use tidegate::model::settings::{Docker, Reach};
use tidegate::model::version::{
    Backend, ContainerSpec, Found, FoundSpec, Preview, Queue, Readiness, Replicas, Scale, ScaleOn, Sleep, Start, Stop,
    Version,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::support::PATIENCE;
use crate::support::docker::Containers;

/// Runs on a runtime like that of the control thread.
fn on_control_thread<T>(test: impl AsyncFnOnce() -> T) -> T {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, test())
}

fn provider(containers: &Containers) -> DockerProvider {
    DockerProvider::new(&Docker::default(), containers.name())
}

fn spec(containers: &Containers, env: &[(&str, &str)]) -> ContainerSpec {
    ContainerSpec {
        image: containers.image().into(),
        port: 80,
        entrypoint: None,
        command: None,
        env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        volumes: Box::default(),
        user: None,
        cpu: None,
        memory: None,
    }
}

fn name(containers: &Containers, number: u32) -> VersionName {
    let service = ServiceName::new(containers.name()).expect("a service");
    VersionName::numbered(&service, number)
}

fn version(containers: &Containers, number: u32, backend: Backend) -> Version {
    Version {
        name: name(containers, number),
        backend: Arc::new(backend),
        transport: tidegate::model::transport::Transport::default(),
        start: Start { timeout: PATIENCE, ready: Readiness::Port },
        stop: Stop::default(),
        replicas: Replicas { min: 0, max: 1 },
        scale: Scale::default(),
        max_concurrency: None,
        sleep: Sleep::default(),
        keep: false,
        queue: Queue::default(),
        preview: Preview::Private,
        remark: None,
    }
}

fn of_spec(containers: &Containers, number: u32, spec: &ContainerSpec) -> Version {
    version(containers, number, Backend::Container(Box::new(spec.clone())))
}

/// A start, and the wait until it is ready.
async fn up(provider: &DockerProvider, version: &Version) -> Result<DockerInstance, StartError> {
    let mut instance = match &*version.backend {
        Backend::Container(spec) => provider.start(version, spec).await?,
        Backend::Found(spec) => provider.start_found(version, spec).await?,
        _ => panic!("no container"),
    };
    match instance.ready(&version.start).await {
        Ok(()) => Ok(instance),
        Err(error) => {
            instance.stop(&version.stop, End::Rest).await;
            Err(error)
        }
    }
}

/// What it answers at its endpoint with this number.
async fn ask(instance: &DockerInstance, endpoint: usize) -> String {
    forever(answer(instance, endpoint)).await
}

async fn answer(instance: &DockerInstance, endpoint: usize) -> String {
    let endpoint = &instance.endpoints()[endpoint];
    let mut stream = TcpStream::connect((&*endpoint.host, endpoint.port)).await.expect("it listens");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await.expect("an answer");
    let text = String::from_utf8_lossy(&answer[..length]).into_owned();
    text.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned()
}

async fn forever<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it happens")
}

fn containers_of(instance: &DockerInstance) -> Vec<String> {
    instance.containers().map(str::to_owned).collect()
}

#[test]
fn a_container_is_made_once_and_then_started_again_and_removed_in_the_end() {
    let Some(containers) = Containers::new() else { return };
    let spec = ContainerSpec {
        cpu: Some(500),
        memory: Some(64 << 20),
        user: Some("7:7".into()),
        ..spec(&containers, &[("MARK", "one")])
    };
    let version = of_spec(&containers, 1, &spec);
    let first = format!("{}-1", containers.version(1));
    on_control_thread(async || {
        let provider = provider(&containers);
        assert!(matches!(provider.engine_state(), EngineState::Unused), "nothing is asked before it is needed");
        let instance = up(&provider, &version).await.expect("ready");
        assert!(ask(&instance, 0).await.ends_with(" 1 one"));
        assert_eq!(containers_of(&instance), [first.as_str()]);
        assert!(matches!(provider.engine_state(), EngineState::Reachable));
        let report = instance.stop(&version.stop, End::Rest).await;
        assert_eq!((report.code, report.killed, report.stop_failed), (Some(0), false, false));
    });
    let made = containers.inspect(&first).expect("it stays");
    let host = made.host_config.expect("a host's part");
    assert_eq!((host.nano_cpus, host.memory, host.memory_swap), (Some(500_000_000), Some(64 << 20), Some(64 << 20)));
    assert_eq!(host.restart_policy.and_then(|policy| policy.name).map(|name| name.to_string()).as_deref(), Some("no"));
    let config = made.config.expect("a config");
    assert_eq!(config.user.as_deref(), Some("7:7"));
    let labels = config.labels.expect("labels");
    assert_eq!(labels["tidegate.version"], containers.version(1));
    assert_eq!(
        (labels["tidegate.service"].as_str(), labels["tidegate.owner"].as_str()),
        (containers.name(), containers.name())
    );
    assert!(labels["tidegate.spec"].starts_with("1:"));
    on_control_thread(async || {
        // A provider that knows nothing yet, as after a restart.
        let instance = up(&provider(&containers), &version).await.expect("ready");
        assert_eq!(containers_of(&instance), [first.as_str()]);
        instance.stop(&version.stop, End::Rest).await;
        assert_eq!(containers.run_of(&first).0, made.id.expect("an ID"), "started again, not made anew");
        let instance = up(&provider(&containers), &version).await.expect("ready");
        instance.stop(&version.stop, End::Removal).await;
    });
    assert!(containers.names().is_empty());
}

#[test]
fn what_runs_is_adopted_untouched_what_is_paused_is_thawed_and_several_at_once_take_different_ones() {
    let Some(containers) = Containers::new() else { return };
    let version = of_spec(&containers, 1, &spec(&containers, &[]));
    let named = |number: u32| format!("{}-{number}", containers.version(1));
    on_control_thread(async || {
        let provider = provider(&containers);
        let (one, two, three) = tokio::join!(up(&provider, &version), up(&provider, &version), up(&provider, &version));
        let mut instances = [one, two, three].map(|instance| instance.expect("ready"));
        let mut names: Vec<String> = instances.iter().flat_map(containers_of).collect();
        names.sort_unstable();
        assert_eq!(names, [named(1), named(2), named(3)]);
        instances.sort_by_key(containers_of);
        let [stops, mut pauses, goes_on] = instances;
        pauses.pause().await.expect("paused");
        stops.stop(&version.stop, End::Rest).await;
        pauses.stop(&version.stop, End::Handover).await;
        goes_on.stop(&version.stop, End::Handover).await;
    });
    let state = |number| containers.state(&named(number));
    assert_eq!([state(1), state(2), state(3)], ["exited", "paused", "running"]);
    let before = containers.run_of(&named(3));
    on_control_thread(async || {
        let provider = provider(&containers);
        let mut present = provider.present();
        forever(present.wait_for(|present| !present.is_empty())).await.expect("told");
        let told = present.borrow().clone();
        assert_eq!((&*told[0].version, told[0].running, told[0].paused), (containers.version(1).as_str(), 1, 1));
        let mut taken = Vec::new();
        for expected in [3, 2, 1] {
            let instance = up(&provider, &version).await.expect("ready");
            assert_eq!(containers_of(&instance), [named(expected)]);
            taken.push(instance);
        }
        for instance in taken {
            instance.stop(&version.stop, End::Handover).await;
        }
    });
    assert_eq!(containers.run_of(&named(3)), before, "adopted untouched");
    assert_eq!([state(1), state(2), state(3)], ["running", "running", "running"]);
}

#[test]
fn a_start_that_nobody_waits_for_leaves_nothing_that_runs() {
    let Some(containers) = Containers::new() else { return };
    let version = of_spec(&containers, 1, &spec(&containers, &[]));
    on_control_thread(async || {
        let provider = provider(&containers);
        for millis in [1, 20, 60, 120, 200, 300] {
            let Err(_) = timeout(Duration::from_millis(millis), up(&provider, &version)).await else { continue };
        }
        let instance = up(&provider, &version).await.expect("ready");
        assert_eq!(containers_of(&instance), [format!("{}-1", containers.version(1))], "it waited for what was undone");
        instance.stop(&version.stop, End::Rest).await;
    });
    assert_eq!(containers.names().len(), 1);
}

#[test]
fn hand_made_ends_are_noticed_and_hand_made_pauses_undone() {
    let Some(containers) = Containers::new() else { return };
    let version = of_spec(&containers, 1, &spec(&containers, &[("LOG", "first line|last line")]));
    let one = format!("{}-1", containers.version(1));
    on_control_thread(async || {
        let provider = provider(&containers);
        let client = provider.engine().client().await.expect("an engine");
        let mut instance = up(&provider, &version).await.expect("ready");
        client.pause_container(&one).await.expect("paused");
        let unpaused = timeout(Duration::from_secs(2), instance.exited(&|_| {})).await;
        assert!(unpaused.is_err(), "it goes on");
        let answer = ask(&instance, 0).await;
        assert!(answer.contains(" 1 "), "{answer}");

        client
            .kill_container(&one, Some(KillContainerOptionsBuilder::new().signal("KILL").build()))
            .await
            .expect("killed");
        let report = forever(instance.exited(&|_| {})).await.to_string();
        assert!(report.contains("exit code 137 (SIGKILL)") && report.contains("\n  last line"), "{report}");
        drop(instance);

        let mut instance = up(&provider, &version).await.expect("the same once more");
        assert_eq!(containers_of(&instance), [one.as_str()]);
        client.restart_container(&one, None).await.expect("restarted");
        let report = forever(instance.exited(&|_| {})).await.to_string();
        assert!(report.contains("exit code") || report.contains("restarted by hand"), "{report}");
        drop(instance);

        let mut instance = up(&provider, &version).await.expect("the same once more");
        client
            .remove_container(&one, Some(RemoveContainerOptionsBuilder::new().force(true).build()))
            .await
            .expect("removed");
        let report = forever(instance.exited(&|_| {})).await.to_string();
        assert!(report.contains("was removed") || report.contains("exit code 137"), "{report}");
        drop(instance);
        let instance = up(&provider, &version).await.expect("a new one");
        instance.stop(&version.stop, End::Rest).await;
    });
}

#[test]
fn a_wrong_port_is_named_with_the_right_one() {
    let Some(containers) = Containers::new() else { return };
    let soon = Start { timeout: Duration::from_secs(2), ready: Readiness::Port };
    let error = |number, env: &[(&str, &str)]| {
        let version = Version { start: soon.clone(), ..of_spec(&containers, number, &spec(&containers, env)) };
        let error = on_control_thread(async || up(&provider(&containers), &version).await.expect_err("nobody listens"));
        assert!(error.is_timeout());
        error.to_string()
    };
    let said = error(1, &[("LISTEN", "0.0.0.0:3000")]);
    // Where this host's /proc does not show the container, the image's EXPOSE is all there is.
    assert!(said.contains("listens on port 3000") && said.contains("`port: 3000`") || said.contains("8080"), "{said}");
    let said = error(2, &[("LISTEN", "127.0.0.1:80")]);
    assert!(said.contains("have it listen on 0.0.0.0") || said.contains("8080"), "{said}");
    let said = error(3, &[("DELAY_MS", "60000"), ("LOG", "still busy")]);
    assert!(said.contains("not ready within 2s") && said.contains("still busy"), "{said}");
}

#[test]
fn what_ends_before_it_is_ready_says_how_and_why() {
    let Some(containers) = Containers::new() else { return };
    let error = |number, spec: ContainerSpec| {
        let version = of_spec(&containers, number, &spec);
        on_control_thread(async || up(&provider(&containers), &version).await.expect_err("it ends").to_string())
    };
    let crash = [("EXIT_AFTER_MS", "50"), ("EXIT_CODE", "3"), ("DELAY_MS", "60000"), ("LOG", "no database")];
    let said = error(1, spec(&containers, &crash));
    assert!(said.contains("exit code 3") && said.contains("no database") && said.contains("giving up"), "{said}");
    let hungry = ContainerSpec { memory: Some(16 << 20), ..spec(&containers, &[("ALLOCATE_MIB", "64")]) };
    let said = error(2, hungry);
    assert!(said.contains("out of memory: it may have 16MiB") && said.contains("resources: {memory"), "{said}");
    let program = ContainerSpec { entrypoint: Some(["/nothing".to_owned()].into()), ..spec(&containers, &[]) };
    let said = error(3, program);
    assert!(said.contains("cannot be started") && said.contains("name a program of the image"), "{said}");
    assert!(!containers.names().contains(&format!("{}-1", containers.version(3))), "what never ran is not kept");
}

#[test]
fn an_image_that_is_nowhere_a_network_that_is_not_there_and_a_name_that_is_taken_say_the_cure() {
    let Some(containers) = Containers::new() else { return };
    let start = |settings: Docker, spec: ContainerSpec| {
        let version = of_spec(&containers, 1, &spec);
        let provider = DockerProvider::new(&settings, containers.name());
        on_control_thread(async || up(&provider, &version).await.expect_err("it cannot").to_string())
    };
    // Nobody listens there.
    let nowhere = ContainerSpec { image: "127.0.0.1:1/nobody/nothing:1".into(), ..spec(&containers, &[]) };
    let said = start(Docker::default(), nowhere);
    assert!(said.contains("127.0.0.1:1"), "{said}");
    let network = format!("{}-net", containers.name());
    let said = start(Docker { network: network.as_str().into(), ..Docker::default() }, spec(&containers, &[]));
    assert!(said.contains(&format!("docker network create {network}")), "{said}");
    let taken = format!("{}-1", containers.version(1));
    containers.run(&taken, &[], &[]);
    let said = start(Docker::default(), spec(&containers, &[]));
    assert!(said.contains(&format!("`docker rename {taken} ANOTHER`")) && said.contains(&containers.image()), "{said}");
    assert_eq!(containers.state(&taken), "running", "foreign ones are not touched");
}

#[test]
fn nobody_at_the_socket_is_said_at_once() {
    let Some(containers) = Containers::new() else { return };
    let version = of_spec(&containers, 1, &spec(&containers, &[]));
    let settings = Docker { host: Some("unix:///nowhere/docker.sock".into()), ..Docker::default() };
    let provider = DockerProvider::new(&settings, containers.name());
    on_control_thread(async || {
        let began = Instant::now();
        let said = up(&provider, &version).await.expect_err("nobody is there").to_string();
        assert!(said.contains("is Docker running?"), "{said}");
        assert!(matches!(provider.engine_state(), EngineState::Away { .. }));
        assert!(began.elapsed() < Duration::from_secs(5), "it does not wait for an engine to come");
    });
}

#[test]
fn what_happens_while_the_engine_is_away_is_known_once_it_is_back() {
    let Some(containers) = Containers::new() else { return };
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    let Some(engine) = host.strip_prefix("unix://").map(PathBuf::from) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("docker.sock");
    let settings = Docker { host: Some(format!("unix://{}", socket.display()).into()), ..Docker::default() };
    let version = of_spec(&containers, 1, &spec(&containers, &[]));
    let one = format!("{}-1", containers.version(1));
    on_control_thread(async || {
        let road = Road::open(&socket, &engine);
        let provider = DockerProvider::new(&settings, containers.name());
        let mut instance = up(&provider, &version).await.expect("ready");
        drop(road);
        let away = timeout(Duration::from_secs(1), instance.exited(&|_| {})).await;
        assert!(away.is_err(), "it counts as running");
        assert!(matches!(provider.engine_state(), EngineState::Away { .. }));
        assert!(ask(&instance, 0).await.contains(" 1 "), "it serves on");
        let kill = KillContainerOptionsBuilder::new().signal("KILL").build();
        containers.ask(async |client| client.kill_container(&one, Some(kill)).await.expect("killed"));
        let unknown = timeout(Duration::from_millis(500), instance.exited(&|_| {})).await;
        assert!(unknown.is_err(), "nobody can tell");
        let road = Road::open(&socket, &engine);
        let report = forever(instance.exited(&|_| {})).await.to_string();
        assert!(report.contains("137"), "{report}");
        drop((instance, road));
        forever(async {
            while !matches!(provider.engine_state(), EngineState::Away { .. }) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        let (instance, _road) = tokio::join!(up(&provider, &version), async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            Road::open(&socket, &engine)
        });
        let instance = instance.expect("the same once more, when the engine is back");
        assert_eq!(containers_of(&instance), [one.as_str()]);
        instance.stop(&version.stop, End::Removal).await;
    });
}

/// A socket that leads to the engine, until it is dropped.
struct Road {
    socket: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Road {
    fn open(socket: &Path, engine: &Path) -> Self {
        let listener = tokio::net::UnixListener::bind(socket).expect("a socket");
        let engine = engine.to_owned();
        let task = tokio::task::spawn_local(async move {
            // Ended with this task, all of them.
            let mut roads = tokio::task::JoinSet::new();
            while let Ok((mut here, _)) = listener.accept().await {
                let engine = engine.clone();
                roads.spawn_local(async move {
                    let mut there = tokio::net::UnixStream::connect(engine).await.expect("an engine");
                    drop(tokio::io::copy_bidirectional(&mut here, &mut there).await);
                });
            }
        });
        Self { socket: socket.to_owned(), task }
    }
}

impl Drop for Road {
    fn drop(&mut self) {
        self.task.abort();
        std::fs::remove_file(&self.socket).expect("the socket");
    }
}

#[test]
fn behind_a_published_port_an_accept_is_no_proof() {
    let Some(containers) = Containers::new() else { return };
    let slow = spec(&containers, &[("DELAY_MS", "700")]);
    let version = of_spec(&containers, 1, &slow);
    let settings = Docker { reach: Reach::Published, ..Docker::default() };
    on_control_thread(async || {
        let provider = DockerProvider::new(&settings, containers.name());
        let mut instance = provider.start(&version, &slow).await.expect("started");
        let endpoint = instance.endpoints()[0].clone();
        assert_eq!(&*endpoint.host, "127.0.0.1");
        // The lie that is not believed.
        let accepted = TcpStream::connect((&*endpoint.host, endpoint.port)).await.is_ok();
        let began = Instant::now();
        instance.ready(&version.start).await.expect("ready");
        assert!(!accepted || began.elapsed() > Duration::from_millis(300), "ready after {:?}", began.elapsed());
        assert!(ask(&instance, 0).await.contains(" 1 "));
        instance.stop(&version.stop, End::Removal).await;
    });
}

#[test]
fn a_paused_container_accepts_and_is_not_taken_for_awake() {
    let Some(containers) = Containers::new() else { return };
    let version = of_spec(&containers, 1, &spec(&containers, &[]));
    on_control_thread(async || {
        let provider = provider(&containers);
        let mut instance = up(&provider, &version).await.expect("ready");
        instance.pause().await.expect("paused");
        let endpoint = instance.endpoints()[0].clone();
        assert!(TcpStream::connect((&*endpoint.host, endpoint.port)).await.is_ok(), "its kernel accepts");
        let one = format!("{}-1", containers.version(1));
        let mut waking = Vec::new();
        for _ in 0..20 {
            let began = Instant::now();
            instance.resume(&version.start).await.expect("awake");
            assert!(ask(&instance, 0).await.contains(' '));
            waking.push(began.elapsed());
            instance.pause().await.expect("paused");
            // What tidegate has paused is not thawed by its own look at hand-made pauses.
            let looked = timeout(Duration::from_millis(50), instance.exited(&|_| {})).await;
            assert!(looked.is_err());
        }
        waking.sort_unstable();
        eprintln!("wake from pause to the first byte: median {:?}, most {:?}", waking[10], waking[19]);
        instance.stop(&version.stop, End::Rest).await;
        // Stopped although it was paused.
        let client = provider.engine().client().await.expect("an engine");
        let state = client.inspect_container(&one, None).await.expect("there").state.expect("a state");
        assert_eq!((state.running, state.paused), (Some(false), Some(false)));
    });
}

#[test]
fn who_ignores_the_signal_is_killed_after_the_grace_and_named() {
    let Some(containers) = Containers::new() else { return };
    let stubborn = of_spec(&containers, 1, &spec(&containers, &[("IGNORE_TERM", "1")]));
    let stubborn = Version { stop: Stop { grace: Duration::from_secs(1), ..Stop::default() }, ..stubborn };
    on_control_thread(async || {
        let instance = up(&provider(&containers), &stubborn).await.expect("ready");
        let began = Instant::now();
        let report = instance.stop(&stubborn.stop, End::Removal).await;
        assert!(report.killed && report.code == Some(137), "{report:?}");
        assert!(began.elapsed() >= Duration::from_secs(1));
    });
    assert!(containers.names().is_empty());
}

#[test]
fn a_differing_spec_is_reported_and_what_runs_holds() {
    let Some(containers) = Containers::new() else { return };
    let old = of_spec(&containers, 1, &spec(&containers, &[("MARK", "old")]));
    let new = of_spec(&containers, 1, &spec(&containers, &[("MARK", "new")]));
    on_control_thread(async || {
        let instance = up(&provider(&containers), &old).await.expect("ready");
        instance.stop(&old.stop, End::Handover).await;
        let provider = provider(&containers);
        provider.expect([(&new.name, &*new.backend)]);
        let first = up(&provider, &new).await.expect("ready");
        assert!(ask(&first, 0).await.ends_with("old"));
        let second = up(&provider, &new).await.expect("ready");
        assert!(ask(&second, 0).await.ends_with("old"), "a new one is like those there are");
        let differences = provider.differences();
        assert_eq!(differences.len(), 1);
        let said = &differences[0].message;
        assert!(
            said.contains("never changes")
                && said.contains(&format!("`docker rm -f {0}-1 {0}-2`", containers.version(1))),
            "{said}"
        );
        first.stop(&new.stop, End::Removal).await;
        second.stop(&new.stop, End::Removal).await;
        assert!(provider.differences().is_empty());
        let third = up(&provider, &new).await.expect("ready");
        assert!(ask(&third, 0).await.ends_with("new"));
        third.stop(&new.stop, End::Removal).await;
    });
}

#[test]
fn what_nobody_wants_is_removed_and_foreign_ones_are_not() {
    let Some(containers) = Containers::new() else { return };
    let versions: Vec<Version> = (1..=3).map(|number| of_spec(&containers, number, &spec(&containers, &[]))).collect();
    let foreign = format!("{}-foreign", containers.name());
    let others = format!("{}-others", containers.name());
    let unwanted = containers.version(9);
    containers.run(&foreign, &[], &[("tidegate.version", &unwanted)]);
    containers.run(&others, &[], &[("tidegate.version", &unwanted), ("tidegate.owner", "others")]);
    on_control_thread(async || {
        let provider = provider(&containers);
        let mut instances = Vec::new();
        for version in &versions {
            instances.push(up(&provider, version).await.expect("ready"));
        }
        let keeps = instances.pop().expect("three");
        instances.remove(0).stop(&versions[0].stop, End::Rest).await;
        instances.remove(0).stop(&versions[1].stop, End::Handover).await;
        let set = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect::<HashSet<Box<str>>>();
        provider.remove_unwanted(&set(&[]), &set(&[containers.name()])).await.expect("an engine");
        assert_eq!(containers.names().len(), 5, "a service whose file is broken loses nothing");
        provider.remove_unwanted(&set(&[versions[0].name.as_str()]), &set(&[])).await.expect("an engine");
        let named = |number| format!("{}-1", containers.version(number));
        assert_eq!(containers.names(), [named(1), named(3), foreign.clone(), others.clone()]);
        keeps.stop(&versions[2].stop, End::Removal).await;
        provider.discard(&versions[0]).await;
    });
    assert_eq!(containers.names(), [foreign, others]);
}

#[test]
fn a_container_that_two_versions_name_goes_on_until_neither_needs_it() {
    let Some(containers) = Containers::new() else { return };
    let own = format!("{}-mine", containers.name());
    containers.run(&own, &["MARK=mine"], &[]);
    let found = |number| {
        let which = Found::Name(own.as_str().into());
        version(&containers, number, Backend::Found(FoundSpec { which, port: 80 }))
    };
    on_control_thread(async || {
        let provider = provider(&containers);
        let (one, other) = (found(1), found(2));
        let mut first = up(&provider, &one).await.expect("ready");
        let second = up(&provider, &other).await.expect("ready");
        let before = containers.run_of(&own);
        first.pause().await.expect("paused");
        assert!(ask(&second, 0).await.ends_with("mine"), "it is not frozen");
        first.resume(&one.start).await.expect("goes on");
        first.stop(&one.stop, End::Rest).await;
        assert!(ask(&second, 0).await.ends_with("mine"));
        assert_eq!(containers.run_of(&own), before);
        second.stop(&other.stop, End::Rest).await;
        assert_eq!(containers.state(&own), "exited");
    });
}

#[test]
fn somebody_elses_container_is_started_and_stopped_and_outlives_its_version() {
    let Some(containers) = Containers::new() else { return };
    let own = format!("{}-mine", containers.name());
    let id = containers.run(&own, &["MARK=mine"], &[]);
    let found = |which: Found| version(&containers, 1, Backend::Found(FoundSpec { which, port: 80 }));
    let by_name = found(Found::Name(own.as_str().into()));
    on_control_thread(async || {
        let provider = provider(&containers);
        let before = containers.run_of(&own);
        let instance = up(&provider, &by_name).await.expect("ready");
        assert!(ask(&instance, 0).await.ends_with("mine"));
        assert_eq!(containers.run_of(&own), before, "adopted as it runs");
        instance.stop(&by_name.stop, End::Rest).await;
        assert_eq!(containers.state(&own), "exited");
        let by_id = found(Found::Name(id[..12].into()));
        let mut instance = up(&provider, &by_id).await.expect("ready");
        instance.pause().await.expect("paused");
        instance.stop(&by_id.stop, End::Removal).await;
        assert_eq!(
            (containers.state(&own), containers.run_of(&own).0),
            ("running".to_owned(), id.clone()),
            "it is not ours to remove"
        );
        let missing = format!("{}-min", containers.name());
        let said =
            up(&provider, &found(Found::Name(missing.as_str().into()))).await.expect_err("not there").to_string();
        assert!(
            said.contains(&format!("no container `{missing}`")) && said.contains(&format!("there is `{own}`")),
            "{said}"
        );
    });
}

#[test]
fn all_containers_of_a_service_of_compose_are_one_instance() {
    let Some(containers) = Containers::new() else { return };
    let project = containers.name();
    let labels = [("com.docker.compose.project", project), ("com.docker.compose.service", "web")];
    for number in [1, 2] {
        containers.run(&format!("{project}-web-{number}"), &[&format!("MARK=web{number}")], &labels);
    }
    let which = Found::Compose { project: project.into(), service: "web".into() };
    let version = version(&containers, 1, Backend::Found(FoundSpec { which, port: 80 }));
    on_control_thread(async || {
        let provider = provider(&containers);
        let mut instance = up(&provider, &version).await.expect("ready");
        assert!(ask(&instance, 0).await.ends_with("web1") && ask(&instance, 1).await.ends_with("web2"));
        let client = provider.engine().client().await.expect("an engine");
        let second = format!("{project}-web-2");
        client
            .rename_container(&second, RenameContainerOptionsBuilder::new().name(&format!("{second}b")).build())
            .await
            .expect("renamed");
        client.kill_container(&format!("{second}b"), None).await.expect("killed");
        let report = forever(instance.exited(&|_| {})).await.to_string();
        assert!(report.contains("137"), "{report}");
        drop(instance);
        let instance = up(&provider, &version).await.expect("both again");
        instance.stop(&version.stop, End::Rest).await;
    });
    assert!(containers.names().iter().all(|name| containers.state(name) == "exited"));
}

#[test]
fn processor_time_is_told_where_a_version_is_scaled_by_it() {
    let Some(containers) = Containers::new() else { return };
    let limited = ContainerSpec { cpu: Some(500), ..spec(&containers, &[]) };
    let version = of_spec(&containers, 1, &limited);
    let version = Version { scale: Scale { on: ScaleOn::Cpu, target: None }, ..version };
    on_control_thread(async || {
        let mut instance = up(&provider(&containers), &version).await.expect("ready");
        let endpoint = instance.endpoints()[0].clone();
        let mut stream = TcpStream::connect((&*endpoint.host, endpoint.port)).await.expect("it listens");
        stream.write_all(b"GET / HTTP/1.1\r\nx-burn-ms: 8000\r\n\r\n").await.expect("sent");
        let most = std::cell::Cell::new(0.0_f64);
        let told = |used: f64| most.set(most.get().max(used));
        let ended = timeout(Duration::from_secs(6), instance.exited(&told)).await;
        assert!(ended.is_err(), "it runs");
        // All of its half of a core, on a machine that may be busy elsewhere.
        assert!((40.0..=160.0).contains(&most.get()), "{} %", most.get());
        instance.stop(&version.stop, End::Removal).await;
    });
}

#[test]
fn a_container_that_was_stopped_is_ready_soon_after_it_listens() {
    let Some(containers) = Containers::new() else { return };
    let version = of_spec(&containers, 1, &spec(&containers, &[]));
    let stop = Stop { grace: Duration::ZERO, ..Stop::default() };
    let mut ready = Vec::new();
    on_control_thread(async || {
        let provider = provider(&containers);
        up(&provider, &version).await.expect("ready").stop(&stop, End::Rest).await;
        for _ in 0..10 {
            let instance = up(&provider, &version).await.expect("ready");
            ready.push(now());
            instance.stop(&stop, End::Rest).await;
        }
    });
    let listened = containers.listened(&format!("{}-1", containers.version(1)));
    let late = late(&ready, &listened[1..]);
    assert_eq!(late.len(), 10);
    eprintln!("ready after it listened: median {:?}, most {:?}", late[5], late[9]);
    // Far above what it takes, for machines that do other things.
    assert!(late[5] < Duration::from_millis(500));
}

#[test]
fn on_a_network_of_their_own_those_that_start_at_once_are_found_at_once() {
    let Some(containers) = Containers::new() else { return };
    let settings = Docker { network: containers.name().into(), ..Docker::default() };
    containers.make_network();
    let spec = spec(&containers, &[("DELAY_MS", "30")]);
    let versions: Vec<Version> = (1..=4).map(|number| of_spec(&containers, number, &spec)).collect();
    let mut ready = Vec::new();
    on_control_thread(async || {
        let provider = DockerProvider::new(&settings, containers.name());
        let each = versions.iter().map(async |version| {
            let instance = up(&provider, version).await.expect("ready");
            (now(), instance)
        });
        for (version, (at, instance)) in versions.iter().zip(futures_util::future::join_all(each).await) {
            ready.push(at);
            instance.stop(&version.stop, End::Rest).await;
        }
    });
    let first = |number| containers.listened(&format!("{}-1", containers.version(number)))[0];
    let late = late(&ready, &[1, 2, 3, 4].map(first));
    eprintln!("ready after they listened: {late:?}");
    // A host that looked for an address before somebody had it would look again after a second.
    assert!(late[1] < Duration::from_millis(800), "{late:?}");
}

fn now() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock")
}

/// How long after it listened each was ready, sorted.
fn late(ready: &[Duration], listened: &[Duration]) -> Vec<Duration> {
    let mut late: Vec<Duration> = ready.iter().zip(listened).map(|(ready, at)| ready.saturating_sub(*at)).collect();
    late.sort_unstable();
    late
}
