//! A container as the engine describes it.

use std::collections::HashMap;
use std::net::IpAddr;

use bollard::models::{ContainerInspectResponse, ContainerState};
use ipnet::IpNet;

use super::engine::Engine;
use super::engine_error::EngineError;

/// A container at the moment of the look.
#[derive(Debug, Clone)]
pub(super) struct Container {
    pub(super) id: Box<str>,
    pub(super) name: Box<str>,
    pub(super) state: State,
    /// Its address on each network that it is on, with the network's size.
    pub(super) networks: Vec<(Box<str>, IpNet)>,
    /// Ports of the host by its own TCP port, where they are published on loopback.
    published: HashMap<u16, u16>,
    pub(super) labels: HashMap<String, String>,
    pub(super) answer: Box<ContainerInspectResponse>,
}

/// What it does.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) running: bool,
    pub(super) paused: bool,
    /// Which run this is: when it began.
    pub(super) run: Box<str>,
    /// When the last run ended, before this one where it runs. Its first lines may be older than its beginning, as the engine has it.
    pub(super) ended: Box<str>,
    /// Of its first process.
    pub(super) pid: Option<i32>,
    pub(super) code: Option<i32>,
    pub(super) out_of_memory: bool,
}

impl Container {
    /// Looks at a container, by its ID or name.
    pub(super) async fn look(engine: &Engine, id: &str) -> Result<Self, EngineError> {
        let client = engine.client().await?;
        let answer = client.inspect_container(id, None).await.map_err(|error| engine.error(error))?;
        Ok(Self::read(answer))
    }

    fn read(answer: ContainerInspectResponse) -> Self {
        let settings = answer.network_settings.as_ref();
        let mut networks = Vec::new();
        for (name, end) in settings.and_then(|settings| settings.networks.as_ref()).into_iter().flatten() {
            let four = (end.ip_address.as_deref(), end.ip_prefix_len);
            let six = (end.global_ipv6_address.as_deref(), end.global_ipv6_prefix_len);
            for (address, length) in [four, six] {
                let address = address.and_then(|text| text.parse::<IpAddr>().ok());
                let length = length.and_then(|length| u8::try_from(length).ok());
                let net = address.zip(length).and_then(|(address, length)| IpNet::new(address, length).ok());
                networks.extend(net.map(|net| (Box::from(name.as_str()), net)));
            }
        }
        networks.sort();
        let mut published = HashMap::new();
        for (port, bindings) in settings.and_then(|settings| settings.ports.as_ref()).into_iter().flatten() {
            let Some(port) = port.strip_suffix("/tcp").and_then(|port| port.parse::<u16>().ok()) else { continue };
            for binding in bindings.iter().flatten() {
                let on_loopback = matches!(binding.host_ip.as_deref(), None | Some("" | "0.0.0.0" | "127.0.0.1"));
                let host = binding.host_port.as_ref().and_then(|port| port.parse().ok()).filter(|_| on_loopback);
                published.extend(host.map(|host| (port, host)));
            }
        }
        let labels = answer.config.as_ref().and_then(|config| config.labels.clone()).unwrap_or_default();
        Self {
            id: answer.id.as_deref().unwrap_or_default().into(),
            name: answer.name.as_deref().unwrap_or_default().trim_start_matches('/').into(),
            state: answer.state.as_ref().map(State::read).unwrap_or_default(),
            networks,
            published,
            labels,
            answer: Box::new(answer),
        }
    }

    /// The port of the host that leads to this one of its own.
    pub(super) fn published(&self, port: u16) -> Option<u16> {
        self.published.get(&port).copied()
    }

    /// The TCP ports that its image says it listens on, sorted.
    pub(super) fn exposed(&self) -> Vec<u16> {
        let config = self.answer.config.as_ref();
        let ports = config.and_then(|config| config.exposed_ports.as_ref()).into_iter().flatten();
        let mut ports: Vec<u16> =
            ports.filter_map(|port| port.strip_suffix("/tcp").unwrap_or(port).parse().ok()).collect();
        ports.sort_unstable();
        ports
    }

    /// The most memory that it may have, in bytes.
    pub(super) fn memory(&self) -> Option<u64> {
        let most = self.answer.host_config.as_ref()?.memory?;
        u64::try_from(most).ok().filter(|most| *most > 0)
    }

    /// The processor time that it may have, in thousandths of a core.
    pub(super) fn cpu(&self) -> Option<u32> {
        let host = self.answer.host_config.as_ref()?;
        let quota = || host.cpu_quota?.checked_mul(1000)?.checked_div(host.cpu_period.filter(|period| *period > 0)?);
        let most = host.nano_cpus.filter(|most| *most > 0).map(|nano| nano / 1_000_000).or_else(quota);
        most.and_then(|most| u32::try_from(most).ok()).filter(|most| *most > 0)
    }
}

impl State {
    fn read(state: &ContainerState) -> Self {
        Self {
            running: state.running.unwrap_or_default() && !state.restarting.unwrap_or_default(),
            paused: state.paused.unwrap_or_default(),
            run: state.started_at.as_deref().unwrap_or_default().into(),
            ended: state.finished_at.as_deref().unwrap_or_default().into(),
            pid: state.pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0),
            code: state.exit_code.and_then(|code| i32::try_from(code).ok()),
            out_of_memory: state.oom_killed.unwrap_or_default(),
        }
    }
}
