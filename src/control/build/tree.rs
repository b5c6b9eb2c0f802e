//! Where a context is taken from.

use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use super::folder::FolderTree;
use super::pack::{PackError, Packer};
use super::zip::ZipTree;

/// A folder, or the content of a zip.
#[derive(Debug)]
pub(super) enum Tree {
    Folder(FolderTree),
    Zip(Box<ZipTree>),
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    File,
    Folder,
    /// Neither a file nor a folder, or nothing at all.
    Nothing,
    /// A link that leads out of the tree.
    Outside,
}

impl Tree {
    pub(super) fn find(&self, path: &Path) -> Found {
        match self {
            Self::Folder(tree) => tree.find(path),
            Self::Zip(tree) => tree.find(path),
        }
    }

    /// Reads a file of at most `most` bytes.
    pub(super) fn read(&mut self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        match self {
            Self::Folder(tree) => tree.read(path, most),
            Self::Zip(tree) => tree.read(path, most),
        }
    }

    /// Some Dockerfiles that are there, by their paths.
    pub(super) fn dockerfiles(&self) -> Vec<PathBuf> {
        match self {
            Self::Folder(tree) => tree.dockerfiles(),
            Self::Zip(tree) => tree.dockerfiles(),
        }
    }

    /// Sends what is in `context`.
    pub(super) fn pack(&mut self, context: &Path, packer: &mut Packer<'_, impl Write>) -> Result<(), PackError> {
        match self {
            Self::Folder(tree) => tree.pack(context, packer),
            Self::Zip(tree) => tree.pack(context, packer),
        }
    }
}

/// `Dockerfile`, `Dockerfile.dev`, `dev.Dockerfile`, `Containerfile`.
pub(super) fn is_dockerfile(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    !name.ends_with(".dockerignore")
        && ["dockerfile", "containerfile"]
            .iter()
            .any(|word| name == *word || name.starts_with(&format!("{word}.")) || name.ends_with(&format!(".{word}")))
}

/// A path below a root, without `.`; `None` for one that could lead out.
pub(super) fn below(path: &Path) -> Option<PathBuf> {
    path.components().filter(|part| *part != Component::CurDir).try_fold(PathBuf::new(), |so_far, part| match part {
        Component::Normal(name) => Some(so_far.join(name)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below() {
        for (path, wanted) in [
            ("a/b", Some("a/b")),
            ("./a//b/", Some("a/b")),
            (".", Some("")),
            ("../a", None),
            ("a/../b", None),
            ("/a", None),
        ] {
            assert_eq!(below(Path::new(path)), wanted.map(PathBuf::from), "{path}");
        }
    }

    #[test]
    fn dockerfiles_are_known_by_their_names() {
        for name in ["Dockerfile", "a/Dockerfile.dev", "dev.Dockerfile", "a/b.dockerfile", "Containerfile"] {
            assert!(is_dockerfile(Path::new(name)), "{name}");
        }
        for name in ["Dockerfiles", "Dockerfile/x", "Dockerfile.dockerignore", "myDockerfile"] {
            assert!(!is_dockerfile(Path::new(name)), "{name}");
        }
    }
}
