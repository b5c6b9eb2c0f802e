//! Why an image is not there.

use bollard::errors::Error as EngineError;

use crate::model::image::{DOCKER_HUB, Named};

/// Why the engine could not be asked about an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It did not answer, or with an error.
    #[error("the engine could not be asked about the image `{image}`: {source}")]
    Engine {
        /// The image.
        image: String,
        /// What went wrong.
        source: Box<EngineError>,
    },
    /// It gave no ID.
    #[error("the engine gave no ID for the image `{0}`")]
    NoId(String),
}

/// Why an image could not be pulled. Each says the cure.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// An ID is known to no registry.
    #[error("there is no image `{0}` on the engine, and an ID alone cannot be pulled: write its name")]
    Id(String),
    /// The registry has no such image, tag or digest.
    #[error("the registry {registry} has no image `{image}`: is the name right, and {what}? ({said})")]
    NotFound {
        /// The image.
        image: String,
        /// Its registry.
        registry: String,
        /// Whether its tag or digest is there, as a question.
        what: String,
        /// What the engine said.
        said: String,
    },
    /// The registry wants to know who asks, or does not want this one.
    #[error(
        "the registry {registry} denies the image `{image}`: {}`docker login{}` as the user that runs tidegate ({said})",
        if *logged_in { "it does not exist, or these credentials may not pull it; " } else { "it does not exist, or is private; " },
        login(registry)
    )]
    Denied {
        /// The image.
        image: String,
        /// Its registry.
        registry: String,
        /// Whether credentials were sent.
        logged_in: bool,
        /// What the engine said.
        said: String,
    },
    /// It allows no more for now.
    #[error(
        "the registry {registry} allows no more pulls for now: wait, or `docker login{}` for a larger share ({said})",
        login(registry)
    )]
    TooMany {
        /// Its registry.
        registry: String,
        /// What the engine said.
        said: String,
    },
    /// The engine cannot reach it.
    #[error(
        "the engine cannot reach the registry {registry}: is its name right, does it run, and may the engine's host reach \
         it? ({said})"
    )]
    Unreachable {
        /// The registry.
        registry: String,
        /// What the engine said.
        said: String,
    },
    /// It speaks plain HTTP.
    #[error(
        "the registry {registry} speaks plain HTTP and the engine wants HTTPS: give it a certificate, or add `{registry}` to \
         \"insecure-registries\" in the engine's /etc/docker/daemon.json and restart the engine ({said})"
    )]
    PlainHttp {
        /// The registry.
        registry: String,
        /// What the engine said.
        said: String,
    },
    /// The engine does not trust its certificate.
    #[error(
        "the engine does not trust the certificate of the registry {registry}: put the certificate of who signed it into \
         /etc/docker/certs.d/{registry}/ca.crt on the engine's host ({said})"
    )]
    Certificate {
        /// The registry.
        registry: String,
        /// What the engine said.
        said: String,
    },
    /// No room.
    #[error("no space is left where the engine keeps images: `docker system df` shows what is there ({said})")]
    NoSpace {
        /// What the engine said.
        said: String,
    },
    /// It is for other machines.
    #[error("the image `{image}` is not for this kind of machine: ask for one that is, or build it here ({said})")]
    Platform {
        /// The image.
        image: String,
        /// What the engine said.
        said: String,
    },
    /// Nothing happened for a long time.
    #[error("the pull of `{image}` stood still for ten minutes: is the registry {registry} well?")]
    Silent {
        /// The image.
        image: String,
        /// Its registry.
        registry: String,
    },
    /// Somebody has removed it at once.
    #[error("the image `{0}` was pulled, and then was not there: does somebody remove images on this engine?")]
    Vanished(String),
    /// Anything else.
    #[error("the image `{image}` could not be pulled: {source}")]
    Engine {
        /// The image.
        image: String,
        /// What went wrong.
        source: Box<EngineError>,
    },
    /// It could not be looked at afterwards.
    #[error(transparent)]
    Image(ImageError),
}

impl PullError {
    /// Reads the engine's words, which are all there is: it gives the same status to most of these. Those of engines 20.10 to 28 and of
    /// containerd's image store are known.
    pub(super) fn of(named: &Named, logged_in: bool, source: EngineError) -> Self {
        let said = match &source {
            EngineError::DockerStreamError { error } => error.trim().to_owned(),
            EngineError::DockerResponseServerError { message, .. } => message.trim().to_owned(),
            _ => return Self::Engine { image: named.to_string(), source: Box::new(source) },
        };
        let (image, registry) = (named.to_string(), named.registry.to_string());
        let lower = said.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        if has(&["no space left", "disk quota exceeded"]) {
            Self::NoSpace { said }
        } else if has(&["no matching manifest", "does not match the specified platform"]) {
            Self::Platform { image, said }
        } else if has(&["toomanyrequests", "too many requests", "rate limit"]) {
            Self::TooMany { registry, said }
        } else if has(&["server gave http response to https client"]) {
            Self::PlainHttp { registry, said }
        } else if has(&["x509:", "tls: ", "certificate"]) {
            Self::Certificate { registry, said }
        } else if has(&[
            "denied",
            "unauthorized",
            "no basic auth credentials",
            "authentication required",
            "incorrect username or password",
            "403 forbidden",
            "401 ",
        ]) {
            Self::Denied { image, registry, logged_in, said }
        } else if has(&["manifest unknown", "not found", "name unknown", "name_unknown", "manifest_unknown"])
            && !has(&["no such host", "server misbehaving"])
        {
            let what = match (&named.digest, named.tag()) {
                (Some(_), _) => "is the digest there".to_owned(),
                (None, tag) => format!("is the tag `{tag}` there"),
            };
            Self::NotFound { image, registry, what, said }
        } else if has(&[
            "dial tcp",
            "no such host",
            "connection refused",
            "i/o timeout",
            "timeout exceeded",
            "unreachable",
            "no route to host",
            "server misbehaving",
            "connection reset",
            "eof",
            "awaiting headers",
            "proxyconnect",
        ]) {
            Self::Unreachable { registry, said }
        } else {
            Self::Engine { image, source: Box::new(source) }
        }
    }
}

/// What stands behind `docker login`; nothing for Docker Hub.
fn login(registry: &str) -> String {
    if registry == DOCKER_HUB { String::new() } else { format!(" {registry}") }
}

#[cfg(test)]
mod tests {
    use crate::model::image::Reference;

    use super::*;

    #[test]
    fn the_engine_s_words_are_understood() {
        for (image, words, said) in [
            ("nginx:0", "manifest for nginx:0 not found: manifest unknown: manifest unknown", "is the tag `0` there?"),
            (
                "nope",
                "pull access denied for nope, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
                "`docker login` as the user",
            ),
            (
                "r.example/x",
                "Get \"https://r.example/v2/x/manifests/latest\": no basic auth credentials",
                "`docker login r.example`",
            ),
            (
                "r.example/x",
                "Head \"https://r.example/v2/x/manifests/latest\": unauthorized: authentication required",
                "`docker login r.example`",
            ),
            (
                "r.example/x",
                "Get \"https://r.example/v2/\": dial tcp: lookup r.example: no such host",
                "cannot reach the registry r.example",
            ),
            (
                "r.example/x",
                "Get \"https://r.example/v2/\": dial tcp 192.0.2.1:443: connect: connection refused",
                "cannot reach the registry",
            ),
            (
                "r.example/x",
                "Get \"https://r.example/v2/\": http: server gave HTTP response to HTTPS client",
                "insecure-registries",
            ),
            (
                "r.example/x",
                "Get \"https://r.example/v2/\": x509: certificate signed by unknown authority",
                "/etc/docker/certs.d/r.example/ca.crt",
            ),
            ("nginx", "toomanyrequests: You have reached your pull rate limit", "allows no more pulls"),
            ("nginx", "write /var/lib/docker/tmp/GetImageBlob1: no space left on device", "no space is left"),
            (
                "nginx",
                "no matching manifest for linux/riscv64 in the manifest list entries",
                "not for this kind of machine",
            ),
            ("nginx", "something new", "could not be pulled"),
        ] {
            let Ok(Reference::Named(named)) = Reference::parse(image) else { panic!("{image}") };
            let error =
                PullError::of(&named, false, EngineError::DockerStreamError { error: words.to_owned() }).to_string();
            assert!(error.contains(said) && error.contains(words), "{error}");
        }
    }
}
