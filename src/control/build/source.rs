//! What `--build` names: a folder, a zip, or a repository.

use std::path::{Path, PathBuf};

/// Where the context of a build comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder of this host.
    Folder(PathBuf),
    /// A zip of this host.
    Zip(PathBuf),
    /// A repository.
    Git(GitSource),
}

/// A repository, at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// What git understands: a URL, `user@host:path`, or a path of this host. Never with a password.
    pub url: String,
    /// A branch, tag or commit; the repository's default branch where `None`.
    pub reference: Option<String>,
    /// The folder in it that counts as the root.
    pub folder: Option<PathBuf>,
    /// Whether it is a path of this host, which somebody has written as one.
    pub local: bool,
}

/// Why `--build` names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Neither here nor a URL.
    #[error(
        "there is no `{0}` here, and it is no URL of a repository: write a folder, a zip, or a URL like \
         `https://github.com/me/shop.git#main:backend`"
    )]
    Nothing(String),
    /// A file that is no zip.
    #[error("`{0}` is neither a folder nor a zip (`.zip`): tar archives are to be unpacked first")]
    NotZip(String),
    /// A transport that could run programs or read this host's files.
    #[error("`{0}` is not a URL that is fetched from: https://, http://, ssh://, git:// and user@host:path are")]
    Transport(String),
    /// A secret on the command line.
    #[error(
        "the URL of the repository `{0}` has a password in it, which others can see: put it into a file and name that by \
         `--git-token-file`"
    )]
    Password(String),
    /// Behind the `#`.
    #[error("`{0}` behind the `#` is no branch, tag or commit: write `URL#REF` or `URL#REF:FOLDER`")]
    Reference(String),
    /// Behind the `:`.
    #[error("`{0}` is no folder of a repository: write it relative to its root, without `..`")]
    Folder(String),
}

impl Source {
    /// Reads what `--build` says: what exists on this host, or a URL. Looks at the file system, and fetches nothing.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let path = Path::new(text);
        if path.is_dir() && !is_bare(path) {
            return Ok(Self::Folder(path.to_owned()));
        }
        if path.is_file() {
            return if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zip")) {
                Ok(Self::Zip(path.to_owned()))
            } else {
                Err(SourceError::NotZip(text.to_owned()))
            };
        }
        let (url, fragment) = text.split_once('#').map_or((text, None), |(url, fragment)| (url, Some(fragment)));
        let (url, local) = if Path::new(url).is_dir() { (url.to_owned(), true) } else { (remote(url)?, false) };
        let (reference, folder) = match fragment {
            None => (None, None),
            Some(fragment) => fragment.split_once(':').map_or((Some(fragment), None), |(r, f)| (Some(r), Some(f))),
        };
        let reference = match reference.filter(|reference| !reference.is_empty()) {
            Some(reference) if !is_reference(reference) => return Err(SourceError::Reference(reference.to_owned())),
            reference => reference.map(str::to_owned),
        };
        let folder = match folder.filter(|folder| !folder.is_empty()) {
            Some(folder) => match super::tree::below(Path::new(folder.trim_start_matches('/'))) {
                Some(folder) => Some(folder),
                None => return Err(SourceError::Folder(folder.to_owned())),
            },
            None => None,
        };
        Ok(Self::Git(GitSource { url, reference, folder, local }))
    }
}

/// A repository without a working tree is a source for git, and no folder to build from.
fn is_bare(path: &Path) -> bool {
    path.join("HEAD").is_file() && path.join("objects").is_dir() && path.join("refs").is_dir()
}

fn remote(url: &str) -> Result<String, SourceError> {
    let nothing = || SourceError::Nothing(url.to_owned());
    if let Some((scheme, rest)) = url.split_once("://") {
        let authority = rest.split('/').next().unwrap_or_default();
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        if user.contains(':') {
            return Err(SourceError::Password(format!("{scheme}://{}", rest.replacen(&format!("{user}@"), "", 1))));
        }
        // What begins with `-` could be taken for an option, by ssh too.
        let right = !host.is_empty() && !authority.starts_with('-') && !host.starts_with('-');
        return match scheme {
            "https" | "http" | "ssh" | "git" if right => Ok(url.to_owned()),
            _ => Err(SourceError::Transport(url.to_owned())),
        };
    }
    // `ext::` and other helpers of git run programs.
    if url.contains("::") {
        return Err(SourceError::Transport(url.to_owned()));
    }
    // As `docker build` takes it.
    if url.starts_with("github.com/") || url.starts_with("gitlab.com/") {
        return Ok(format!("https://{url}"));
    }
    let Some((login, path)) = url.split_once(':') else { return Err(nothing()) };
    let Some((user, host)) = login.split_once('@') else { return Err(nothing()) };
    let plain = |text: &str| {
        !text.is_empty()
            && !text.starts_with('-')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
    };
    if plain(user) && plain(host) && !path.is_empty() { Ok(url.to_owned()) } else { Err(nothing()) }
}

/// What git takes for a branch, tag or commit (git-check-ref-format), roughly; never an option or a refspec.
fn is_reference(text: &str) -> bool {
    !text.starts_with('-')
        && !text.contains("..")
        && text.bytes().all(|byte| byte > b' ' && byte != 0x7f && !b"~^:?*[\\".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(text: &str) -> (String, Option<String>, Option<String>) {
        match Source::parse(text) {
            Ok(Source::Git(GitSource { url, reference, folder, local: false })) => {
                (url, reference, folder.map(|folder| folder.to_string_lossy().into_owned()))
            }
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn urls_of_repositories_are_known() {
        for (text, url, reference, folder) in [
            ("https://github.com/me/shop.git", "https://github.com/me/shop.git", None, None),
            ("https://me@gitlab.com/me/shop#v1.0", "https://me@gitlab.com/me/shop", Some("v1.0"), None),
            (
                "ssh://git@host:2222/shop.git#main:back/end",
                "ssh://git@host:2222/shop.git",
                Some("main"),
                Some("back/end"),
            ),
            ("git@github.com:me/shop.git#:docs", "git@github.com:me/shop.git", None, Some("docs")),
            ("github.com/me/shop", "https://github.com/me/shop", None, None),
            ("https://h/r#feature/x:/sub/", "https://h/r", Some("feature/x"), Some("sub")),
        ] {
            let found = git(text);
            assert_eq!((found.0.as_str(), found.1.as_deref(), found.2.as_deref()), (url, reference, folder), "{text}");
        }
    }

    #[test]
    fn what_is_not_fetched_from_says_why() {
        for (text, said) in [
            ("nowhere-at-all", "there is no `nowhere-at-all` here"),
            ("ext::sh -c evil", "is not a URL that is fetched from"),
            ("file:///etc#main", "is not a URL that is fetched from"),
            ("ftp://host/x", "is not a URL that is fetched from"),
            ("ssh://-oProxyCommand=evil/x", "is not a URL that is fetched from"),
            ("ssh://me@-oProxyCommand=evil/x", "is not a URL that is fetched from"),
            ("-oProxyCommand=evil@host:x", "there is no"),
            ("https://me:hunter2@host/x", "--git-token-file"),
            ("https://host/x#--upload-pack=evil", "behind the `#`"),
            ("https://host/x#a:../b", "is no folder of a repository"),
            ("https://host/x#+a", ""),
        ] {
            match Source::parse(text) {
                Err(error) => {
                    let error = error.to_string();
                    assert!(error.contains(said) && !error.contains("hunter2"), "{text}: {error}");
                }
                Ok(_) => assert!(said.is_empty(), "{text} was taken"),
            }
        }
    }

    #[test]
    fn what_is_here_is_taken_for_what_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        std::fs::create_dir(at("dir")).expect("made");
        std::fs::write(at("a.ZIP"), "").expect("written");
        std::fs::write(at("a.tar"), "").expect("written");
        assert_eq!(Source::parse(&at("dir")), Ok(Source::Folder(at("dir").into())));
        assert_eq!(Source::parse(&at("a.ZIP")), Ok(Source::Zip(at("a.ZIP").into())));
        assert_eq!(Source::parse(&at("a.tar")), Err(SourceError::NotZip(at("a.tar"))));
        let repository = Source::parse(&format!("{}#v1", at("dir")));
        assert!(matches!(repository, Ok(Source::Git(GitSource { local: true, .. }))), "{repository:?}");
    }
}
