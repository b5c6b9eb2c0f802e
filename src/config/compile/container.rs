//! Containers: those that tidegate makes, and those that are there already.

use super::Check;
use super::environment::Port;
use super::settings::{absolute, is_engine_name};
use crate::config::file::{ResourcesFile, VersionFile, Word};
use crate::config::spanned::Spanned;
use crate::model::version::{ContainerSpec, Found, FoundSpec, Volume, VolumeSource};

/// What a container listens on when nothing else is said.
const DEFAULT_PORT: u16 = 80;

/// The least memory that the engine gives a container, in bytes.
const LEAST_MEMORY: u64 = 6 * 1024 * 1024;

/// More cores than any machine has.
const MOST_CPU: f64 = 4096.0;

impl Check {
    pub(super) fn container(&mut self, image: &Spanned<Word>, file: &VersionFile) -> Option<ContainerSpec> {
        let reference = self.image(image);
        let port = self.port(file.port.as_ref());
        let entrypoint = file.entrypoint.as_ref().map(|words| self.words(words));
        // An empty list says that the image's own arguments are not wanted.
        let command = file.command.as_ref().map(|words| match words.0.is_empty() {
            true => Some(Box::default()),
            false => self.words(words),
        });
        let env = self.environment(file.env.as_ref(), file.env_file.as_ref(), Port::Own);
        let volumes: Vec<_> = file.volumes.iter().flatten().map(|volume| self.volume(volume)).collect();
        let user = file.user.as_ref().map(|user| self.user_of_container(user));
        let (cpu, memory) = file.resources.as_ref().map_or((None, None), |file| self.resources(file));
        for (at, volume) in volumes.iter().enumerate() {
            let Some(volume) = volume else { continue };
            if volumes[..at].iter().flatten().any(|earlier| earlier.target == volume.target) {
                let span = file.volumes.as_ref()?[at].span;
                self.error(span, format!("two volumes on `{}`", volume.target), "take one of them out");
            }
        }
        Some(ContainerSpec {
            image: reference?,
            port: port?,
            entrypoint: entrypoint.map_or(Some(None), |words| words.map(Some))?,
            command: command.map_or(Some(None), |words| words.map(Some))?,
            env,
            volumes: volumes.into_iter().collect::<Option<_>>()?,
            user: user.map_or(Some(None), |user| user.map(Some))?,
            cpu,
            memory,
        })
    }

    pub(super) fn found(&mut self, file: &VersionFile) -> Option<FoundSpec> {
        let port = self.port(file.port.as_ref());
        let which = match (&file.container, &file.compose) {
            (Some(name), _) => {
                // `docker inspect` shows names with a slash in front.
                let text = name.as_str().strip_prefix('/').unwrap_or(name.as_str());
                if !is_engine_name(text) {
                    let cure = "write its name, as `docker ps -a` shows it";
                    self.error(name.span, format!("`{}` cannot be a container", name.as_str().escape_debug()), cure);
                    return None;
                }
                Found::Name(text.into())
            }
            (None, Some(both)) => {
                let parts = both
                    .as_str()
                    .split_once('/')
                    .filter(|(project, service)| is_engine_name(project) && is_engine_name(service));
                let Some((project, service)) = parts else {
                    let cure = "write the project and the service, like `shop/web`; `docker compose ls` shows projects";
                    self.error(both.span, format!("`{}` is not PROJECT/SERVICE", both.as_str().escape_debug()), cure);
                    return None;
                };
                Found::Compose { project: project.into(), service: service.into() }
            }
            (None, None) => return None,
        };
        Some(FoundSpec { which, port: port? })
    }

    /// What the engine would refuse only when it is started. It knows the rest better.
    fn image(&mut self, image: &Spanned<Word>) -> Option<Box<str>> {
        const CURE: &str = "write `NAME:TAG`, like `nginx:1.29` or `ghcr.io/me/shop:1.0`";
        let text = image.as_str();
        let repository = text.split('@').next().unwrap_or_default();
        let path = repository.rsplit_once('/').map_or(repository, |(_, last)| last);
        let name = path.split(':').next().unwrap_or_default();
        let printable = text.chars().all(|c| c.is_ascii_graphic()) && text.len() <= 512;
        let digest = text.split_once('@').map(|(_, digest)| digest);
        let hex = |digest: &str| digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        let message = if text.is_empty() || !printable || name.is_empty() || text.starts_with(['-', '/', ':', '.']) {
            format!("`{}` is not an image", text.escape_debug())
        } else if text.contains("://") {
            "an image has no scheme in front".to_owned()
        } else if name.chars().any(|c| c.is_ascii_uppercase()) {
            format!("the names of images are lower case: `{name}` is not")
        } else if digest.is_some_and(|digest| !digest.strip_prefix("sha256:").is_some_and(hex)) {
            "what is behind `@` is a digest, `sha256:` and 64 hexadecimal digits".to_owned()
        } else {
            return Some(text.into());
        };
        self.error(image.span, message, CURE);
        None
    }

    fn port(&mut self, port: Option<&Spanned<u64>>) -> Option<u16> {
        let Some(port) = port else { return Some(DEFAULT_PORT) };
        match u16::try_from(port.value) {
            Ok(value @ 1..) => Some(value),
            _ => {
                self.error(port.span, format!("{} is no port", port.value), "ports go from 1 to 65535");
                None
            }
        }
    }

    fn volume(&mut self, volume: &Spanned<Word>) -> Option<Volume> {
        const CURE: &str = "write `data:/var/lib/data` for a volume, or `./html:/www:ro` for a folder";
        let text = volume.as_str();
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, read_only) = match parts[..] {
            [source, target] | [source, target, "rw"] => (source, target, false),
            [source, target, "ro"] => (source, target, true),
            _ => {
                self.error(volume.span, format!("`{}` is not a volume", text.escape_debug()), CURE);
                return None;
            }
        };
        let target = target.trim_end_matches('/');
        if !target.starts_with('/') || target.contains('\0') {
            self.error(volume.span, "a container sees it under an absolute path, and not in place of `/`", CURE);
            return None;
        }
        let source = if source.starts_with(['/', '.']) {
            let path = absolute(&self.path(source));
            if !path.exists() {
                let cure = "paths are relative to the file that names them, and are those of the engine's host";
                self.warning(volume.span, format!("there is no `{source}` here"), cure);
            }
            VolumeSource::Path(path)
        } else if is_engine_name(source) && source.len() > 1 {
            VolumeSource::Named(source.into())
        } else {
            self.error(
                volume.span,
                format!("`{}` is neither a path nor the name of a volume", source.escape_debug()),
                CURE,
            );
            return None;
        };
        Some(Volume { source, target: target.into(), read_only })
    }

    /// Thousandths of a core, and bytes.
    fn resources(&mut self, file: &ResourcesFile) -> (Option<u32>, Option<u64>) {
        let cpu = file.cpu.as_ref().and_then(|cpu| {
            let cores = cpu.as_str().parse::<f64>().ok().filter(|cores| (0.01..=MOST_CPU).contains(cores));
            if cores.is_none() {
                let message = format!("`{}` is not a number of cores", cpu.as_str().escape_debug());
                self.error(cpu.span, message, "write one like `0.5` or `2`, at least 0.01");
            }
            // In range, so that nothing is cut off.
            cores.map(|cores| (cores * 1000.0).round() as u32)
        });
        let memory = file.memory.as_ref().and_then(|memory| {
            let bytes = memory.value.0;
            if bytes < LEAST_MEMORY {
                let message = "so little memory is refused by the engine";
                self.error(memory.span, message, "write 6MiB or more, like `256MiB`");
            }
            (bytes >= LEAST_MEMORY).then_some(bytes)
        });
        (cpu, memory)
    }
}
