//! What makes a version's instances: an image, a container, a process, or addresses with or without a hook.

use nix::unistd::User;

use super::Check;
use super::environment::Port;
use super::settings::absolute;
use crate::config::file::{CommandFile, HookFile, VersionFile, Word};
use crate::config::source::Span;
use crate::config::spanned::Spanned;
use crate::model::name::VersionName;
use crate::model::version::{Backend, Endpoint, HookSpec, ProcessSpec};

/// What a version says that makes its instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Urls,
    Hook,
    Process,
    Image,
    Found,
}

impl Kind {
    /// Why what belongs to others is refused.
    fn why(self) -> &'static str {
        match self {
            Self::Urls => "and `urls` names what is not ours to start",
            Self::Hook => "and the commands of a hook have tidegate's own user, folder and environment",
            Self::Process => "and `command` without `image` is a process",
            Self::Image => "and `image` makes a container",
            Self::Found => "and this container is somebody else's, who has made it as it is",
        }
    }
}

const PROCESSES: &str = "processes";
const CONTAINERS: &str = "containers that tidegate makes";
const BOTH: &str = "processes and containers that tidegate makes";

impl Check {
    /// `image`, `command`, `container`, `compose`, or `urls` with or without `hook`, and what else belongs to them.
    pub(super) fn backend(&mut self, name: &VersionName, at: Span, file: &Spanned<VersionFile>) -> Option<Backend> {
        let kind = self.kind(name, at, file)?;
        self.only_what_belongs(kind, file);
        Some(match kind {
            Kind::Urls => Backend::Urls(self.endpoints(file.urls.as_ref()?)?),
            Kind::Hook => {
                let urls = self.endpoints(file.urls.as_ref()?);
                Backend::Hook(self.hook(file.hook.as_ref()?, urls)?)
            }
            Kind::Process => Backend::Process(self.process(file.command.as_ref()?, file)?),
            Kind::Image => Backend::Container(Box::new(self.container(file.image.as_ref()?, file)?)),
            Kind::Found => Backend::Found(self.found(file)?),
        })
    }

    /// Which it is, if it is one of them.
    fn kind(&mut self, name: &VersionName, at: Span, file: &Spanned<VersionFile>) -> Option<Kind> {
        let word = |word: &Option<Spanned<Word>>| word.as_ref().map(|word| word.span);
        let (urls, hook) = (file.urls.as_ref().map(|urls| urls.span), file.hook.as_ref().map(|hook| hook.span));
        let image = word(&file.image);
        // With an image, a command is the container's.
        let command = file.command.as_ref().filter(|_| image.is_none()).map(|command| command.span);
        let all = [
            ("urls", urls, Kind::Urls, "`urls` for what runs already"),
            ("command", command, Kind::Process, "`command` for a process that tidegate runs"),
            ("image", image, Kind::Image, "`image` for a container that tidegate makes"),
            ("container", word(&file.container), Kind::Found, "`container` for one that exists already"),
            ("compose", word(&file.compose), Kind::Found, "`compose` for those that Compose has made"),
        ];
        let said: Vec<_> =
            all.into_iter().filter_map(|(key, span, kind, keep)| Some((key, span?, kind, keep))).collect();
        match (&said[..], hook) {
            ([(_, _, Kind::Urls, _)], Some(_)) => return Some(Kind::Hook),
            ([(_, _, kind, _)], None) => return Some(*kind),
            ([(key, _, _, keep)], Some(hook)) => {
                let cure = format!("keep {keep}, or write `urls` for where what the hook starts listens");
                self.error(hook, format!("{name} has both `{key}` and `hook`"), cure);
            }
            ([(first, _, _, keep), (second, span, _, also), ..], _) => {
                self.error(
                    *span,
                    format!("{name} has both `{first}` and `{second}`"),
                    format!("keep {keep}, or {also}"),
                );
            }
            ([], _) if self.has_error_within(file.span) => {}
            ([], Some(hook)) => {
                let cure = "say where what it starts listens: `urls: [\"http://127.0.0.1:3000\"]`";
                self.error(hook, format!("{name} has a `hook` and no `urls`"), cure);
            }
            ([], None) => {
                let cure = "write `image: NAME:TAG` for a container, `command: [./app]` for a process, or \
                            `urls: [\"http://127.0.0.1:3000\"]` for what runs already";
                self.error(at, format!("{name} says nothing of what it runs"), cure);
            }
        }
        None
    }

    /// Refuses what says something of other kinds only.
    fn only_what_belongs(&mut self, kind: Kind, file: &Spanned<VersionFile>) {
        if kind == Kind::Urls && self.has_error_within(file.span) {
            // What could not be decoded may be the `hook` that it belongs to.
            return;
        }
        let stop = file.stop.as_ref();
        let stop = match kind {
            Kind::Urls => ("stop", stop.map(|stop| stop.span)),
            Kind::Hook => ("stop.signal", stop.and_then(|stop| stop.signal.as_ref().map(|signal| signal.span))),
            Kind::Process | Kind::Image | Kind::Found => ("stop", None),
        };
        let (process, image) = (kind == Kind::Process, kind == Kind::Image);
        let container = image || kind == Kind::Found;
        let keys = [
            ("env", file.env.as_ref().map(|value| value.span), process || image, BOTH),
            ("env_file", file.env_file.as_ref().map(|value| value.span), process || image, BOTH),
            ("user", file.user.as_ref().map(|value| value.span), process || image, BOTH),
            ("cwd", file.cwd.as_ref().map(|value| value.span), process, PROCESSES),
            ("entrypoint", file.entrypoint.as_ref().map(|value| value.span), image, CONTAINERS),
            ("resources", file.resources.as_ref().map(|value| value.span), image, CONTAINERS),
            ("volumes", file.volumes.as_ref().and_then(|list| list.first()).map(|value| value.span), image, CONTAINERS),
            (stop.0, stop.1, false, "processes and containers"),
        ];
        for (key, span, belongs, to) in keys {
            if let Some(span) = span.filter(|_| !belongs) {
                let why = if key == "stop.signal" { "and a hook is stopped by its `stop`" } else { kind.why() };
                self.error(span, format!("`{key}` is for {to}, {why}"), "take it out");
            }
        }
        if let Some(port) = file.port.as_ref().filter(|_| !container) {
            let cure = match kind {
                Kind::Process => "take it out: a process is told its port in `PORT`",
                _ => "take it out: an entry of `urls` ends in its port",
            };
            self.error(port.span, format!("`port` is for containers, {}", kind.why()), cure);
        }
    }

    fn process(&mut self, command: &Spanned<CommandFile>, file: &VersionFile) -> Option<ProcessSpec> {
        let command = self.command(command);
        let env = self.environment(file.env.as_ref(), file.env_file.as_ref(), Port::Told);
        let cwd = file.cwd.as_ref().map(|cwd| {
            let path = absolute(&self.path(cwd));
            if !path.is_dir() {
                let cure = "paths are relative to the file that names them";
                self.error(cwd.span, format!("there is no folder `{}`", cwd.value), cure);
            }
            path
        });
        let user = file.user.as_ref().and_then(|user| self.user(user));
        Some(ProcessSpec { command: command?, env, cwd, user })
    }

    fn hook(&mut self, hook: &Spanned<HookFile>, urls: Option<Box<[Endpoint]>>) -> Option<HookSpec> {
        let (start, stop) = (self.command(&hook.start), self.command(&hook.stop));
        let status = match &hook.status {
            Some(status) => Some(self.command(status)?),
            None => None,
        };
        Some(HookSpec { urls: urls?, start: start?, stop: stop?, status })
    }

    /// A program of this host, and its arguments.
    fn command(&mut self, command: &Spanned<CommandFile>) -> Option<Box<[String]>> {
        let mut words = self.words(command)?;
        let program = &command.0.first()?;
        if words[0].contains('/') {
            // A path is relative to the file, as all are; a bare name is looked up in PATH when it is started.
            let path = absolute(&self.path(&words[0]));
            if !path.exists() {
                let cure = "paths are relative to the file that names them; the version cannot start before the program is there";
                self.warning(program.span, format!("there is no program `{}`", program.as_str()), cure);
            }
            words[0] = path.to_string_lossy().into_owned();
        }
        Some(words)
    }

    /// The words of a command, as they are.
    pub(super) fn words(&mut self, command: &Spanned<CommandFile>) -> Option<Box<[String]>> {
        let words: &[Spanned<Word>] = &command.0;
        let Some(program) = words.first() else {
            if !self.has_error_within(command.span) {
                let cure = "write the program and its arguments: `[./app, --serve]`";
                self.error(command.span, "the command is empty", cure);
            }
            return None;
        };
        if let Some(bad) = words.iter().find(|word| word.as_str().contains('\0')) {
            self.error(bad.span, "this holds a NUL byte", "no process can be given one");
            return None;
        }
        if program.as_str().is_empty() {
            self.error(program.span, "the name of the program is empty", "write the program first: `[./app, --serve]`");
            return None;
        }
        Some(words.iter().map(|word| word.as_str().to_owned()).collect())
    }

    /// A name, a number, or `uid:gid`. Whether there is such a user is seen when the process starts, which may be on another machine.
    fn user(&mut self, user: &Spanned<Word>) -> Option<Box<str>> {
        let text = user.as_str();
        let good = self.user_of_container(user)?;
        if !text.contains(':') && text.parse::<u32>().is_err() && matches!(User::from_name(text), Ok(None)) {
            let cure = "create it before the version starts, or write numbers, like `\"1000:1000\"`";
            self.warning(user.span, format!("there is no user `{text}` on this machine"), cure);
        }
        Some(good)
    }

    /// The same, where the users are those of an image.
    pub(super) fn user_of_container(&mut self, user: &Spanned<Word>) -> Option<Box<str>> {
        let text = user.as_str();
        let number = |text: &str| text.parse::<u32>().is_ok_and(|number| number < u32::MAX);
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let good = match text.split_once(':') {
            Some((user, group)) => digits(user) && digits(group) && number(user) && number(group),
            None if digits(text) => number(text),
            None => !text.is_empty() && !text.starts_with('-') && text.bytes().all(|byte| byte.is_ascii_graphic()),
        };
        if !good {
            let cure = "write a name or a number (`shop`, `1000`), or both numbers as `\"1000:1000\"`";
            self.error(user.span, format!("`{}` is not a user", text.escape_debug()), cure);
        }
        good.then(|| text.into())
    }
}
