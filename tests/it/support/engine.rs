//! The Docker engine that tests use, and images of their own on it.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use bollard::Docker;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptions, CreateImageOptionsBuilder, ListImagesOptionsBuilder, PushImageOptionsBuilder,
    RemoveImageOptionsBuilder,
};
use futures_util::StreamExt;
use tidegate::lifecycle::provider::docker::engine::Engine;

use super::skip;

/// The engine of DOCKER_HOST, or the one of this host. `None`, and a line that says so, where none answers.
pub(crate) async fn engine() -> Option<Docker> {
    let engine = Engine::new(None);
    match engine.client().await {
        Ok(docker) => Some(docker),
        Err(error) => {
            skip("docker", &format!("start a Docker engine, or name one by DOCKER_HOST ({error})"));
            None
        }
    }
}

/// The program of `tests/fixtures/container/step.rs`, static, compiled once.
pub(crate) fn step_program() -> &'static [u8] {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/container/step.rs");
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("container-step.{}", std::process::id()));
        let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        rustc.args(["--edition", "2021", "-O", "-C", "strip=symbols", "-C", "target-feature=+crt-static", "-o"]);
        assert!(rustc.arg(&program).arg(source).status().expect("rustc").success(), "the step does not compile");
        let bytes = std::fs::read(&program).expect("compiled");
        std::fs::remove_file(program).expect("ours");
        bytes
    })
}

/// What is in an image: paths with modes and contents, as a container of it would see them.
pub(crate) async fn files_of(docker: &Docker, image: &str) -> BTreeMap<String, (u32, Vec<u8>)> {
    let config =
        ContainerCreateBody { image: Some(image.to_owned()), cmd: Some(vec!["x".to_owned()]), ..Default::default() };
    let container = docker.create_container(None::<CreateContainerOptions>, config).await.expect("made").id;
    let mut exported = Vec::new();
    let mut pieces = std::pin::pin!(docker.export_container(&container));
    while let Some(piece) = pieces.next().await {
        exported.extend_from_slice(&piece.expect("exported"));
    }
    docker.remove_container(&container, None).await.expect("removed");
    let mut archive = tar::Archive::new(&exported[..]);
    let files = archive.entries().expect("a tar").map(|entry| {
        let mut entry = entry.expect("an entry");
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("in memory");
        if let Some(target) = entry.link_name().expect("a name") {
            content = format!("-> {}", target.display()).into_bytes();
        }
        let path = entry.path().expect("a path").to_string_lossy().trim_end_matches('/').to_owned();
        (path, (entry.header().mode().expect("a mode") & 0o777, content))
    });
    files.collect()
}

/// Removes images when the test ends, also by panic.
pub(crate) struct Images {
    docker: Docker,
    names: Vec<String>,
    label: String,
}

impl Images {
    pub(crate) fn new(docker: &Docker) -> Self {
        Self { docker: docker.clone(), names: Vec::new(), label: unique("label") }
    }

    /// Has an image removed that the test makes.
    pub(crate) fn own(&mut self, name: &str) {
        self.names.push(name.to_owned());
    }

    /// A label for what a build may leave without a name: the steps before one that fails.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Makes an image of a few files.
    pub(crate) async fn import(&mut self, name: &str, tag: &str, files: &[(&str, &[u8], u32)], changes: &[&str]) {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content, mode) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(*mode);
            tar.append_data(&mut header, path, *content).expect("in memory");
        }
        self.import_tar(name, tag, tar.into_inner().expect("in memory"), changes).await;
    }

    /// Makes an image of a root folder's content.
    pub(crate) async fn import_tar(&mut self, name: &str, tag: &str, tar: Vec<u8>, changes: &[&str]) {
        let body = bollard::body_full(tar.into());
        let changes = changes.iter().map(|change| (*change).to_owned()).collect();
        let options = CreateImageOptionsBuilder::default().from_src("-").repo(name).tag(tag).changes(changes).build();
        let mut events = std::pin::pin!(self.docker.create_image(Some(options), Some(body), None));
        while let Some(event) = events.next().await {
            event.expect("imported");
        }
        self.own(&format!("{name}:{tag}"));
    }

    /// Pushes one to the registry of its name.
    pub(crate) async fn push(&self, name: &str, tag: &str) {
        let options = PushImageOptionsBuilder::default().tag(tag).build();
        let mut events = std::pin::pin!(self.docker.push_image(name, Some(options), None));
        while let Some(event) = events.next().await {
            event.expect("pushed");
        }
    }

    /// Removes one now.
    pub(crate) async fn remove(&self, name: &str) {
        let options = RemoveImageOptionsBuilder::default().force(true).build();
        drop(self.docker.remove_image(name, Some(options), None).await);
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        let (mut names, label) = (std::mem::take(&mut self.names), std::mem::take(&mut self.label));
        // A runtime of its own: the test's may be ending. The engine's connections belong to the other, so a new one is made.
        let removing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let Ok(docker) = Engine::new(None).client().await else { return };
                let filters = HashMap::from([("label", vec![label.as_str()])]);
                let options = ListImagesOptionsBuilder::default().filters(&filters).build();
                let unnamed = docker.list_images(Some(options)).await.unwrap_or_default();
                names.splice(0..0, unnamed.into_iter().map(|image| image.id));
                for name in names {
                    let options = RemoveImageOptionsBuilder::default().force(true).build();
                    drop(docker.remove_image(&name, Some(options), None).await);
                }
            });
        });
        drop(removing.join());
    }
}

/// A name that no other test has.
pub(crate) fn unique(what: &str) -> String {
    format!("tidegate-test-{what}-{:08x}", rand::random::<u32>())
}
