//! Images built from sources: a folder, a zip or a repository becomes a context, the engine's builder does the rest.
//!
//! A context is never in memory or on disk as a whole: a thread reads the source and packs it, and a few pieces wait for the engine. Only a
//! repository has a folder of its own, which goes when the build ends, is dropped or fails.

mod dockerfile;
mod engine;
mod error;
mod folder;
mod git;
mod ignore;
mod lines;
mod pack;
mod selection;
mod source;
mod tree;
mod upload;
mod zip;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::BuildImageOptionsBuilder;
use tokio::task::spawn_blocking;

use crate::lifecycle::provider::docker::credentials::{Credentials, Keychain};
use crate::model::image::{Digest, Named, Reference};
use crate::model::name::VersionName;

pub use self::error::BuildError;
pub use self::git::GitError;
pub use self::ignore::IgnoreError;
pub use self::pack::{PackError, Sent};
pub use self::source::{GitSource, Source, SourceError};
pub use self::zip::ZipError;

use self::folder::FolderTree;
use self::git::Checkout;
use self::tree::Tree;
use self::zip::ZipTree;

/// How long a build may take, where nothing else is said.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// How long the thread that packs a context may take to notice that it is over.
const AFTERWARDS: Duration = Duration::from_secs(10);

/// What is to be built.
#[derive(Debug)]
pub struct BuildRequest {
    /// Where the context comes from.
    pub source: Source,
    /// The folder of the source that is the context; its root where `None`.
    pub context: Option<PathBuf>,
    /// The Dockerfile, from the root of the source or from the context; `Dockerfile` of the context where `None`.
    pub dockerfile: Option<PathBuf>,
    /// Values for the Dockerfile's `ARG`s. They are kept in the image's history, so they are no secrets.
    pub arguments: Vec<(String, String)>,
    /// What the image is for, which names it.
    pub version: VersionName,
    /// Credentials for base images.
    pub keychain: Keychain,
    /// A file with a token for a private repository over https.
    pub token_file: Option<PathBuf>,
    /// The environment that `git` gets a part of: PATH, HOME, the SSH agent, proxies, certificates.
    pub environment: BTreeMap<OsString, OsString>,
    /// How long all of it may take. One hour.
    pub limit: Duration,
}

/// An image that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Its name, `tidegate/<service>:<NNN>`, with its ID for a digest: what a version records.
    pub image: Reference,
    /// Its ID.
    pub id: Digest,
    /// How much was sent for it.
    pub sent: Sent,
}

/// What a build says on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildLine {
    /// What tidegate does, or leaves out.
    Note(String),
    /// An instruction begins.
    Step {
        /// `3/7`.
        count: String,
        /// `RUN make`.
        instruction: String,
    },
    /// A line that an instruction or the builder has written.
    Output(String),
    /// Something about a base image on its way.
    Pull(String),
}

impl BuildRequest {
    /// A request with the usual settings, and this process's environment.
    #[must_use]
    pub fn new(source: Source, version: VersionName) -> Self {
        Self {
            source,
            context: None,
            dockerfile: None,
            arguments: Vec::new(),
            version,
            keychain: Keychain::default(),
            token_file: None,
            environment: std::env::vars_os().collect(),
            limit: LIMIT,
        }
    }
}

/// Builds an image. Dropping the future cancels the build and leaves nothing behind, so a caller that can be interrupted should wait for
/// the signal beside it.
///
/// # Errors
/// Why nothing was built, with the cure.
pub async fn build(
    docker: &Docker,
    request: BuildRequest,
    out: &mut dyn FnMut(BuildLine),
) -> Result<Built, BuildError> {
    let limit = request.limit;
    tokio::time::timeout(limit, build_it(docker, request, out)).await.map_err(|_| BuildError::Timeout(limit))?
}

async fn build_it(docker: &Docker, request: BuildRequest, out: &mut dyn FnMut(BuildLine)) -> Result<Built, BuildError> {
    let name = image_name(&request.version);
    let options = BuildImageOptionsBuilder::default().t(&name.to_string()).rm(true).forcerm(true);
    let arguments: HashMap<&str, &str> =
        request.arguments.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let options = options.buildargs(&arguments);

    // Holds the folder of a repository until the build has ended.
    let checkout = match &request.source {
        Source::Git(git) => Some(git::check_out(git, request.token_file.as_deref(), &request.environment, out).await?),
        Source::Folder(_) | Source::Zip(_) => None,
    };
    let (context, dockerfile, arguments) = (request.context, request.dockerfile, request.arguments);
    let opening = open(&request.source, checkout.as_ref());
    let planning = move || {
        let mut tree = opening()?;
        let plan = dockerfile::plan(&mut tree, context.as_deref(), dockerfile.as_deref(), &arguments)?;
        Ok::<_, BuildError>((tree, plan))
    };
    let (tree, plan) = spawn_blocking(planning).await.map_err(BuildError::Thread)??;

    let mut credentials: Vec<Credentials> = Vec::new();
    for registry in &plan.registries {
        match request.keychain.credentials(registry).await {
            Ok(known) => credentials.extend(known),
            // The base image may be public, or here already; where it is neither, the engine says so next.
            Err(error) => out(BuildLine::Note(error.to_string())),
        }
    }
    let options = options.dockerfile(&plan.dockerfile.to_string_lossy()).build();
    let (stream, packing) = upload::start(tree, plan);
    let built = engine::run(docker, options, &credentials, limit_of(request.limit), stream, out).await;
    // Why a context broke off says more than that it did. Nobody needs the stream any more, so the thread ends soon.
    let packed = match tokio::time::timeout(AFTERWARDS, packing).await {
        Ok(packed) => packed.map_err(BuildError::Thread)?,
        Err(_) => Err(PackError::Unread),
    };
    let (sent, skipped) = match packed {
        // An engine that has stopped reading says why, or has all that it needs.
        Err(PackError::Unread) => Default::default(),
        packed => packed?,
    };
    let id = built?;
    for path in skipped {
        out(BuildLine::Note(format!("`{}` is a socket or device and was left out", path.display())));
    }
    drop(checkout);
    let image = Reference::Named(Named { digest: Some(id.clone()), ..name });
    Ok(Built { image, id, sent })
}

/// A little longer than the whole, so that it is the whole's limit that is named.
fn limit_of(limit: Duration) -> Duration {
    limit + Duration::from_secs(60)
}

/// What opens the source; to be called where one may block.
fn open(source: &Source, checkout: Option<&Checkout>) -> impl FnOnce() -> Result<Tree, BuildError> + Send + 'static {
    let (source, checkout) = (source.clone(), checkout.map(|checkout| checkout.root().to_owned()));
    move || {
        let folder = |path: &Path| match FolderTree::open(path) {
            Ok(tree) => Ok(Tree::Folder(tree)),
            Err(source) => Err(BuildError::Read { path: path.to_owned(), source }),
        };
        match (source, checkout) {
            (_, Some(root)) => folder(&root),
            (Source::Zip(path), None) => Ok(Tree::Zip(Box::new(ZipTree::open(&path)?))),
            (Source::Folder(path), None) => folder(&path),
            (Source::Git(git), None) => folder(Path::new(&git.url)),
        }
    }
}

/// `tidegate/<service>:<NNN>`.
fn image_name(version: &VersionName) -> Named {
    let (service, number) = version.as_str().rsplit_once('-').expect("a version is named <service>-<NNN>");
    let (registry, repository) = (crate::model::image::DOCKER_HUB.into(), format!("tidegate/{service}").into());
    Named { registry, repository, tag: Some(number.into()), digest: None }
}

impl fmt::Display for BuildLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note(text) | Self::Output(text) | Self::Pull(text) => f.write_str(text),
            Self::Step { count, instruction } => write!(f, "Step {count}: {instruction}"),
        }
    }
}
