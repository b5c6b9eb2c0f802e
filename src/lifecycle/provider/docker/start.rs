//! Bringing up a container of our own: one that there is, else a new one.

use std::rc::Rc;

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder};
use ipnet::IpNet;
use tokio::select;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::container::Container;
use super::create::Plan;
use super::engine_error::EngineError;
use super::error::DockerError;
use super::instance::{DockerInstance, Part};
use super::inventory::{Condition, Known};
use super::shared::{Claim, Shared};
use super::{address, early, labels, pull};
use crate::model::settings::Reach;
use crate::model::version::{ContainerSpec, Version};

/// Containers that come and go between the look and the start are no reason to try for ever.
const MOST_TRIES: u32 = 10;

/// One start of one version.
pub(super) struct Bringing {
    pub(super) shared: Rc<Shared>,
    pub(super) version: Version,
    pub(super) spec: ContainerSpec,
}

/// How a container came to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It ran already.
    Adopted,
    /// It was paused, and is not now.
    Unpaused,
    /// It was there, and has been started.
    Started,
}

impl Bringing {
    /// Brings one up; it is not ready yet.
    pub(super) async fn up(&self) -> Result<DockerInstance, DockerError> {
        let shared = &self.shared;
        let hash = labels::spec(&self.spec);
        shared.expected.borrow_mut().insert(self.version.name.as_str().into(), hash.clone());
        shared.synced(self.version.start.timeout).await.map_err(DockerError::Away)?;
        for _ in 0..MOST_TRIES {
            let instance = match shared.claim_next(self.version.name.as_str()) {
                Some((claim, known)) => {
                    let is_as_written = known.spec.as_deref() == Some(&*hash);
                    let launched = self.launch(claim, &known, is_as_written, false).await?;
                    if launched.is_none() {
                        shared.inventory.borrow_mut().remove(&known.id);
                    }
                    launched
                }
                None => self.create().await?,
            };
            if let Some(instance) = instance {
                return Ok(instance);
            }
        }
        Err(DockerError::Removed { name: self.version.name.to_string() })
    }

    fn instance(&self, claim: Claim, origin: Origin, container: Container) -> Result<DockerInstance, DockerError> {
        // What the container was made for, where the file says something else by now.
        let port = container.labels.get(labels::PORT).and_then(|port| port.parse().ok()).unwrap_or(self.spec.port);
        let part = Part::new(&self.shared, claim, origin, &container, port);
        let (part, error) = part.with_way(&container, &self.shared);
        let instance = DockerInstance::new(&self.shared, &self.version, vec![part], false);
        match error {
            None => Ok(instance),
            Some(error) => {
                let stop = self.version.stop.clone();
                tokio::task::spawn_local(async move { instance.undo(&stop).await });
                Err(error)
            }
        }
    }

    /// Makes a new one, and starts it; nothing where it is gone, or there was one after all that had not been told of.
    async fn create(&self) -> Result<Option<DockerInstance>, DockerError> {
        let shared = &self.shared;
        let publish = self.network().await?;
        let body = self.body(publish).await?;
        let made_from =
            body.labels.as_ref().and_then(|labels| labels.get(labels::SPEC)).map(|hash| hash.as_str().into());
        let name = shared.name(self.version.name.as_str());
        let client = shared.engine.client().await?;
        let options = CreateContainerOptionsBuilder::new().name(&name.name).build();
        let made = client.create_container(Some(options), body).await.map_err(|error| shared.engine.error(error));
        let id = match made {
            Ok(made) => made.id,
            Err(error) if error.status() == Some(409) => {
                return self.look_at_name(&name.name, error).await.map(|()| None);
            }
            Err(source) => return Err(DockerError::CannotStart { name: name.name.clone(), source }),
        };
        let claim = shared.claim(&id);
        let known = Known {
            id: id.as_str().into(),
            name: name.name.as_str().into(),
            version: self.version.name.as_str().into(),
            spec: made_from,
            condition: Condition::Still,
        };
        shared.inventory.borrow_mut().put(known.clone());
        tracing::info!(version = %self.version.name, container = %name.name, "a container is made");
        let is_as_written = known.spec.as_deref() == Some(&*labels::spec(&self.spec));
        self.launch(claim, &known, is_as_written, true).await
    }

    /// Has the engine run a container; `None` where it is gone. Does not wait for the engine's word where the container's program can be
    /// seen to run before. One that is new and cannot be started is removed.
    async fn launch(
        &self,
        claim: Claim,
        known: &Known,
        is_as_written: bool,
        is_new: bool,
    ) -> Result<Option<DockerInstance>, DockerError> {
        let happened = self.shared.watch(&known.id);
        let (to, mut from) = oneshot::channel();
        let (shared, known) = (Rc::clone(&self.shared), known.clone());
        let early = {
            let (shared, known) = (Rc::clone(&shared), known.clone());
            async move {
                if known.condition != Condition::Still || !is_as_written {
                    return std::future::pending().await;
                }
                early::way(&shared, &known.id, self.spec.port, happened).await
            }
        };
        let name = known.name.clone();
        tokio::task::spawn_local(async move {
            let brought = bring(&shared, &known.name, &known.id, known.condition).await;
            if is_new && brought.is_err() {
                remove_unstarted(&shared, &known).await;
            }
            // Who has dropped the instance does not want to know.
            drop(to.send(brought));
        });
        select! {
            biased;
            brought = &mut from => match brought {
                Ok(Ok(Some((origin, container)))) => self.instance(claim, origin, container).map(Some),
                Ok(Ok(None)) => Ok(None),
                Ok(Err(error)) => Err(error),
                // The task ends with the runtime alone.
                Err(_) => std::future::pending().await,
            },
            way = early => {
                tracing::debug!(version = %self.version.name, container = %name, address = %way.address, "its program runs");
                let part = Part::early(&self.shared, claim, &name, way, &self.spec, from);
                Ok(Some(DockerInstance::new(&self.shared, &self.version, vec![part], false)))
            }
        }
    }

    /// Whether the port has to be published, on the network that there should be.
    async fn network(&self) -> Result<bool, DockerError> {
        let engine = &self.shared.engine;
        let settings = &self.shared.settings;
        let client = engine.client().await?;
        let network = match client.inspect_network(&settings.network, None).await.map_err(|error| engine.error(error)) {
            Ok(network) => network,
            Err(error) if error.is_not_found() => {
                return Err(DockerError::NoNetwork { network: settings.network.clone() });
            }
            Err(error) => return Err(error.into()),
        };
        let subnets = network.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        let subnets: Vec<IpNet> = subnets.iter().filter_map(|config| config.subnet.as_ref()?.parse().ok()).collect();
        Ok(match settings.reach {
            Reach::Network => false,
            Reach::Published => true,
            Reach::Auto => &*settings.network != "host" && !address::is_here(&subnets),
        })
    }

    async fn body(&self, publish: bool) -> Result<ContainerCreateBody, DockerError> {
        let shared = &self.shared;
        let plan = Plan {
            owner: &shared.owner,
            version: &self.version.name,
            stop: &self.version.stop,
            network: &shared.settings.network,
            publish,
        };
        // Where the file was changed after the version had run, what runs holds.
        let hash = labels::spec(&self.spec);
        let other = {
            let inventory = shared.inventory.borrow();
            let mut all = inventory.of(self.version.name.as_str());
            all.find(|known| known.spec.as_deref() != Some(&*hash)).map(|known| known.id.clone())
        };
        if let Some(id) = other {
            match Container::look(&shared.engine, &id).await {
                Ok(other) => {
                    let port = other.labels.get(labels::PORT).and_then(|port| port.parse().ok());
                    return Ok(plan.like(&other.answer, port.unwrap_or(self.spec.port)));
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        let image = self.spec.image.clone();
        let engine = shared.engine.clone();
        let limit = self.version.start.timeout;
        // A task of its own, so that it goes on where this start does not wait for it any longer.
        let pulled = tokio::task::spawn_local(async move { pull::have(&engine, &image).await });
        let image = match timeout(limit, pulled).await {
            Ok(Ok(Ok(image))) => image,
            Ok(Ok(Err(error))) => return Err(error),
            Ok(Err(_)) | Err(_) => return Err(DockerError::Pulling { image: self.spec.image.clone(), limit }),
        };
        Ok(plan.of_spec(&self.spec, &image))
    }

    /// Looks at who has a name: one of this version is taken note of, any other is an error.
    async fn look_at_name(&self, name: &str, error: EngineError) -> Result<(), DockerError> {
        let Ok(other) = Container::look(&self.shared.engine, name).await else { return Err(error.into()) };
        let label = |name| other.labels.get(name).map(String::as_str);
        let image = other.answer.config.as_ref().and_then(|config| config.image.clone()).unwrap_or_default();
        let whose = match (label(labels::OWNER), label("com.docker.compose.project")) {
            (Some(owner), _) if *owner == *self.shared.owner => {
                let version = label(labels::VERSION).unwrap_or_default();
                if version == self.version.name.as_str() {
                    self.shared.inventory.borrow_mut().put(Known {
                        id: other.id.clone(),
                        name: name.into(),
                        version: version.into(),
                        spec: label(labels::SPEC).map(Into::into),
                        // Whoever takes it looks again.
                        condition: Condition::Running,
                    });
                    return Ok(());
                }
                format!("it was made for `{version}` and renamed since")
            }
            (Some(owner), _) => format!("it belongs to the tidegate of {owner}"),
            (None, Some(project)) => format!("Compose's project `{project}`, image {image}"),
            (None, None) => format!("image {image}"),
        };
        Err(DockerError::NameTaken { name: name.to_owned(), whose })
    }
}

/// Removes a container that never ran, so that nothing in it is of use to anybody.
async fn remove_unstarted(shared: &Shared, known: &Known) {
    let Ok(client) = shared.engine.client().await else { return };
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    if let Err(error) = client.remove_container(&known.id, Some(options)).await {
        tracing::debug!(container = %known.name, %error, "cannot remove what could not be started");
    }
    shared.inventory.borrow_mut().remove(&known.id);
}

/// What came of the engine's start of a container; nothing where it is gone.
pub(super) type Brought = Result<Option<(Origin, Container)>, DockerError>;

/// Has a container run, whatever it does now; nothing where it is gone. `condition` is what it is thought to do.
pub(super) async fn bring(shared: &Shared, name: &str, id: &str, condition: Condition) -> Brought {
    let engine = &shared.engine;
    let client = engine.client().await?;
    let began = Instant::now();
    let look = async || match Container::look(engine, id).await {
        Ok(container) => Ok(Some(container)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(DockerError::from(error)),
    };
    if condition != Condition::Still {
        // Who runs is not touched, not even by a start that would do nothing.
        let Some(container) = look().await? else { return Ok(None) };
        if container.state.running && !container.state.paused {
            shared.inventory.borrow_mut().set(id, Condition::Running);
            return Ok(Some((Origin::Adopted, container)));
        }
    }
    let started = client.start_container(id, None).await.map_err(|error| engine.error(error));
    let origin = match started {
        Ok(()) => Origin::Started,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) if is_paused(&error) => {
            let unpaused = client.unpause_container(id).await.map_err(|error| engine.error(error));
            unpaused.map_err(|source| DockerError::CannotStart { name: name.to_owned(), source })?;
            Origin::Unpaused
        }
        Err(source) if source.is_away() => return Err(source.into()),
        Err(EngineError::Refused { message, .. }) if message.contains("network") && message.contains("not found") => {
            return Err(DockerError::NoNetwork { network: shared.settings.network.clone() });
        }
        Err(source) => return Err(DockerError::CannotStart { name: name.to_owned(), source }),
    };
    shared.inventory.borrow_mut().set(id, Condition::Running);
    let Some(container) = look().await? else { return Ok(None) };
    tracing::debug!(container = name, took = ?began.elapsed(), ?origin, "the engine has it run");
    Ok(Some((origin, container)))
}

/// Whether the container is not there, or will not be in a moment. A network or a program may be what is not found too.
fn is_gone(error: &EngineError) -> bool {
    let EngineError::Refused { message, .. } = error else { return false };
    let message = message.to_ascii_lowercase();
    message.contains("no such container") || message.contains("marked for removal")
}

/// Whether a start was refused because the container is paused.
fn is_paused(error: &EngineError) -> bool {
    matches!(error, EngineError::Refused { message, .. } if message.contains("paused"))
}
