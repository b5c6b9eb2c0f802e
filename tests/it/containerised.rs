//! tidegate in a container: the last stage of the Dockerfile, with a static binary that was built beside (`TIDEGATE_STATIC`), on a real engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bollard::models::{ContainerCreateBody, HealthConfig, HostConfig};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use tidegate::control::build::{BuildRequest, Source, build};
use tidegate::model::name::{ServiceName, VersionName};

use crate::support::docker::Containers;
use crate::support::engine::Images;
use crate::support::raw::Raw;
use crate::support::{eventually, skip};

/// The binary, and that it needs nothing beside itself.
fn binary() -> Option<PathBuf> {
    let Some(path) = std::env::var_os("TIDEGATE_STATIC").map(PathBuf::from) else {
        skip("static", "name a static binary by TIDEGATE_STATIC, as .ci/run does");
        return None;
    };
    let headers = Command::new("readelf").args(["-lW"]).arg(&path).output();
    if let Ok(headers) = headers {
        assert!(!String::from_utf8_lossy(&headers.stdout).contains("INTERP"), "{} is not static", path.display());
    }
    Some(path)
}

#[test]
fn the_image_of_tidegate_serves_processes_and_containers() {
    let Some(binary) = binary() else { return };
    let Some(containers) = Containers::new() else { return };
    // The engine's socket, for the container that tidegate is in.
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    let Some(socket) = host.strip_prefix("unix://") else { return };

    // The context of the last stage: what the first would have left.
    let dockerfile =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Dockerfile")).expect("a Dockerfile");
    let (_, last) = dockerfile.split_once("FROM scratch").expect("a last stage");
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("context/out/run/tidegate")).expect("made");
    fs::copy(binary, at("context/out/tidegate")).expect("copied");
    let last = format!("FROM scratch{}", last.replace("COPY --from=build /out /", "COPY out /"));
    fs::write(at("context/Dockerfile"), last).expect("written");
    let service = ServiceName::new(&format!("{}-gate", containers.name())).expect("a name");
    let mut kept = None;
    let image = containers.ask(async |docker| {
        let images = kept.insert(Images::new(docker));
        images.own(&format!("tidegate/{service}:001"));
        let source = Source::parse(&at("context").to_string_lossy()).expect("a folder");
        let request = BuildRequest::new(source, VersionName::numbered(&service, 1));
        build(docker, request, &mut |_| ()).await.expect("built").id.to_string()
    });

    let name = containers.name();
    fs::create_dir_all(at("config/services")).expect("made");
    let root = format!(
        "listen: {{http: 0.0.0.0:80}}\nbase_domain: localhost\nservices: services\nsocket: /run/tidegate/tidegate.sock\n\
         docker: {{owner: {name}}}\n"
    );
    fs::write(at("config/tidegate.yaml"), root).expect("written");
    let demo = "versions: {demo-001: {command: [tidegate, demo]}}\n";
    fs::write(at("config/services/demo.yaml"), demo).expect("written");
    let of_engine = format!("versions: {{{}: {{image: \"{}\"}}}}\n", containers.version(1), containers.image());
    fs::write(at(&format!("config/services/{name}.yaml")), of_engine).expect("written");

    let gate = format!("{name}-gate");
    let binds = vec![format!("{}:/etc/tidegate:ro", at("config").display()), format!("{socket}:/var/run/docker.sock")];
    let second = 1_000_000_000;
    let body = ContainerCreateBody {
        image: Some(image),
        // The socket is root's; without the engine it runs as nobody.
        user: Some("0:0".to_owned()),
        host_config: Some(HostConfig { binds: Some(binds), readonly_rootfs: Some(true), ..HostConfig::default() }),
        // The image's own check, more often.
        healthcheck: Some(HealthConfig { interval: Some(second), ..HealthConfig::default() }),
        ..ContainerCreateBody::default()
    };
    containers.ask(async |docker| {
        let options = CreateContainerOptionsBuilder::default().name(&gate).build();
        let made = docker.create_container(Some(options), body).await.expect("made");
        docker.start_container(&made.id, None).await.expect("started");
    });
    let address = eventually("an address", || {
        let networks = containers.inspect(&gate)?.network_settings?.networks?;
        let address: std::net::IpAddr = networks.get("bridge")?.ip_address.as_ref()?.parse().ok()?;
        std::net::TcpStream::connect((address, 80)).ok().map(|_| address)
    });
    let get = |host: &str| Raw::connect((address, 80).into()).get(host, "/");
    let answer = get("demo.localhost");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let answer = get(&containers.host());
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(containers.names().contains(&format!("{}-1", containers.version(1))), "{:?}", containers.names());
    // HEALTHCHECK, without a shell.
    eventually("a healthy container", || {
        let health = containers.inspect(&gate)?.state?.health?.status?;
        (health.to_string() == "healthy").then_some(())
    });
    drop(containers);
    drop(kept);
}

#[test]
fn the_dockerfile_builds_what_is_there_and_runs_as_nobody() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dockerfile = fs::read_to_string(root.join("Dockerfile")).expect("a Dockerfile");
    for wanted in ["\nFROM scratch\n", "\nUSER 65534:65534\n", "HEALTHCHECK", "ENTRYPOINT [\"/tidegate\"]"] {
        assert!(dockerfile.contains(wanted), "{wanted}");
    }
    // The compiler is the one that the repository is held to.
    let toolchain = fs::read_to_string(root.join("rust-toolchain.toml")).expect("a toolchain");
    let channel =
        toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).expect("a channel").trim_matches('"');
    assert!(dockerfile.contains(&format!("RUSTUP_TOOLCHAIN={channel} ")), "{channel}");
    // What the build needs is not left out by .dockerignore.
    let ignore = fs::read_to_string(root.join(".dockerignore")).expect("rules");
    for line in dockerfile.lines().filter(|line| line.starts_with("COPY ") && !line.contains("--from")) {
        let words: Vec<&str> = line.split(' ').collect();
        for name in &words[1..words.len() - 1] {
            assert!(root.join(name).exists() && ignore.lines().any(|rule| rule == format!("!{name}")), "{name}");
        }
    }
}
