//! An authority that certificates can be asked of: Pebble, with a name server that says 127.0.0.1 to everything.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::authority::Authority;
use super::eventually;
use super::ports::own_address;
use super::skip;

/// Where it will be, before it is there.
pub(crate) struct Place {
    address: SocketAddr,
    authority: Authority,
}

/// A Pebble that runs; killed when dropped.
pub(crate) struct Pebble {
    children: Vec<Child>,
}

/// What it is to do.
pub(crate) struct Wish {
    /// The ports on 127.0.0.1 at which it looks for its challenges.
    pub(crate) http: u16,
    pub(crate) https: u16,
    /// How long its certificates are valid, in seconds.
    pub(crate) validity: u32,
}

impl Place {
    /// `None` where there is no Pebble, which is said.
    pub(crate) fn new() -> Option<Self> {
        let there = |program: &str| Command::new(program).arg("-h").stderr(Stdio::null()).status().is_ok();
        if !there("pebble") || !there("pebble-challtestsrv") {
            skip("pebble", "install it: apt-get install pebble");
            return None;
        }
        Some(Self { address: own_address(), authority: Authority::new("pebble's") })
    }

    /// Its directory.
    pub(crate) fn directory(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    /// Who signs for its own HTTPS.
    pub(crate) fn root(&self) -> String {
        self.authority.root_pem()
    }

    /// Starts it; its files are in `folder`.
    pub(crate) fn start(&self, folder: &Path, wish: &Wish) -> Pebble {
        let (names, management) = (own_address(), own_address());
        let pair = self.authority.sign(&[&self.address.ip().to_string()]);
        fs::create_dir_all(folder).expect("a folder");
        let write = |name: &str, text: &str| -> PathBuf {
            let path = folder.join(name);
            fs::write(&path, text).expect("written");
            path
        };
        let config = serde_json::json!({"pebble": {
            "listenAddress": self.address.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": write("pebble.pem", &pair.chain()),
            "privateKey": write("pebble.key", &pair.key),
            "httpPort": wish.http,
            "tlsPort": wish.https,
            "certificateValidityPeriod": wish.validity,
        }});
        let config = write("pebble.json", &config.to_string());
        let log = fs::File::create(folder.join("pebble.log")).expect("a log");
        let mut server = Command::new("pebble-challtestsrv");
        server.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""]);
        server.args(["-dns01", &names.to_string(), "-management", &own_address().to_string()]);
        let mut pebble = Command::new("pebble");
        pebble.arg("-config").arg(config).args(["-dnsserver", &names.to_string()]);
        pebble.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_AUTHZREUSE", "0");
        let children = [server, pebble].map(|mut command| {
            let (out, err) = (log.try_clone().expect("clone"), log.try_clone().expect("clone"));
            command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().expect("spawn")
        });
        let pebble = Pebble { children: children.into() };
        eventually("Pebble's start", || TcpStream::connect(self.address).ok());
        pebble
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            if let Err(error) = child.kill().and_then(|()| child.wait()) {
                eprintln!("Pebble's end: {error}");
            }
        }
    }
}
