//! Images are resolved, pulled from real registries and pinned; what goes wrong says what to do.

use bollard::Docker;
use bollard::query_parameters::TagImageOptionsBuilder;
use tidegate::lifecycle::provider::docker::credentials::{Credentials, Keychain};
use tidegate::lifecycle::provider::docker::image::{LocalImage, Progress, PullError, Reference, pin, pull, resolve};

use crate::support::engine::{Images, engine, unique};
use crate::support::ports::own_address;
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::skip;

fn reference(text: &str) -> Reference {
    Reference::parse(text).expect(text)
}

fn registry(started: Option<Registry>) -> Option<Registry> {
    if started.is_none() {
        skip("docker", "`apt-get install docker-registry`");
    }
    started
}

async fn pull_it(docker: &Docker, name: &str, credentials: Option<&Credentials>) -> Result<LocalImage, PullError> {
    pull(docker, &reference(name), credentials, |_| ()).await
}

/// Makes an image and pushes it; the engine forgets it.
async fn push(docker: &Docker, images: &mut Images, target: &str, content: &[u8]) {
    let local = unique("pushed");
    images.import(&local, "latest", &[("hello", content, 0o644)], &["EXPOSE 8080 53/udp 443"]).await;
    let (name, tag) = target.rsplit_once(':').expect("with a tag");
    let options = TagImageOptionsBuilder::default().repo(name).tag(tag).build();
    docker.tag_image(&local, Some(options)).await.expect("tagged");
    images.push(name, tag).await;
    for name in [target, &local] {
        images.remove(name).await;
    }
}

async fn login(registry: &Registry, password: &str) -> Credentials {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.json"), registry.login_as(USER, password)).expect("written");
    let variable = |name: &str| (name == "DOCKER_CONFIG").then(|| folder.path().as_os_str().to_owned());
    let keychain = Keychain::load(variable).expect("read");
    keychain.credentials(&registry.server()).await.expect("right").expect("known")
}

#[tokio::test]
async fn an_image_is_pulled_with_progress_and_pinned() {
    let Some(docker) = engine().await else { return };
    let storage = tempfile::tempdir().expect("a folder");
    let Some(registry) = registry(Registry::open(storage.path())) else { return };
    let mut images = Images::new(&docker);
    let (first, name) = (registry.reference("me/shop:1.0"), registry.reference("me/shop"));
    push(&docker, &mut images, &first, b"first").await;
    assert_eq!(resolve(&docker, &reference(&first)).await.expect("asked"), None);

    images.own(&first);
    let mut last = Progress::default();
    let pulled = pull(&docker, &reference(&first), None, |now| last = now).await.expect("pulled");
    assert_eq!((last.layers, last.layers_done), (1, 1));
    assert!(last.bytes > 0 && last.bytes == last.bytes_done, "{last:?}");
    assert_eq!(&*pulled.ports, [443, 8080]);
    assert!(pulled.created.as_deref().is_some_and(|at| at.starts_with("20")), "{pulled:?}");
    let digest = pulled.digest.clone().expect("a registry has it");
    let pinned = pin(&reference(&first), &pulled);
    assert_eq!(pinned.to_string(), format!("{first}@{digest}"));
    assert_eq!(resolve(&docker, &pinned).await.expect("asked"), Some(pulled.clone()));

    // The tag moves on. What was pinned stays, also where the engine has to pull it again.
    push(&docker, &mut images, &first, b"second").await;
    images.remove(&format!("{name}@{digest}")).await;
    assert_eq!(resolve(&docker, &pinned).await.expect("asked"), None);
    let again = pull(&docker, &pinned, None, |_| ()).await.expect("pulled by digest");
    images.own(&format!("{name}@{digest}"));
    assert_eq!((again.id, again.digest), (pulled.id.clone(), Some(digest)));
    let moved = pull_it(&docker, &first, None).await.expect("pulled by tag");
    assert_ne!(moved.id, pulled.id);
}

#[tokio::test]
async fn an_image_that_was_built_here_is_pinned_by_its_id() {
    let Some(docker) = engine().await else { return };
    let mut images = Images::new(&docker);
    let name = unique("local");
    images.import(&name, "7", &[("hello", b"local", 0o644)], &[]).await;
    let found = resolve(&docker, &reference(&format!("{name}:7"))).await.expect("asked").expect("there");
    assert_eq!(found.digest, None);
    let pinned = pin(&reference(&format!("{name}:7")), &found);
    assert_eq!(pinned.to_string(), format!("{name}:7@{}", found.id));
    assert_eq!(resolve(&docker, &pinned).await.expect("asked"), Some(found.clone()));
    assert_eq!(resolve(&docker, &reference(found.id.as_str())).await.expect("asked"), Some(found.clone()));
    // The tag moves on, and the pin does not.
    images.import(&name, "7", &[("hello", b"another", 0o644)], &[]).await;
    let moved = resolve(&docker, &reference(&format!("{name}:7"))).await.expect("asked").expect("there");
    assert_ne!(moved.id, found.id);
    assert_eq!(resolve(&docker, &pinned).await.expect("asked").map(|image| image.id), Some(found.id.clone()));
    images.remove(found.id.as_str()).await;
    assert_eq!(resolve(&docker, &pinned).await.expect("asked"), None);
    let error = pull(&docker, &reference(found.id.as_str()), None, |_| ()).await.expect_err("no name").to_string();
    assert!(error.contains("write its name"), "{error}");
}

#[tokio::test]
async fn a_closed_registry_wants_the_credentials_of_docker_login() {
    let Some(docker) = engine().await else { return };
    let storage = tempfile::tempdir().expect("a folder");
    let (Some(open), Some(closed)) =
        (registry(Registry::open(storage.path())), registry(Registry::closed(storage.path())))
    else {
        return;
    };
    let mut images = Images::new(&docker);
    push(&docker, &mut images, &open.reference("me/closed:1"), b"closed").await;
    let (name, server) = (closed.reference("me/closed:1"), closed.server());
    let denied = pull_it(&docker, &name, None).await.expect_err("nobody is logged in");
    assert!(matches!(denied, PullError::Denied { logged_in: false, .. }), "{denied:?}");
    assert!(denied.to_string().contains(&format!("`docker login {server}`")), "{denied}");

    let wrong = login(&closed, "wrong").await;
    let denied = pull_it(&docker, &name, Some(&wrong)).await.expect_err("a wrong password");
    assert!(matches!(denied, PullError::Denied { logged_in: true, .. }), "{denied:?}");
    assert!(!denied.to_string().contains("wrong"), "{denied}");

    let right = login(&closed, PASSWORD).await;
    images.own(&name);
    let pulled = pull_it(&docker, &name, Some(&right)).await.expect("logged in");
    assert!(pulled.digest.is_some());
}

#[tokio::test]
async fn what_a_registry_does_not_have_is_named() {
    let Some(docker) = engine().await else { return };
    let storage = tempfile::tempdir().expect("a folder");
    let Some(registry) = registry(Registry::open(storage.path())) else { return };
    let mut images = Images::new(&docker);
    push(&docker, &mut images, &registry.reference("me/some:1"), b"some").await;
    let digest = format!("sha256:{}", "ab".repeat(32));
    for (name, said) in [
        ("me/some:2", "is the tag `2` there"),
        ("me/none", "tag `latest`"),
        (&format!("me/some@{digest}"), "digest there"),
    ] {
        let error = pull_it(&docker, &registry.reference(name), None).await.expect_err(name);
        assert!(matches!(error, PullError::NotFound { .. }) && error.to_string().contains(said), "{error:?}");
    }
}

#[tokio::test]
async fn a_registry_that_cannot_be_spoken_to_is_named() {
    let Some(docker) = engine().await else { return };
    let nobody = own_address();
    let error = pull_it(&docker, &format!("{nobody}/me/x"), None).await.expect_err("nobody listens");
    assert!(matches!(&error, PullError::Unreachable { registry, .. } if *registry == nobody.to_string()), "{error:?}");

    let Some(gateway) = gateway(&docker).await else { return };
    let (storage, address) = (tempfile::tempdir().expect("a folder"), (gateway, own_address().port()).into());
    let Some(_registry) = registry(Registry::at(storage.path(), address)) else { return };
    let error = pull_it(&docker, &format!("{address}/me/x"), None).await.expect_err("plain HTTP");
    assert!(matches!(error, PullError::PlainHttp { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("add `{address}` to \"insecure-registries\"")), "{error}");
}

/// The host's address on the default network, which is not loopback; `None` where the engine is elsewhere.
async fn gateway(docker: &Docker) -> Option<std::net::IpAddr> {
    let network = docker.inspect_network("bridge", None).await.ok()?;
    let gateway = network.ipam?.config?.into_iter().find_map(|config| config.gateway)?.parse().ok()?;
    std::net::TcpListener::bind((gateway, 0)).is_ok().then_some(gateway)
}
