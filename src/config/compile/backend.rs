//! What makes a version's instances: addresses, with or without a hook, or a process.

use nix::unistd::User;

use super::Check;
use super::settings::absolute;
use crate::config::file::{CommandFile, HookFile, VersionFile, Word};
use crate::config::source::Span;
use crate::config::spanned::Spanned;
use crate::model::name::VersionName;
use crate::model::version::{Backend, Endpoint, HookSpec, ProcessSpec};

/// Why what belongs to a process is refused with `urls` alone, and with `hook`.
const NOT_OURS: &str = "and `urls` names what is not ours to start";
const A_HOOK: &str = "and the commands of a hook have tidegate's own user, folder and environment";

impl Check {
    /// `command`, or `urls` with or without `hook`, and what else belongs to them.
    pub(super) fn backend(&mut self, name: &VersionName, at: Span, file: &Spanned<VersionFile>) -> Option<Backend> {
        match (&file.urls, &file.command, &file.hook) {
            (Some(urls), None, hook) => {
                self.only_processes(file);
                let urls = self.endpoints(urls);
                match hook {
                    Some(hook) => Some(Backend::Hook(self.hook(hook, urls)?)),
                    None => Some(Backend::Urls(urls?)),
                }
            }
            (None, Some(command), None) => Some(Backend::Process(self.process(command, file)?)),
            (Some(_), Some(command), _) => {
                let cure = "keep `urls` for what runs already, or `command` for a process that tidegate runs";
                self.error(command.span, format!("{name} has both `urls` and `command`"), cure);
                None
            }
            (None, Some(_), Some(hook)) => {
                let cure = "keep `command` for a process that tidegate runs, or write `urls` for where what the hook starts listens";
                self.error(hook.span, format!("{name} has both `command` and `hook`"), cure);
                None
            }
            (None, None, Some(hook)) => {
                if !self.has_error_within(file.span) {
                    let cure = "say where what it starts listens: `urls: [\"http://127.0.0.1:3000\"]`";
                    self.error(hook.span, format!("{name} has a `hook` and no `urls`"), cure);
                }
                None
            }
            (None, None, None) => {
                if !self.has_error_within(file.span) {
                    let cure = "write `urls: [\"http://127.0.0.1:3000\"]` for what runs already, or `command: [./app]` for a process";
                    self.error(at, format!("{name} has neither `urls` nor `command`"), cure);
                }
                None
            }
        }
    }

    /// Refuses what says something of processes only.
    fn only_processes(&mut self, file: &Spanned<VersionFile>) {
        if file.hook.is_none() && self.has_error_within(file.span) {
            // What could not be decoded may be the `hook` that it belongs to.
            return;
        }
        let stop = file.stop.as_ref();
        let (why, stop) = if file.hook.is_some() {
            (A_HOOK, ("stop.signal", stop.and_then(|stop| stop.signal.as_ref().map(|signal| signal.span))))
        } else {
            (NOT_OURS, ("stop", stop.map(|stop| stop.span)))
        };
        let keys = [
            ("env", file.env.as_ref().map(|value| value.span)),
            ("env_file", file.env_file.as_ref().map(|value| value.span)),
            ("cwd", file.cwd.as_ref().map(|value| value.span)),
            ("user", file.user.as_ref().map(|value| value.span)),
            stop,
        ];
        for (key, span) in keys {
            if let Some(span) = span {
                let why = if key == "stop.signal" { "and a hook is stopped by its `stop`" } else { why };
                self.error(span, format!("`{key}` is for processes, {why}"), "take it out");
            }
        }
    }

    fn process(&mut self, command: &Spanned<CommandFile>, file: &VersionFile) -> Option<ProcessSpec> {
        let command = self.command(command);
        let env = self.environment(file.env.as_ref(), file.env_file.as_ref());
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

    fn command(&mut self, command: &Spanned<CommandFile>) -> Option<Box<[String]>> {
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
        let mut command: Vec<String> = words.iter().map(|word| word.as_str().to_owned()).collect();
        if program.as_str().contains('/') {
            // A path is relative to the file, as all are; a bare name is looked up in PATH when it is started.
            let path = absolute(&self.path(program.as_str()));
            if !path.exists() {
                let cure = "paths are relative to the file that names them; the version cannot start before the program is there";
                self.warning(program.span, format!("there is no program `{}`", program.as_str()), cure);
            }
            command[0] = path.to_string_lossy().into_owned();
        }
        Some(command.into())
    }

    /// A name, a number, or `uid:gid`. Whether there is such a user is seen when the process starts, which may be on another machine.
    fn user(&mut self, user: &Spanned<Word>) -> Option<Box<str>> {
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
        } else if !digits(text) && !text.contains(':') && matches!(User::from_name(text), Ok(None)) {
            let cure = "create it before the version starts, or write numbers, like `\"1000:1000\"`";
            self.warning(user.span, format!("there is no user `{text}` on this machine"), cure);
        }
        good.then(|| text.into())
    }
}
