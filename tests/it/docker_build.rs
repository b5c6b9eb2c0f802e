//! Images are built by a real engine from folders, zips and repositories; what goes wrong says where.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bollard::Docker;
use tidegate::control::build::{BuildError, BuildLine, BuildRequest, Built, Source, build};
use tidegate::lifecycle::provider::docker::credentials::Keychain;
use tidegate::lifecycle::provider::docker::image::resolve;
use tidegate::model::name::{ServiceName, VersionName};

use crate::support::engine::{Images, engine, files_of, step_program, unique};
use crate::support::registry::Registry;

/// A folder to build from, and a name for what is built.
struct Story {
    docker: Docker,
    images: Images,
    folder: tempfile::TempDir,
    version: VersionName,
    lines: Vec<BuildLine>,
}

impl Story {
    async fn new(what: &str) -> Option<Self> {
        let docker = engine().await?;
        let service = ServiceName::new(&format!("{}-x", unique(what))).expect("a name");
        let version = VersionName::numbered(&service, 7);
        let mut images = Images::new(&docker);
        images.own(&format!("tidegate/{service}:007"));
        Some(Self { docker, images, folder: tempfile::tempdir().expect("a folder"), version, lines: Vec::new() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("below")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn request(&self, source: &Path) -> BuildRequest {
        self.request_of(&source.to_string_lossy())
    }

    fn request_of(&self, source: &str) -> BuildRequest {
        BuildRequest::new(Source::parse(source).expect("a source"), self.version.clone())
    }

    async fn build(&mut self, request: BuildRequest) -> Result<Built, BuildError> {
        let lines = &mut self.lines;
        build(&self.docker, request, &mut |line| lines.push(line)).await
    }

    /// The files of what was built from the folder.
    async fn built(&mut self, request: BuildRequest) -> Vec<String> {
        let built = self.build(request).await.expect("built");
        let files = files_of(&self.docker, built.id.as_str()).await;
        let own = |path: &String| path.starts_with("app");
        files.into_keys().filter(own).collect()
    }

    fn said(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

#[tokio::test]
async fn a_folder_becomes_an_image() {
    let Some(mut story) = Story::new("folder").await else { return };
    story.write("Dockerfile", "FROM scratch\nARG WHO=nobody\nLABEL who=$WHO\nCOPY . /app/\nEXPOSE 8080\n");
    story.write(".dockerignore", "# notes\nsecret\n*.log\n!keep.log\nDockerfile\n.dockerignore\ndeep/*\n!deep/down\n");
    for name in ["a", "secret/x", "b.log", "keep.log", "deep/other", "deep/down/file", "with space/ü"] {
        story.write(name, name);
    }
    story.write(&format!("{}/file", "long".repeat(40)), "long");
    fs::set_permissions(story.path("a"), fs::Permissions::from_mode(0o755)).expect("ours");
    fs::create_dir(story.path("empty")).expect("made");
    symlink("/etc/passwd", story.path("out")).expect("linked");
    let _socket = UnixListener::bind(story.path("socket")).expect("bound");
    let status = std::process::Command::new("mkfifo").arg(story.path("pipe")).status().expect("mkfifo");
    assert!(status.success());

    let mut request = story.request(story.folder.path());
    request.arguments = vec![("WHO".to_owned(), "me".to_owned())];
    let built = story.build(request).await.expect("built");
    let files = files_of(&story.docker, built.id.as_str()).await;
    let names: Vec<&str> = files.keys().map(String::as_str).filter(|path| path.starts_with("app/")).collect();
    let long = format!("app/{}", "long".repeat(40));
    let expected = [
        "app/a",
        "app/deep",
        "app/deep/down",
        "app/deep/down/file",
        "app/empty",
        "app/keep.log",
        &long,
        &format!("{long}/file"),
        "app/out",
        "app/with space",
        "app/with space/ü",
    ];
    assert_eq!(names, expected);
    assert_eq!(files["app/a"], (0o755, b"a".to_vec()));
    assert_eq!(files["app/out"].1, b"-> /etc/passwd");
    assert!(
        story.said().contains("`socket` is a socket or device") && story.said().contains("`pipe`"),
        "{}",
        story.said()
    );
    let steps = story.lines.iter().filter(|line| matches!(line, BuildLine::Step { .. })).count();
    assert_eq!(steps, 5, "{}", story.said());
    // Files, without the two that the builder took out itself.
    assert_eq!(built.sent.files, 7);

    let image = resolve(&story.docker, &built.image).await.expect("asked").expect("there");
    assert_eq!((image.id, &*image.ports), (built.id.clone(), &[8080][..]));
    let name = format!("tidegate/{}:007@{}", story.version.as_str().trim_end_matches("-007"), built.id);
    assert_eq!(built.image.to_string(), name);
    let labels =
        story.docker.inspect_image(built.id.as_str()).await.expect("asked").config.and_then(|config| config.labels);
    assert_eq!(labels.expect("labels")["who"], "me");
}

#[tokio::test]
async fn a_dockerfile_may_lie_elsewhere_and_bring_its_own_rules() {
    let Some(mut story) = Story::new("elsewhere").await else { return };
    story.write("docker/prod", "FROM scratch\nCOPY . /app/\n");
    story.write("docker/prod.dockerignore", "b\n");
    story.write("app/a", "");
    story.write("app/b", "");
    story.write("app/.dockerignore", "a\n");
    let mut request = story.request(story.folder.path());
    (request.context, request.dockerfile) = (Some("app".into()), Some("docker/prod".into()));
    let files = story.built(request).await;
    assert!(files.iter().all(|path| !path.ends_with("/b")) && files.contains(&"app/a".to_owned()), "{files:?}");

    let request = story.request(story.folder.path());
    let error = story.build(request).await.expect_err("none at the root").to_string();
    assert!(error.contains("looked for `Dockerfile`"), "{error}");
}

#[tokio::test]
async fn a_zip_becomes_an_image_also_from_its_only_folder() {
    let Some(mut story) = Story::new("zip").await else { return };
    let zip = story.path("shop.zip");
    let options = zip::write::SimpleFileOptions::default();
    let mut writer = zip::ZipWriter::new(fs::File::create(&zip).expect("made"));
    for (name, text, mode) in [
        ("shop/Dockerfile", "FROM scratch\nCOPY . /app/\n", 0o644),
        ("shop/run.sh", "#!/bin/sh\n", 0o755),
        ("shop/secret", "", 0o600),
        ("shop/.dockerignore", "secret\n", 0o644),
    ] {
        writer.start_file(name, options.unix_permissions(mode)).expect("begun");
        writer.write_all(text.as_bytes()).expect("written");
    }
    writer.add_symlink("shop/link", "run.sh", options).expect("linked");
    writer.finish().expect("done");
    let request = story.request(&zip);
    let built = story.build(request).await.expect("built");
    let files = files_of(&story.docker, built.id.as_str()).await;
    assert_eq!(files["app/run.sh"], (0o755, b"#!/bin/sh\n".to_vec()));
    assert_eq!(files["app/link"].1, b"-> run.sh");
    assert!(!files.contains_key("app/secret"));
}

#[tokio::test]
async fn what_fails_is_named_with_its_step_and_its_last_lines() {
    let Some(mut story) = Story::new("fails").await else { return };
    let base = unique("base");
    story.images.import(&base, "1", &[("step", step_program(), 0o755)], &[]).await;
    story.write(
        "Dockerfile",
        &format!(
            "FROM {base}:1\nLABEL {}=1\nRUN [\"/step\", \"say\", \"all well\"]\nRUN [\"/step\", \"fail\", \"one\", \"two\"]\n",
            story.images.label()
        ),
    );
    let request = story.request(story.folder.path());
    let error = story.build(request).await.expect_err("fails");
    assert!(matches!(error, BuildError::Step { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("step 4/4: RUN [\"/step\", \"fail\"") && text.contains("non-zero code: 3"), "{text}");
    assert!(text.contains("\n  | one\n  | two") && !text.contains("all well"), "{text}");
    assert!(story.said().contains("all well"), "{}", story.said());

    for (dockerfile, said) in [
        ("FROM scratch\nNONSENSE x\n", "unknown instruction: NONSENSE"),
        ("", "cannot be empty"),
        ("FROM scratch\nCOPY none /\n", "step 2/2: COPY none / failed"),
        ("FROM 127.0.0.1:1/none\n", "step 1/1: FROM 127.0.0.1:1/none failed"),
    ] {
        story.write("Dockerfile", dockerfile);
        let request = story.request(story.folder.path());
        let error = story.build(request).await.expect_err(said).to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_is_an_error_and_no_hang() {
    let Some(mut story) = Story::new("changes").await else { return };
    story.write("Dockerfile", "FROM scratch\nCOPY . /app/\n");
    // Larger than what waits on the way, so that the thread is still reading when the writer writes.
    fs::File::create(story.path("growing")).and_then(|file| file.set_len(64 << 20)).expect("sparse");
    let (path, stop) = (story.path("growing"), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let stopped = std::sync::Arc::clone(&stop);
    let writer = std::thread::spawn(move || {
        let mut file = fs::OpenOptions::new().append(true).open(path).expect("open");
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            file.write_all(b"more").expect("written");
        }
    });
    let request = story.request(story.folder.path());
    let error = story.build(request).await.expect_err("it changes");
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().expect("ended");
    assert!(error.to_string().contains("growing` changed while it was read"), "{error}");
    // What was half sent is not taken for a smaller context.
    assert_eq!(
        story
            .docker
            .inspect_image(&format!("tidegate/{}:007", story.version.as_str().trim_end_matches("-007")))
            .await
            .ok(),
        None
    );
}

#[tokio::test]
async fn a_large_folder_takes_little_memory() {
    let Some(mut story) = Story::new("large").await else { return };
    story.write("Dockerfile", "FROM scratch\nCOPY small /\n");
    story.write("small", "");
    let file = fs::File::create(story.path("large")).expect("made");
    file.set_len(300 << 20).expect("sparse");
    let before = peak();
    let request = story.request(story.folder.path());
    let built = story.build(request).await.expect("built");
    assert!(built.sent.bytes > 300 << 20);
    // Other tests run beside it.
    let grown = peak() - before;
    assert!(grown < 200 << 20, "{grown} bytes");
}

/// The most memory that this process has had, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

#[tokio::test]
async fn a_build_that_is_dropped_ends_at_the_engine_too() {
    let Some(mut story) = Story::new("dropped").await else { return };
    let base = unique("base");
    story.images.import(&base, "1", &[("step", step_program(), 0o755)], &[]).await;
    let mark = story.images.label().to_owned();
    story.write("Dockerfile", &format!("FROM {base}:1\nLABEL {mark}=1\nRUN [\"/step\", \"sleep\", \"300\"]\n"));
    let request = story.request(story.folder.path());
    let docker = story.docker.clone();
    {
        let (sleeping, heard) = tokio::sync::oneshot::channel();
        let mut sleeping = Some(sleeping);
        let mut out = |line: BuildLine| {
            if line.to_string() == "sleeping" {
                sleeping.take().expect("once").send(()).expect("heard");
            }
        };
        let building = build(&docker, request, &mut out);
        tokio::select! {
            ended = building => panic!("{ended:?}"),
            _ = heard => {}
        }
    }
    ended(&docker, &mark).await;
}

/// Waits until the engine has removed the containers of a build that was cancelled.
async fn ended(docker: &Docker, label: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !containers_with(docker, label).await.is_empty() {
        assert!(Instant::now() < deadline, "a container of the build is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn containers_with(docker: &Docker, label: &str) -> Vec<String> {
    let filters = std::collections::HashMap::from([("label", vec![label])]);
    let options =
        bollard::query_parameters::ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let found = docker.list_containers(Some(options)).await.expect("asked");
    found.into_iter().filter_map(|container| container.id).collect()
}

#[tokio::test]
async fn a_build_that_takes_too_long_is_cancelled() {
    let Some(mut story) = Story::new("long").await else { return };
    let base = unique("base");
    story.images.import(&base, "1", &[("step", step_program(), 0o755)], &[]).await;
    story.write(
        "Dockerfile",
        &format!("FROM {base}:1\nLABEL {}=1\nRUN [\"/step\", \"sleep\", \"300\"]\n", story.images.label()),
    );
    let mut request = story.request(story.folder.path());
    request.limit = Duration::from_secs(1);
    let error = story.build(request).await.expect_err("it sleeps");
    assert!(matches!(error, BuildError::Timeout(_)), "{error:?}");
    ended(&story.docker, story.images.label()).await;
}

#[tokio::test]
async fn a_repository_becomes_an_image_at_its_tag() {
    let Some(mut story) = Story::new("git").await else { return };
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.args(["-c", "user.name=me", "-c", "user.email=me@example.com"]).args(arguments);
        command.current_dir(story.folder.path()).status().is_ok_and(|status| status.success())
    };
    if !git(&["init", "-q"]) {
        crate::support::skip("git", "`apt-get install git`");
        return;
    }
    story.write("back/Dockerfile", "FROM scratch\nCOPY . /app/\n");
    story.write("back/old", "");
    assert!(git(&["add", "-A"]) && git(&["commit", "-qm", "old"]) && git(&["tag", "v1"]));
    story.write("back/new", "");
    assert!(git(&["add", "-A"]) && git(&["commit", "-qm", "new"]));
    let source = format!("{}#v1:back", story.folder.path().display());
    let request = story.request_of(&source);
    assert_eq!(story.built(request).await, ["app", "app/Dockerfile", "app/old"]);
}

#[tokio::test]
async fn a_base_image_comes_from_a_closed_registry() {
    let Some(mut story) = Story::new("closed").await else { return };
    let storage = tempfile::tempdir().expect("a folder");
    let (Some(open), Some(closed)) = (Registry::open(storage.path()), Registry::closed(storage.path())) else {
        crate::support::skip("docker", "`apt-get install docker-registry`");
        return;
    };
    let base = open.reference("me/base:1");
    let (name, tag) = base.rsplit_once(':').expect("a tag");
    story.images.import(name, tag, &[("base", b"base", 0o644)], &[]).await;
    story.images.push(name, tag).await;
    let private = closed.reference("me/base:1");
    story.images.own(&private);
    story.write("Dockerfile", "ARG BASE=none\nFROM $BASE\nCOPY Dockerfile /app\n");
    let request = |story: &Story| {
        let mut request = story.request(story.folder.path());
        request.arguments = vec![("BASE".to_owned(), private.clone())];
        request
    };
    let error = story.build(request(&story)).await.expect_err("nobody is logged in").to_string();
    assert!(error.contains("no basic auth credentials; for a private base image, `docker login`"), "{error}");
    let config = tempfile::tempdir().expect("a folder");
    fs::write(config.path().join("config.json"), closed.login()).expect("written");
    let mut request = request(&story);
    let variable = |name: &str| (name == "DOCKER_CONFIG").then(|| config.path().as_os_str().to_owned());
    request.keychain = Keychain::load(variable).expect("read");
    assert_eq!(story.built(request).await, ["app"]);
}

/// An engine that takes the first piece of a context and closes.
#[tokio::test]
async fn an_engine_that_goes_away_in_the_middle_is_an_error_and_no_hang() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("Dockerfile"), "FROM scratch\n").expect("written");
    fs::File::create(folder.path().join("large")).and_then(|file| file.set_len(256 << 20)).expect("sparse");
    let socket = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut head = vec![0; 64 << 10];
            let read = std::io::Read::read(&mut stream, &mut head).expect("a request");
            if head[..read].windows(8).any(|window| window == b"/version") {
                let body = r#"{"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "20.10"}"#;
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).expect("sent");
            }
        }
    });
    let engine =
        tidegate::lifecycle::provider::docker::engine::Engine::new(Some(&format!("unix://{}", socket.display())));
    let docker = engine.client().await.expect("a version");
    let service = ServiceName::new("away").expect("a name");
    let source = Source::parse(&folder.path().to_string_lossy()).expect("a folder");
    let request = BuildRequest::new(source, VersionName::numbered(&service, 1));
    let began = Instant::now();
    let error = build(&docker, request, &mut |_| ()).await.expect_err("it went away");
    assert!(matches!(error, BuildError::Engine(_)), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
}
