//! Where the Docker engine is: what `docker.host` or the variables of Docker's own command line say.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio_rustls::TlsConnector;

use super::transport::Target;
use crate::tls::pair;

/// Where the engine listens when nothing is said.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// The ports that Docker has registered, without and with TLS.
const PORTS: (u16, u16) = (2375, 2376);

/// Why it is not known how to reach the engine.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// It is written in no way that is understood.
    #[error(
        "`{0}` does not say where a Docker engine is: write `unix:///PATH` or `tcp://HOST:PORT`, as `docker: {{host: ...}}` in tidegate.yaml or as DOCKER_HOST"
    )]
    Unknown(Box<str>),
    /// A certificate or key for TLS.
    #[error("cannot speak TLS to the Docker engine with the files in `{}`, which DOCKER_CERT_PATH names: {reason}", folder.display())]
    Tls {
        /// The folder with `ca.pem`, `cert.pem` and `key.pem`.
        folder: PathBuf,
        /// What is wrong with them.
        reason: String,
    },
}

/// The engine's address, and how it is reached.
pub(super) struct Host {
    /// For people.
    pub(super) name: Box<str>,
    pub(super) target: Target,
}

impl Host {
    /// What `configured` says, else DOCKER_HOST, else the default socket.
    pub(super) fn find(configured: Option<&str>) -> Result<Self, HostError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let name = configured.map(str::to_owned).or_else(|| variable("DOCKER_HOST"));
        let name = name.unwrap_or_else(|| DEFAULT_HOST.to_owned());
        let unknown = || HostError::Unknown(name.as_str().into());
        let target = if let Some(path) = name.strip_prefix("unix://").filter(|path| path.starts_with('/')) {
            Target::Unix(path.into())
        } else {
            let address = name.strip_prefix("tcp://").or_else(|| name.strip_prefix("http://")).ok_or_else(unknown)?;
            let address = address.trim_end_matches('/');
            let with_tls = variable("DOCKER_TLS_VERIFY").is_some();
            let uri: http::uri::Authority = address.parse().map_err(|_| unknown())?;
            let host = uri.host();
            let port = uri.port_u16().unwrap_or(if with_tls { PORTS.1 } else { PORTS.0 });
            let address = format!("{host}:{port}").into();
            if with_tls {
                let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let server = ServerName::try_from(bare).map_err(|_| unknown())?;
                Target::Tls(address, server, connector(&certificates())?)
            } else {
                Target::Tcp(address)
            }
        };
        Ok(Self { name: name.into(), target })
    }
}

/// The folder of the certificates, as Docker's own command line has it.
fn certificates() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = variable("DOCKER_CERT_PATH").or_else(|| variable("DOCKER_CONFIG"));
    folder.unwrap_or_else(|| variable("HOME").unwrap_or_default().join(".docker"))
}

fn connector(folder: &Path) -> Result<TlsConnector, HostError> {
    let failed = |reason: String| HostError::Tls { folder: folder.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    let ca = folder.join("ca.pem");
    let authorities = CertificateDer::pem_file_iter(&ca).map_err(|error| failed(format!("ca.pem: {error}")))?;
    for authority in authorities {
        let authority = authority.map_err(|error| failed(format!("ca.pem: {error}")))?;
        roots.add(authority).map_err(|error| failed(format!("ca.pem: {error}")))?;
    }
    let pair = pair::load(&folder.join("cert.pem"), &folder.join("key.pem"));
    let pair = pair.map_err(|error| failed(format!("cert.pem and key.pem: {error}")))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair.certificate.pair)));
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_addresses_are_told_from_what_is_neither() {
        let find = |text: &str| Host::find(Some(text)).map(|host| host.target);
        assert!(matches!(find("unix:///run/x.sock"), Ok(Target::Unix(path)) if path == Path::new("/run/x.sock")));
        assert!(matches!(find("tcp://proxy"), Ok(Target::Tcp(address)) if &*address == "proxy:2375"));
        assert!(matches!(find("tcp://[::1]:99/"), Ok(Target::Tcp(address)) if &*address == "[::1]:99"));
        for text in ["unix://docker.sock", "ssh://me@there", "/var/run/docker.sock", "tcp://"] {
            assert!(matches!(find(text), Err(HostError::Unknown(_))), "{text}");
        }
    }
}
