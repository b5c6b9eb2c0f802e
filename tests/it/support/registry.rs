//! A real registry on loopback: Debian's `docker-registry`, with a folder of its own, open or behind a password.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::eventually;
use super::ports::own_address;

/// A user of a closed registry.
pub(crate) const USER: &str = "me";

/// Its password. In base64, these characters need the two digits in which the alphabets differ.
pub(crate) const PASSWORD: &str = "a?b>~/+ü\"";

/// bcrypt of [`PASSWORD`], cost 5.
const HTPASSWD: &str = "me:$2b$05$abcdefghijklmnopqrstuuye2VvsSn27C1oElgrDGWJraT.uLOwPG\n";

/// A registry that runs.
pub(crate) struct Registry {
    child: Child,
    address: SocketAddr,
    _config: tempfile::TempDir,
}

impl Registry {
    /// Open to everybody, with what is in `storage`; `None` where `docker-registry` is not installed.
    pub(crate) fn open(storage: &Path) -> Option<Self> {
        Self::start(storage, own_address(), false)
    }

    /// For [`USER`] alone.
    pub(crate) fn closed(storage: &Path) -> Option<Self> {
        Self::start(storage, own_address(), true)
    }

    /// Open, at an address that engines take for another machine's.
    pub(crate) fn at(storage: &Path, address: SocketAddr) -> Option<Self> {
        Self::start(storage, address, false)
    }

    fn start(storage: &Path, address: SocketAddr, closed: bool) -> Option<Self> {
        let config = tempfile::tempdir().expect("a folder");
        let htpasswd = config.path().join("htpasswd");
        std::fs::write(&htpasswd, HTPASSWD).expect("written");
        let mut text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: '{}'}}}}\nhttp: {{addr: '{address}'}}\n",
            storage.display()
        );
        if closed {
            text.push_str(&format!("auth: {{htpasswd: {{realm: test, path: '{}'}}}}\n", htpasswd.display()));
        }
        let file = config.path().join("config.yml");
        std::fs::write(&file, text).expect("written");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => panic!("docker-registry: {error}"),
        };
        let registry = Self { child, address, _config: config };
        eventually("a registry that listens", || std::net::TcpStream::connect(address).ok());
        Some(registry)
    }

    /// `name` as a reference of this registry.
    pub(crate) fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// What `docker login` keeps of its user.
    pub(crate) fn login(&self) -> String {
        self.login_as(USER, PASSWORD)
    }

    pub(crate) fn login_as(&self, user: &str, password: &str) -> String {
        let auth = STANDARD.encode(format!("{user}:{password}"));
        format!(r#"{{"auths": {{"{}": {{"auth": "{auth}"}}}}}}"#, self.address)
    }

    /// As `docker login` names it.
    pub(crate) fn server(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It is ours and has no children; one that has ended by itself needs no end.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
