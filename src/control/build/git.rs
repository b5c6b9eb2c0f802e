//! A repository, as a context's source: the `git` program fetches one commit into a folder that goes with the build.

mod command;
mod error;
mod folder;
mod token;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;

use self::command::{Git, Transports};
pub use self::error::GitError;
use self::folder::TempFolder;
use self::token::Token;
use super::BuildLine;
use super::source::GitSource;

/// How long fetching may take, submodules included.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// How many branches and tags an error names.
const MOST_NAMED: usize = 12;

/// The files of a commit, without git's own. They go when this is dropped.
#[derive(Debug)]
pub(super) struct Checkout {
    _folder: TempFolder,
    root: PathBuf,
}

impl Checkout {
    /// The folder that is built from.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }
}

/// Fetches one commit, as shallow as the server allows, and its submodules. Dropped, git and all it has started end at once.
pub(super) async fn check_out(
    source: &GitSource,
    token_file: Option<&Path>,
    environment: &BTreeMap<OsString, OsString>,
    out: &mut dyn FnMut(BuildLine),
) -> Result<Checkout, GitError> {
    let token = token_file.map(|path| Token::read(path, &source.url)).transpose()?;
    let within = environment.get(OsStr::new("TMPDIR")).map_or_else(|| "/tmp".into(), PathBuf::from);
    let folder = TempFolder::new(&within).map_err(GitError::Folder)?;
    let fetching = fetch(source, token.as_ref(), environment, folder.path(), out);
    tokio::time::timeout(LIMIT, fetching).await.map_err(|_| GitError::Timeout(LIMIT))??;
    let root = source.folder.as_ref().map_or_else(|| folder.path().to_owned(), |within| folder.path().join(within));
    // Its own folder is no part of what is built; nor may the one that is named lead out.
    let (own, whole) = (folder.path().join(".git"), folder.path().to_owned());
    let looking = spawn_blocking(move || {
        std::fs::remove_dir_all(own).map_err(GitError::Folder)?;
        let full = root.canonicalize().ok().filter(|full| full.is_dir());
        let whole = whole.canonicalize().map_err(GitError::Folder)?;
        Ok(full.filter(|full| full.starts_with(whole)))
    });
    let root = looking.await.map_err(|error| GitError::Folder(std::io::Error::other(error)))??;
    let root = root.ok_or_else(|| GitError::NoFolder(source.folder.clone().unwrap_or_default()))?;
    Ok(Checkout { _folder: folder, root })
}

async fn fetch(
    source: &GitSource,
    token: Option<&Token>,
    environment: &BTreeMap<OsString, OsString>,
    folder: &Path,
    out: &mut dyn FnMut(BuildLine),
) -> Result<(), GitError> {
    let git = Git { folder, environment, token, url: &source.url };
    let url = if source.local {
        let full = Path::new(&source.url).canonicalize().map_err(GitError::Folder)?;
        full.to_string_lossy().into_owned()
    } else {
        source.url.clone()
    };
    let transports = if source.local { Transports::LocalToo } else { Transports::Remote };
    let wanted = source.reference.as_deref().unwrap_or("HEAD");
    out(BuildLine::Note(format!("fetching {wanted} of {url}")));
    // No template: its hooks would be copied.
    git.run(&["init", "--quiet", "--template="], Transports::Remote, out).await?;
    git.run(&["remote", "add", "--", "origin", &url], Transports::Remote, out).await?;
    let shallow = ["fetch", "--quiet", "--no-tags", "--depth=1", "--", "origin", wanted];
    let commit = match git.run(&shallow, transports, out).await {
        Ok(_) => "FETCH_HEAD",
        Err(error) if error.is_about_shallow() || (error.is_no_such_reference() && may_be_commit(wanted)) => {
            // Part of a commit's name, or a server that gives no single commits.
            out(BuildLine::Note("the server gives no single commit of that name; fetching all of them".to_owned()));
            let all = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
            let all = ["fetch", "--quiet", "--no-tags", "--", "origin", all[0], all[1]];
            git.run(&all, transports, out).await?;
            match wanted {
                "HEAD" => "FETCH_HEAD",
                _ => wanted,
            }
        }
        Err(error) if error.is_no_such_reference() => {
            return Err(no_such_reference(&git, transports, wanted, out).await);
        }
        Err(error) => return Err(error),
    };
    let checked_out = git.run(&["checkout", "--quiet", "--detach", commit], Transports::Remote, out).await;
    if checked_out.is_err() && commit == wanted {
        return Err(no_such_reference(&git, transports, wanted, out).await);
    }
    checked_out?;
    if folder.join(".gitmodules").is_file() {
        let update = ["submodule", "--quiet", "update", "--init", "--recursive"];
        // Not from this host's files: the repository says where its submodules are.
        let shallow: Vec<&str> = update.iter().copied().chain(["--depth=1"]).collect();
        if git.run(&shallow, Transports::Remote, out).await.is_err() {
            git.run(&update, Transports::Remote, out).await?;
        }
    }
    Ok(())
}

async fn no_such_reference(
    git: &Git<'_>,
    transports: Transports,
    wanted: &str,
    out: &mut dyn FnMut(BuildLine),
) -> GitError {
    let listed = match git.run(&["ls-remote", "--heads", "--tags", "--refs", "origin"], transports, out).await {
        Ok(listed) => listed,
        Err(error) => return error,
    };
    let names = listed.lines().filter_map(|line| {
        let name = line.split_once('\t')?.1;
        name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/")).map(str::to_owned)
    });
    GitError::NoReference {
        reference: wanted.to_owned(),
        url: git.url.to_owned(),
        there: names.take(MOST_NAMED).collect(),
    }
}

/// Git takes four digits or more for the beginning of a commit's name.
fn may_be_commit(reference: &str) -> bool {
    (4..=64).contains(&reference.len()) && reference.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
