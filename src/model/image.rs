//! References of images, as people write them.

use std::fmt;

/// The registry that a reference without one means.
pub const DOCKER_HUB: &str = "docker.io";

/// The longest name that engines take (registry and repository), in characters.
const MAX_NAME: usize = 255;

/// An image, by name or by ID.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// `[registry/]repository[:tag][@digest]`.
    Named(Named),
    /// `sha256:ID`: an image that is on the engine.
    Id(Digest),
}

/// An image's name, in full.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Named {
    /// A host, with its port if it has one; [`DOCKER_HUB`] where none is written.
    pub registry: Box<str>,
    /// The path below it, `library/` filled in for Docker Hub's own.
    pub repository: Box<str>,
    /// As written.
    pub tag: Option<Box<str>>,
    /// What makes it immutable: the digest that the registry knows it by, or the ID of an image that was built here.
    pub digest: Option<Digest>,
}

/// `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Digest(Box<str>);

/// Why a text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing there.
    #[error("an image may not be empty; it is written like `nginx:1.27` or `ghcr.io/me/shop:1.0`")]
    Empty,
    /// A URL.
    #[error("`{0}` is a URL; an image is written without `{1}`, like `{2}`")]
    Url(String, &'static str, String),
    /// Space around it or inside.
    #[error("`{0}` has a space in it; an image is written like `ghcr.io/me/shop:1.0`")]
    Space(String),
    /// A capital letter in the repository.
    #[error("`{found}` has capital letters, which repositories may not have: write `{cure}`")]
    Capitals {
        /// The text.
        found: String,
        /// With small letters.
        cure: String,
    },
    /// Too long.
    #[error("`{0}` is longer than {MAX_NAME} characters, without tag and digest")]
    TooLong(String),
    /// 64 hexadecimal digits could be an ID.
    #[error("`{0}` looks like an image's ID: write `sha256:{0}`")]
    LooksLikeId(String),
    /// The registry is no host.
    #[error(
        "`{registry}` in `{found}` is not a registry: it should be a host and perhaps a port, like `localhost:5000`"
    )]
    Registry {
        /// The text.
        found: String,
        /// The part before the first `/`.
        registry: String,
    },
    /// Part of the repository.
    #[error(
        "`{part}` in `{found}` is not part of a repository's name: those are a-z and 0-9, with `.`, `_`, `__` or `-` \
         between them"
    )]
    Repository {
        /// The text.
        found: String,
        /// The part.
        part: String,
    },
    /// The tag.
    #[error(
        "`{tag}` in `{found}` is not a tag: those are up to 128 letters, digits, `_`, `.` and `-`, and begin with \
         neither `.` nor `-`"
    )]
    Tag {
        /// The text.
        found: String,
        /// What is behind the `:`.
        tag: String,
    },
    /// The digest.
    #[error("`{digest}` in `{found}` is not a digest: it should be `sha256:` and 64 hexadecimal digits (0-9, a-f)")]
    Digest {
        /// The text.
        found: String,
        /// What is behind the `@`, or the text itself.
        digest: String,
    },
}

impl Reference {
    /// Reads a reference as `docker` does: `nginx` is `docker.io/library/nginx`.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let found = || text.to_owned();
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.contains(char::is_whitespace) {
            return Err(ReferenceError::Space(found()));
        }
        for scheme in ["https://", "http://", "docker://"] {
            if let Some(rest) = text.strip_prefix(scheme) {
                return Err(ReferenceError::Url(found(), scheme, rest.to_owned()));
            }
        }
        if text.starts_with("sha256:") {
            return Digest::parse(text, text).map(Self::Id);
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(Digest::parse(digest, text)?)),
            None => (text, None),
        };
        // A `:` before a `/` belongs to the registry's port.
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (name, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(ReferenceError::Tag { found: found(), tag: tag.to_owned() });
        }
        if name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ReferenceError::LooksLikeId(name.to_owned()));
        }
        let (registry, repository) = split_registry(name);
        if !is_registry(registry) {
            return Err(ReferenceError::Registry { found: found(), registry: registry.to_owned() });
        }
        if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
            let cure = text.replacen(repository, &repository.to_ascii_lowercase(), 1);
            return Err(ReferenceError::Capitals { found: found(), cure });
        }
        if let Some(part) = repository.split('/').find(|part| !is_path_part(part)) {
            return Err(ReferenceError::Repository { found: found(), part: part.to_owned() });
        }
        let repository = if registry == DOCKER_HUB && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository.to_owned()
        };
        if registry.len() + 1 + repository.len() > MAX_NAME {
            return Err(ReferenceError::TooLong(name.to_owned()));
        }
        let (registry, repository) = (registry.into(), repository.into());
        Ok(Self::Named(Named { registry, repository, tag: tag.map(Into::into), digest }))
    }
}

impl Named {
    /// Registry and repository, without tag and digest, as the engine knows it: `docker.io/library/nginx`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same as people write it: `nginx`.
    #[must_use]
    pub fn name(&self) -> String {
        if &*self.registry != DOCKER_HUB {
            return self.full_name();
        }
        // Without `library/`, a first part that looks like a host would be one.
        let short = self.repository.strip_prefix("library/").filter(|rest| !rest.contains('/'));
        short.unwrap_or(&self.repository).to_owned()
    }

    /// The tag, `latest` where none is written.
    #[must_use]
    pub fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or("latest")
    }
}

impl Digest {
    /// Takes `sha256:` and 64 hexadecimal digits; `None` if it is not that.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:")?;
        let right = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        right.then(|| Self(text.into()))
    }

    fn parse(text: &str, found: &str) -> Result<Self, ReferenceError> {
        Self::new(text).ok_or_else(|| ReferenceError::Digest { found: found.to_owned(), digest: text.to_owned() })
    }

    /// With `sha256:`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As people write it; [`Reference::parse`] gives the same again.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(named) => named.fmt(f),
            Self::Id(id) => id.fmt(f),
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

/// The part before the first `/` is a registry if it could not be part of a repository, or is `localhost`.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some(("index.docker.io", rest)) => (DOCKER_HUB, rest),
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DOCKER_HUB, name),
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => ("v6", port),
            _ => return false,
        },
        None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let port_is_right = match port.strip_prefix(':') {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok(),
        None => port.is_empty(),
    };
    host.split('.').all(label) && port_is_right
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, as the distribution specification has it.
fn is_path_part(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !part.starts_with(plain) || !part.ends_with(plain) {
        return false;
    }
    part.split(plain)
        .all(|between| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|byte| byte == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn named(text: &str) -> Named {
        match Reference::parse(text) {
            Ok(Reference::Named(named)) => named,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn short_forms_mean_docker_hub() {
        for (text, full, tag, short) in [
            ("nginx", "docker.io/library/nginx", "latest", "nginx"),
            ("nginx:1.27", "docker.io/library/nginx", "1.27", "nginx:1.27"),
            ("me/shop", "docker.io/me/shop", "latest", "me/shop"),
            ("docker.io/nginx", "docker.io/library/nginx", "latest", "nginx"),
            ("index.docker.io/library/nginx", "docker.io/library/nginx", "latest", "nginx"),
            ("docker.io/library/nginx:1", "docker.io/library/nginx", "1", "nginx:1"),
            ("ghcr.io/me/a/b:V1.0-rc_1", "ghcr.io/me/a/b", "V1.0-rc_1", "ghcr.io/me/a/b:V1.0-rc_1"),
            ("localhost/shop", "localhost/shop", "latest", "localhost/shop"),
            ("localhost:5000/shop:2", "localhost:5000/shop", "2", "localhost:5000/shop:2"),
            ("[::1]:5000/shop", "[::1]:5000/shop", "latest", "[::1]:5000/shop"),
            ("host:5000/a__b/c--d/e.f", "host:5000/a__b/c--d/e.f", "latest", "host:5000/a__b/c--d/e.f"),
        ] {
            let named = named(text);
            assert_eq!((named.full_name().as_str(), named.tag(), named.to_string().as_str()), (full, tag, short));
            assert_eq!(Reference::parse(short), Ok(Reference::Named(named)), "{text}");
        }
    }

    #[test]
    fn digests_stand_behind_name_and_tag() {
        let text = format!("shop:1.0@sha256:{HEX}");
        let both = named(&text);
        assert_eq!((both.tag.as_deref(), both.digest.as_ref().map(Digest::as_str)), (Some("1.0"), Some(&text[9..])));
        assert_eq!(both.to_string(), text);
        let alone = named(&format!("localhost:5000/shop@sha256:{HEX}"));
        assert_eq!((alone.tag, &*alone.registry), (None, "localhost:5000"));
        let id = Reference::parse(&format!("sha256:{HEX}")).expect("an ID");
        assert_eq!(id, Reference::Id(Digest::new(&format!("sha256:{HEX}")).expect("a digest")));
    }

    #[test]
    fn what_is_no_reference_is_told_what_would_be_right() {
        for (text, said) in [
            ("", "may not be empty"),
            ("a b", "has a space"),
            ("https://ghcr.io/me/shop", "like `ghcr.io/me/shop`"),
            ("Shop:1", "write `shop:1`"),
            ("ghcr.io/Me/shop", "write `ghcr.io/me/shop`"),
            ("shop:", "`` in `shop:` is not a tag"),
            ("shop:-1", "`-1` in `shop:-1` is not a tag"),
            ("shop@sha256:abc", "64 hexadecimal digits"),
            ("shop@md5:abc", "`md5:abc`"),
            ("sha256:abc", "64 hexadecimal digits"),
            (HEX, "write `sha256:0123"),
            ("a//b", "`` in `a//b`"),
            ("a/", "`` in `a/`"),
            ("-a", "`-a` in `-a`"),
            ("a___b", "`a___b`"),
            ("a.-b", "`a.-b`"),
            ("../x", "`..` in `../x` is not a registry"),
            ("host:99999/x", "`host:99999` in"),
            ("ex_ample.com/x", "is not a registry"),
            (&"a".repeat(256), "longer than 255"),
        ] {
            let error = Reference::parse(text).expect_err(text).to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
