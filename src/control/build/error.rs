//! Why nothing was built.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::git::GitError;
use super::ignore::IgnoreError;
use super::pack::PackError;
use super::zip::ZipError;

/// Why an image was not built. Each says the cure.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A path that could lead out.
    #[error("`{key}` should be a path below the root of what is built, not `{}`", path.display())]
    Path {
        /// The option.
        key: &'static str,
        /// What it says.
        path: PathBuf,
    },
    /// A link that leads out.
    #[error("`{}`, which `{key}` names, is a symbolic link that leads out of what is built", path.display())]
    Outside {
        /// The option.
        key: &'static str,
        /// What it says.
        path: PathBuf,
    },
    /// There is no such folder.
    #[error("there is no folder `{}` in what is built: `--context` should name one, from its root", .0.display())]
    NoContext(PathBuf),
    /// There is no Dockerfile where it should be.
    #[error("there is no Dockerfile: looked for {}; {}", Paths(looked, " and "), There(there))]
    NoDockerfile {
        /// Where it was looked for, from the root of what is built.
        looked: Vec<PathBuf>,
        /// Dockerfiles that are there.
        there: Vec<PathBuf>,
    },
    /// A line of `.dockerignore`.
    #[error("`{}`: {source}", path.display())]
    Ignore {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: IgnoreError,
    },
    /// The source, or a file of it.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The zip.
    #[error(transparent)]
    Zip(#[from] ZipError),
    /// The repository.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The context could not be sent.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The engine did not begin: the Dockerfile cannot be understood, mostly.
    #[error("the engine refuses to build: {0}")]
    Refused(String),
    /// An instruction failed.
    #[error("step {step} failed: {said}{}{}", cure(said), LastLines(lines))]
    Step {
        /// `3/7: RUN make`.
        step: String,
        /// What the engine said.
        said: String,
        /// What it wrote last, oldest first.
        lines: Vec<String>,
    },
    /// It took too long.
    #[error("the build did not end within {0:?} and was cancelled")]
    Timeout(Duration),
    /// The engine was done and named no image.
    #[error("the engine ended the build without an image")]
    NoImage,
    /// The engine could not be spoken to.
    #[error("the engine could not be asked to build: {0}")]
    Engine(#[source] Box<bollard::errors::Error>),
    /// A thread of ours broke.
    #[error("the context could not be read: {0}")]
    Thread(#[source] tokio::task::JoinError),
}

/// What helps, where the engine's words do not say it.
fn cure(said: &str) -> &'static str {
    let lower = said.to_ascii_lowercase();
    if ["access denied", "unauthorized", "no basic auth credentials"].iter().any(|word| lower.contains(word)) {
        "; for a private base image, `docker login` to its registry as the user that runs this"
    } else if lower.contains("no space left") {
        "; `docker system df` shows what takes it"
    } else if lower.contains("the --mount option requires buildkit") || lower.contains("requires buildkit") {
        "; only what the engine's classic builder understands can be built: take that option out"
    } else {
        ""
    }
}

struct Paths<'a>(&'a [PathBuf], &'a str);

impl fmt::Display for Paths<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(paths, between) = self;
        paths.iter().enumerate().try_for_each(|(at, path)| {
            write!(f, "{}`{}`", if at == 0 { "" } else { between }, Path::new(path).display())
        })
    }
}

struct There<'a>(&'a [PathBuf]);

impl fmt::Display for There<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("there is none anywhere in what is built")
        } else {
            write!(f, "these are there, for `--dockerfile`: {}", Paths(self.0, ", "))
        }
    }
}

struct LastLines<'a>(&'a [String]);

impl fmt::Display for LastLines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| write!(f, "\n  | {line}"))
    }
}
