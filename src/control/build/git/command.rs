//! The `git` program, run so that a repository cannot make it run anything, and it asks nobody.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::super::BuildLine;
use super::super::lines::Lines;
use super::error::GitError;
use super::token::Token;

/// What of the environment git gets: where programs, keys, settings and proxies are. Not its traces, which show headers.
const KEPT: [&str; 30] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "LD_LIBRARY_PATH",
    "SSH_AUTH_SOCK",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_EXEC_PATH",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_SSL_CERT",
    "GIT_SSL_KEY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "GIT_PROXY_SSL_CAINFO",
];

/// The most of stdout that is kept.
const MOST_OUTPUT: usize = 1 << 20;

/// What git may fetch from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Transports {
    /// Other hosts.
    Remote,
    /// And this host's files, for a path that was written as one.
    LocalToo,
}

/// How git is run.
pub(super) struct Git<'a> {
    pub(super) folder: &'a Path,
    pub(super) environment: &'a BTreeMap<OsString, OsString>,
    pub(super) token: Option<&'a Token>,
    /// For errors.
    pub(super) url: &'a str,
}

impl Git<'_> {
    /// Runs git in the folder. What it writes to stderr is told line by line; gives what it wrote to stdout.
    pub(super) async fn run(
        &self,
        arguments: &[&str],
        transports: Transports,
        out: &mut dyn FnMut(BuildLine),
    ) -> Result<String, GitError> {
        let mut child = self.command(arguments, transports).spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => GitError::Missing,
            _ => GitError::Run(error),
        })?;
        // git has helpers, which would live on without it.
        let group = Group(child.id());
        let (mut stdout, mut stderr) =
            (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
        let mut lines = Lines::default();
        let (kept, told) = tokio::join!(keep(&mut stdout), async {
            let mut piece = vec![0; 8 << 10];
            loop {
                match stderr.read(&mut piece).await {
                    Ok(0) | Err(_) => break,
                    Ok(read) => lines.take(&piece[..read]).into_iter().for_each(|line| out(self.note(&line))),
                }
            }
            lines.end().into_iter().for_each(|line| out(self.note(&line)));
        });
        let () = told;
        let status = child.wait().await.map_err(GitError::Run)?;
        // Its number may be another's from here on.
        group.disarm();
        if status.success() {
            return Ok(kept);
        }
        let said = lines.last().iter().map(|line| self.scrub(line)).collect();
        Err(GitError::of(arguments[0], self.url, said))
    }

    fn command(&self, arguments: &[&str], transports: Transports) -> Command {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(self.folder).env_clear();
        command.envs(KEPT.iter().filter_map(|name| self.environment.get(OsStr::new(name)).map(|value| (name, value))));
        command.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0");
        command.env("GIT_CEILING_DIRECTORIES", self.folder.parent().unwrap_or(self.folder));
        let named = |name: &str| self.environment.contains_key(OsStr::new(name));
        if !named("GIT_SSH_COMMAND") && !named("GIT_SSH") {
            command.env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oConnectTimeout=20");
        }
        // Among those that are not: `ext`, which runs a command of the URL.
        command.env(
            "GIT_ALLOW_PROTOCOL",
            match transports {
                Transports::Remote => "https:http:ssh:git",
                Transports::LocalToo => "https:http:ssh:git:file",
            },
        );
        let mut settings = vec![
            ("core.hooksPath".to_owned(), "/dev/null".to_owned()),
            ("core.fsmonitor".to_owned(), "false".to_owned()),
            ("core.askPass".to_owned(), String::new()),
            ("advice.detachedHead".to_owned(), "false".to_owned()),
            ("fetch.recurseSubmodules".to_owned(), "false".to_owned()),
            ("maintenance.auto".to_owned(), "false".to_owned()),
            ("gc.auto".to_owned(), "0".to_owned()),
        ];
        if let Some(token) = self.token {
            settings.push(token.setting());
            // A helper would be asked next, and might keep what it is told.
            settings.push(("credential.helper".to_owned(), String::new()));
        }
        // By the environment, which others cannot see, and not by arguments, which they can.
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (at, (name, value)) in settings.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{at}"), name).env(format!("GIT_CONFIG_VALUE_{at}"), value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        command
    }

    fn note(&self, line: &str) -> BuildLine {
        BuildLine::Note(format!("git: {}", self.scrub(line)))
    }

    fn scrub(&self, line: &str) -> String {
        self.token.map_or_else(|| line.to_owned(), |token| token.scrub(line))
    }
}

async fn keep(from: &mut (impl AsyncRead + Unpin)) -> String {
    let (mut kept, mut piece) = (Vec::new(), vec![0; 8 << 10]);
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        let room = MOST_OUTPUT.saturating_sub(kept.len());
        kept.extend_from_slice(&piece[..read.min(room)]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// The processes of one run, while their leader has not been waited for; killed when dropped.
struct Group(Option<u32>);

impl Group {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0.and_then(|id| i32::try_from(id).ok())
            && let Err(error) = killpg(Pid::from_raw(leader), Signal::SIGKILL)
        {
            tracing::debug!(%error, "git could not be killed");
        }
    }
}
