//! Why a repository could not be fetched.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a repository could not be fetched. Tokens are never part of it.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no git.
    #[error(
        "the program `git` was not found in the directories of PATH: install it (`apt-get install git`), or build from a folder"
    )]
    Missing,
    /// It could not be run.
    #[error("the program `git` could not be run: {0}")]
    Run(#[source] io::Error),
    /// The folder for it.
    #[error("the folder for the repository cannot be used: {0}; it lies where TMPDIR says, /tmp without it")]
    Folder(#[source] io::Error),
    /// The file of the token.
    #[error("cannot read `{}`, which `--git-token-file` names: {source}", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no token in it.
    #[error("`{}`, which `--git-token-file` names, should have a token and nothing else in it", .0.display())]
    NoToken(PathBuf),
    /// It would be sent in clear text, or not at all.
    #[error(
        "a token is only sent over https, and `{0}` is fetched in another way: write its https URL, or leave `--git-token-file` out"
    )]
    TokenInClear(String),
    /// The server does not let us in.
    #[error(
        "`{url}` cannot be read: it does not exist, or is private; name a file with a token that may read it by \
         `--git-token-file`, or use its SSH URL with an agent{}",
        Said(said)
    )]
    Denied {
        /// The repository.
        url: String,
        /// What git wrote.
        said: Vec<String>,
    },
    /// The SSH server takes none of our keys.
    #[error(
        "the server of `{url}` takes no key that the SSH agent has: `ssh-add` one, and see that SSH_AUTH_SOCK is set{}",
        Said(said)
    )]
    Keys {
        /// The repository.
        url: String,
        /// What git wrote.
        said: Vec<String>,
    },
    /// The SSH server is not known.
    #[error(
        "the SSH server of `{url}` is not among this user's known hosts: connect to it once with `ssh`, and compare its \
         fingerprint{}",
        Said(said)
    )]
    HostKey {
        /// The repository.
        url: String,
        /// What git wrote.
        said: Vec<String>,
    },
    /// Nobody there.
    #[error("`{url}` cannot be reached: is its host right, and can this one reach it?{}", Said(said))]
    Unreachable {
        /// The repository.
        url: String,
        /// What git wrote.
        said: Vec<String>,
    },
    /// A submodule of a kind that is not fetched.
    #[error(
        "`{url}` or one of its submodules is fetched in a way that is not allowed; https, http, ssh and git are{}",
        Said(said)
    )]
    Transport {
        /// The repository.
        url: String,
        /// What git wrote.
        said: Vec<String>,
    },
    /// There is no such branch, tag or commit.
    #[error("`{url}` has no branch, tag or commit `{reference}`{}", There(there))]
    NoReference {
        /// What was asked for.
        reference: String,
        /// The repository.
        url: String,
        /// Some that are there.
        there: Vec<String>,
    },
    /// There is no such folder in it.
    #[error("the repository has no folder `{}`", .0.display())]
    NoFolder(PathBuf),
    /// Anything else.
    #[error("`git {command}` failed for `{url}`{}", Said(said))]
    Failed {
        /// The first word of what it was told.
        command: String,
        /// The repository.
        url: String,
        /// What it wrote last.
        said: Vec<String>,
    },
    /// It took too long.
    #[error("the repository was not fetched within {0:?}")]
    Timeout(Duration),
}

impl GitError {
    /// Reads git's words (in English: it is run with `LC_ALL=C`).
    pub(super) fn of(command: &str, url: &str, said: Vec<String>) -> Self {
        let text = said.join("\n").to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let url = url.to_owned();
        if has(&["host key verification failed"]) {
            Self::HostKey { url, said }
        } else if has(&["permission denied (publickey"]) {
            Self::Keys { url, said }
        } else if has(&["' not allowed", "is not allowed"]) {
            Self::Transport { url, said }
        } else if has(&[
            "could not resolve",
            "connection refused",
            "failed to connect",
            "timed out",
            "unreachable",
            "no route to host",
            "name or service not known",
        ]) {
            Self::Unreachable { url, said }
        } else if has(&[
            "authentication failed",
            "could not read username",
            "could not read password",
            "terminal prompts disabled",
            "returned error: 401",
            "returned error: 403",
            "returned error: 404",
            "repository not found",
            "' not found",
            "access denied",
        ]) {
            Self::Denied { url, said }
        } else {
            Self::Failed { command: command.to_owned(), url, said }
        }
    }

    fn said(&self, words: &[&str]) -> bool {
        matches!(self, Self::Failed { said, .. } | Self::Transport { said, .. }
            if said.iter().any(|line| words.iter().any(|word| line.to_ascii_lowercase().contains(word))))
    }

    pub(super) fn is_no_such_reference(&self) -> bool {
        self.said(&["couldn't find remote ref", "not our ref", "unadvertised object", "invalid refspec"])
    }

    pub(super) fn is_about_shallow(&self) -> bool {
        self.said(&["does not support shallow", "unadvertised object", "not our ref"])
    }
}

struct Said<'a>(&'a [String]);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| write!(f, "\n  | {line}"))
    }
}

struct There<'a>(&'a [String]);

impl fmt::Display for There<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("; it is empty") } else { write!(f, "; there are: {}", self.0.join(", ")) }
    }
}
