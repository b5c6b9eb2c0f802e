//! What a new container is made of.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, HostConfig, PortBinding, PortMap, RestartPolicy,
    RestartPolicyNameEnum,
};

use super::labels;
use crate::model::name::VersionName;
use crate::model::version::{ContainerSpec, Stop, StopSignal, Volume, VolumeSource};

/// What containers of a version have in common.
pub(super) struct Plan<'a> {
    pub(super) owner: &'a str,
    pub(super) version: &'a VersionName,
    pub(super) stop: &'a Stop,
    pub(super) network: &'a str,
    /// Whether its port is published on loopback.
    pub(super) publish: bool,
}

impl Plan<'_> {
    /// A container as `spec` says, of an image that is here.
    pub(super) fn of_spec(&self, spec: &ContainerSpec, image: &str) -> ContainerCreateBody {
        let exposed = format!("{}/tcp", spec.port);
        // As an argument's list, since an empty one means the image's own.
        let entrypoint = spec.entrypoint.as_ref().map(|words| match &**words {
            [] => vec![String::new()],
            words => words.to_vec(),
        });
        let memory = spec.memory.and_then(|bytes| i64::try_from(bytes).ok());
        ContainerCreateBody {
            image: Some(image.to_owned()),
            entrypoint,
            cmd: spec.command.as_ref().map(|words| words.to_vec()),
            env: Some(environment(spec)),
            user: spec.user.as_ref().map(|user| user.to_string()),
            exposed_ports: Some(vec![exposed]),
            labels: Some(labels::of(self.owner, self.version, spec)),
            stop_signal: signal(self.stop.signal).map(str::to_owned),
            stop_timeout: i64::try_from(self.stop.grace.as_secs()).ok(),
            host_config: Some(HostConfig {
                binds: Some(spec.volumes.iter().map(bind).collect()),
                nano_cpus: spec.cpu.map(|thousandths| i64::from(thousandths) * 1_000_000),
                memory,
                // No swap beyond it: a container that swaps is slower than one that is started again.
                memory_swap: memory,
                network_mode: Some(self.network.to_owned()),
                port_bindings: self.publish.then(|| published(spec.port)),
                restart_policy: Some(no_restart()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }

    /// A container like one that there is.
    pub(super) fn like(&self, other: &ContainerInspectResponse, port: u16) -> ContainerCreateBody {
        let config = other.config.clone().unwrap_or_default();
        let host = other.host_config.clone().unwrap_or_default();
        ContainerCreateBody {
            // The very image, whatever its name stands for by now.
            image: other.image.clone().or(config.image),
            entrypoint: config.entrypoint,
            cmd: config.cmd,
            env: config.env,
            user: config.user,
            working_dir: config.working_dir,
            exposed_ports: config.exposed_ports,
            healthcheck: config.healthcheck,
            labels: config.labels,
            stop_signal: config.stop_signal,
            stop_timeout: config.stop_timeout,
            host_config: Some(HostConfig {
                binds: host.binds,
                nano_cpus: host.nano_cpus,
                memory: host.memory,
                memory_swap: host.memory_swap,
                network_mode: Some(self.network.to_owned()),
                port_bindings: self.publish.then(|| published(port)),
                restart_policy: Some(no_restart()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }
}

/// The signal by which a container is told to stop; its image's own where the default stands.
pub(super) fn signal(signal: StopSignal) -> Option<&'static str> {
    match signal {
        StopSignal::Term => None,
        StopSignal::Int => Some("SIGINT"),
        StopSignal::Quit => Some("SIGQUIT"),
        StopSignal::Hup => Some("SIGHUP"),
        StopSignal::Usr1 => Some("SIGUSR1"),
        StopSignal::Usr2 => Some("SIGUSR2"),
        StopSignal::Kill => Some("SIGKILL"),
    }
}

fn environment(spec: &ContainerSpec) -> Vec<String> {
    let mut env: Vec<String> = spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if !spec.env.iter().any(|(name, _)| name == "PORT") {
        env.push(format!("PORT={}", spec.port));
    }
    env
}

fn bind(volume: &Volume) -> String {
    let source = match &volume.source {
        VolumeSource::Path(path) => path.to_string_lossy(),
        VolumeSource::Named(name) => (&**name).into(),
    };
    format!("{source}:{}{}", volume.target, if volume.read_only { ":ro" } else { "" })
}

/// A free port on loopback, which the engine picks.
fn published(port: u16) -> PortMap {
    let binding = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(String::new()) };
    HashMap::from([(format!("{port}/tcp"), Some(vec![binding]))])
}

/// What ends is started again by tidegate, which holds the requests meanwhile.
fn no_restart() -> RestartPolicy {
    RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }
}
