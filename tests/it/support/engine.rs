//! The Docker engine that tests use, and images of their own on it.

use bollard::Docker;
use bollard::query_parameters::{CreateImageOptionsBuilder, RemoveImageOptionsBuilder};
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

/// Removes images when the test ends, also by panic.
pub(crate) struct Images {
    docker: Docker,
    names: Vec<String>,
}

impl Images {
    pub(crate) fn new(docker: &Docker) -> Self {
        Self { docker: docker.clone(), names: Vec::new() }
    }

    /// Has an image removed that the test makes.
    pub(crate) fn own(&mut self, name: &str) {
        self.names.push(name.to_owned());
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
        let body = bollard::body_full(tar.into_inner().expect("in memory").into());
        let changes = changes.iter().map(|change| (*change).to_owned()).collect();
        let options = CreateImageOptionsBuilder::default().from_src("-").repo(name).tag(tag).changes(changes).build();
        let mut events = std::pin::pin!(self.docker.create_image(Some(options), Some(body), None));
        while let Some(event) = events.next().await {
            event.expect("imported");
        }
        self.own(&format!("{name}:{tag}"));
    }

    /// Removes one now.
    pub(crate) async fn remove(&self, name: &str) {
        let options = RemoveImageOptionsBuilder::default().force(true).build();
        drop(self.docker.remove_image(name, Some(options), None).await);
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        let names = std::mem::take(&mut self.names);
        // A runtime of its own: the test's may be ending. The engine's connections belong to the other, so a new one is made.
        let removing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let Ok(docker) = Engine::new(None).client().await else { return };
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
