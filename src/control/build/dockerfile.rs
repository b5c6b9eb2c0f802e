//! The Dockerfile of a build: found, or said where it was looked for; and the registries of its base images.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::error::BuildError;
use super::ignore::Ignore;
use super::selection::Selection;
use super::tree::{Found, Tree, below};
use crate::model::image::Reference;

/// The largest Dockerfile or `.dockerignore`: 4 MiB.
const LARGEST: u64 = 4 << 20;

/// How many of the Dockerfiles that are there an error names.
const MOST_NAMED: usize = 10;

/// What is built, and from where.
#[derive(Debug)]
pub(super) struct Plan {
    /// The context's folder in the tree.
    pub(super) context: PathBuf,
    /// The Dockerfile's path in the tar.
    pub(super) dockerfile: PathBuf,
    /// Its content, where it lies outside of the context.
    pub(super) beside: Option<Vec<u8>>,
    pub(super) selection: Selection,
    /// Where base images come from.
    pub(super) registries: BTreeSet<String>,
}

/// Finds what to build. `dockerfile` is looked for from the root of the source, then from the context; without one it is the
/// `Dockerfile` of the context.
pub(super) fn plan(
    tree: &mut Tree,
    context: Option<&Path>,
    dockerfile: Option<&Path>,
    arguments: &[(String, String)],
) -> Result<Plan, BuildError> {
    let path = |key, path: &Path| below(path).ok_or_else(|| BuildError::Path { key, path: path.to_owned() });
    let context = context.map_or_else(|| Ok(PathBuf::new()), |context| path("--context", context))?;
    let wanted = dockerfile.map(|dockerfile| path("--dockerfile", dockerfile)).transpose()?;
    // A zip of one folder is meant as that folder, unless what is wanted is beside it.
    let mut found = look(tree, &context, wanted.as_deref());
    if let (Err(_), Tree::Zip(zip)) = (&found, &mut *tree)
        && zip.enter_single_folder()
    {
        found = look(tree, &context, wanted.as_deref());
    }
    let full = match found {
        Ok(full) => full,
        Err(Missing::Context(Found::Outside)) => return Err(BuildError::Outside { key: "--context", path: context }),
        Err(Missing::Context(_)) => return Err(BuildError::NoContext(context)),
        Err(Missing::Outside(path)) => return Err(BuildError::Outside { key: "--dockerfile", path }),
        Err(Missing::Dockerfile(looked)) => {
            let mut there = tree.dockerfiles();
            there.truncate(MOST_NAMED);
            return Err(BuildError::NoDockerfile { looked, there });
        }
    };
    let text = read(tree, &full)?;
    let registries = registries(&String::from_utf8_lossy(&text), arguments);
    let (ignored_by, ignore) = ignore(tree, &context, &full)?;
    let (dockerfile, beside) = match full.strip_prefix(&context) {
        Ok(within) => (within.to_owned(), None),
        // As `docker build` does it.
        Err(_) => (format!(".dockerfile.{:016x}", rand::random::<u64>()).into(), Some(text)),
    };
    let mut always = vec![dockerfile.clone(), ".dockerignore".into()];
    always.extend(ignored_by.and_then(|path| path.strip_prefix(&context).map(Path::to_owned).ok()));
    Ok(Plan { context, dockerfile, beside, selection: Selection::new(ignore, always), registries })
}

enum Missing {
    Context(Found),
    Dockerfile(Vec<PathBuf>),
    Outside(PathBuf),
}

fn look(tree: &Tree, context: &Path, wanted: Option<&Path>) -> Result<PathBuf, Missing> {
    match tree.find(context) {
        Found::Folder => {}
        found => return Err(Missing::Context(found)),
    }
    let mut looked = match wanted {
        Some(wanted) => vec![wanted.to_owned(), context.join(wanted)],
        None => vec![context.join("Dockerfile")],
    };
    looked.dedup();
    for path in &looked {
        match tree.find(path) {
            Found::File => return Ok(path.clone()),
            Found::Outside => return Err(Missing::Outside(path.clone())),
            Found::Folder | Found::Nothing => {}
        }
    }
    Err(Missing::Dockerfile(looked))
}

/// `<Dockerfile>.dockerignore`, else the context's `.dockerignore`.
fn ignore(tree: &mut Tree, context: &Path, dockerfile: &Path) -> Result<(Option<PathBuf>, Ignore), BuildError> {
    let mut own = dockerfile.as_os_str().to_owned();
    own.push(".dockerignore");
    for path in [own.into(), context.join(".dockerignore")] {
        if tree.find(&path) == Found::File {
            let text = read(tree, &path)?;
            let ignore = Ignore::parse(&String::from_utf8_lossy(&text));
            let ignore = ignore.map_err(|source| BuildError::Ignore { path: path.clone(), source })?;
            return Ok((Some(path), ignore));
        }
    }
    Ok((None, Ignore::default()))
}

fn read(tree: &mut Tree, path: &Path) -> Result<Vec<u8>, BuildError> {
    tree.read(path, LARGEST).map_err(|source| BuildError::Read { path: path.to_owned(), source })
}

/// The registries that base images are pulled from, as far as the text tells: `FROM`, with the variables of `ARG` before the first, and
/// `COPY --from` of images.
fn registries(text: &str, arguments: &[(String, String)]) -> BTreeSet<String> {
    let mut variables: HashMap<String, String> = HashMap::new();
    let mut stages = BTreeSet::new();
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let instruction = words.next().unwrap_or_default().to_ascii_uppercase();
        let image = match instruction.as_str() {
            "ARG" => {
                let word = words.next().unwrap_or_default();
                let (name, default) = word.split_once('=').unwrap_or((word, ""));
                let given = arguments.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str());
                let value = given.unwrap_or(default.trim_matches(['"', '\'']));
                variables.insert(name.to_owned(), value.to_owned());
                continue;
            }
            "FROM" => {
                let image = words.find(|word| !word.starts_with("--"));
                if words.next().is_some_and(|word| word.eq_ignore_ascii_case("as")) {
                    stages.extend(words.next().map(str::to_ascii_lowercase));
                }
                image
            }
            "COPY" => words.find_map(|word| word.strip_prefix("--from=")),
            _ => continue,
        };
        let Some(image) = image.map(|image| fill(image, &variables)) else { continue };
        let is_stage = image == "scratch"
            || stages.contains(&image.to_ascii_lowercase())
            || image.bytes().all(|byte| byte.is_ascii_digit());
        if let (false, Ok(Reference::Named(named))) = (is_stage, Reference::parse(&image)) {
            found.insert(named.registry.to_string());
        }
    }
    found
}

/// `$NAME`, `${NAME}` and `${NAME:-default}`; what is not known becomes nothing.
fn fill(text: &str, variables: &HashMap<String, String>) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        filled.push_str(before);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, default, after) = match behind.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((inner, after)) => {
                let (name, default) = inner.split_once(":-").unwrap_or((inner, ""));
                (name, default, after)
            }
            None => {
                let end = behind.find(|c| !is_name(c)).unwrap_or(behind.len());
                (&behind[..end], "", &behind[end..])
            }
        };
        filled.push_str(variables.get(name).map_or(default, String::as_str));
        rest = after;
    }
    filled + rest
}

#[cfg(test)]
mod tests;
