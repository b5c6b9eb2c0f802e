//! The labels by which tidegate knows its containers. They are the only memory of what runs.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use crate::model::name::VersionName;
use crate::model::version::{ContainerSpec, VolumeSource};

/// Whose containers they are.
pub const OWNER: &str = "tidegate.owner";
/// The service.
pub const SERVICE: &str = "tidegate.service";
/// The version.
pub const VERSION: &str = "tidegate.version";
/// The hash of what makes the version, see [`spec`].
pub const SPEC: &str = "tidegate.spec";
/// The port that it listens on.
pub const PORT: &str = "tidegate.port";

/// The labels of a container of a version.
pub(super) fn of(owner: &str, version: &VersionName, spec: &ContainerSpec) -> HashMap<String, String> {
    [
        (OWNER, owner.to_owned()),
        (SERVICE, service_of(version.as_str()).to_owned()),
        (VERSION, version.to_string()),
        (SPEC, self::spec(spec)),
        (PORT, spec.port.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// A hash over all that makes a version, `1:` and hexadecimal digits. It stays the same over releases of tidegate; where that cannot be,
/// the number in front grows.
#[must_use]
pub fn spec(spec: &ContainerSpec) -> String {
    let ContainerSpec { image, port, entrypoint, command, env, volumes, user, cpu, memory } = spec;
    let mut text = Text::default();
    text.field("image", [&**image]);
    text.field("port", [&*port.to_string()]);
    if let Some(entrypoint) = entrypoint {
        text.field("entrypoint", entrypoint.iter().map(String::as_str));
    }
    if let Some(command) = command {
        text.field("command", command.iter().map(String::as_str));
    }
    for (name, value) in env {
        text.field("env", [name.as_str(), value.as_str()]);
    }
    let mut volumes: Vec<_> = volumes.iter().collect();
    volumes.sort_by_key(|volume| &volume.target);
    for volume in volumes {
        let source = match &volume.source {
            VolumeSource::Path(path) => ["path", &*path.to_string_lossy()].map(str::to_owned),
            VolumeSource::Named(name) => ["named", &**name].map(str::to_owned),
        };
        let access = if volume.read_only { "ro" } else { "rw" };
        text.field("volume", [&*source[0], &*source[1], &*volume.target, access]);
    }
    if let Some(user) = user {
        text.field("user", [&**user]);
    }
    if let Some(cpu) = cpu {
        text.field("cpu", [&*cpu.to_string()]);
    }
    if let Some(memory) = memory {
        text.field("memory", [&*memory.to_string()]);
    }
    let digest = Sha256::digest(text.0.as_bytes());
    digest.iter().fold("1:".to_owned(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// The service of a version, by the version's name.
pub(super) fn service_of(version: &str) -> &str {
    version.rsplit_once('-').map_or(version, |(service, _)| service)
}

/// What is hashed: each field with its length in front, so that no two specs have the same text.
#[derive(Default)]
struct Text(String);

impl Text {
    fn field<'a>(&mut self, name: &str, values: impl IntoIterator<Item = &'a str>) {
        self.0 += name;
        for value in values {
            self.0 += &format!(" {}:{value}", value.len());
        }
        self.0.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::version::Volume;

    fn shop() -> ContainerSpec {
        ContainerSpec {
            image: "shop:1.0".into(),
            port: 80,
            entrypoint: None,
            command: None,
            env: Box::default(),
            volumes: Box::default(),
            user: None,
            cpu: None,
            memory: None,
        }
    }

    #[test]
    fn the_hash_of_a_spec_is_for_ever() {
        assert_eq!(spec(&shop()), "1:5086226af574ac6867f5f2035f6249e14cc6ec31f8c6fb755772785d2a1f7007");
        let full = ContainerSpec {
            entrypoint: Some(["/shop".to_owned()].into()),
            command: Some(["--serve".to_owned()].into()),
            env: [("MODE".to_owned(), "production".to_owned())].into(),
            volumes: [Volume { source: VolumeSource::Named("data".into()), target: "/data".into(), read_only: true }]
                .into(),
            user: Some("1000".into()),
            cpu: Some(500),
            memory: Some(268_435_456),
            ..shop()
        };
        assert_eq!(spec(&full), "1:f11aba8eaf4cc387a920ac497417cdefa75028f50d99a99539354988e7e513af");
    }

    #[test]
    fn every_part_of_a_spec_counts() {
        let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        let others = [
            ContainerSpec { image: "shop:1.1".into(), ..shop() },
            ContainerSpec { port: 81, ..shop() },
            ContainerSpec { entrypoint: words(&[]), ..shop() },
            ContainerSpec { entrypoint: words(&["a b"]), ..shop() },
            ContainerSpec { command: words(&["a b"]), ..shop() },
            ContainerSpec { command: words(&["a", "b"]), ..shop() },
            ContainerSpec { command: words(&["a 1:b"]), ..shop() },
            ContainerSpec { env: [("A".to_owned(), "B".to_owned())].into(), ..shop() },
            ContainerSpec { user: Some("0".into()), ..shop() },
            ContainerSpec { cpu: Some(1), ..shop() },
            ContainerSpec { memory: Some(1), ..shop() },
        ];
        let mut hashes: Vec<String> = others.iter().map(spec).chain([spec(&shop())]).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), others.len() + 1);
    }
}
