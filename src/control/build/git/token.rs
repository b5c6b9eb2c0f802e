//! The token for a private repository.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::GitError;

/// A token, and where it may be sent. Never shown.
pub(super) struct Token {
    secret: String,
    /// The header's value.
    basic: String,
    /// `https://host/`: no other host gets it, whatever the repository's submodules say.
    origin: String,
}

impl Token {
    /// Reads the token for a repository from a file of one line.
    pub(super) fn read(path: &Path, url: &str) -> Result<Self, GitError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| GitError::TokenFile { path: path.to_owned(), source })?;
        let secret = text.trim();
        if secret.is_empty() || secret.contains(char::is_whitespace) || secret.contains(char::is_control) {
            return Err(GitError::NoToken(path.to_owned()));
        }
        let (scheme, rest) = url.split_once("://").unwrap_or(("ssh", url));
        let authority = rest.split('/').next().unwrap_or_default();
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        match scheme {
            "https" => {}
            "http" if is_loopback(host) => {}
            _ => return Err(GitError::TokenInClear(url.to_owned())),
        }
        let user = match user {
            // GitHub's apps and GitLab's tokens want these; both take any name with a personal token.
            "" if host.contains("github") => "x-access-token",
            "" => "oauth2",
            user => user,
        };
        let basic = STANDARD.encode(format!("{user}:{secret}"));
        // git compares users too, where the URL has one.
        Ok(Self { secret: secret.to_owned(), basic, origin: format!("{scheme}://{host}/") })
    }

    /// Git's setting that sends it.
    pub(super) fn setting(&self) -> (String, String) {
        (format!("http.{}.extraHeader", self.origin), format!("Authorization: Basic {}", self.basic))
    }

    /// A line without it, whoever has written it there.
    pub(super) fn scrub(&self, line: &str) -> String {
        line.replace(&self.secret, "***").replace(&self.basic, "***")
    }
}

fn is_loopback(host: &str) -> bool {
    let host =
        host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |it| it.0);
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("origin", &self.origin).finish_non_exhaustive()
    }
}
