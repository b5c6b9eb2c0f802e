//! Who may do what on the admin port.
//!
//! Any program of this machine can connect to it, and any web page can make the browser try: so the `Host` must be a loopback name
//! (a page that had its own name resolved to 127.0.0.1 sends that name: DNS rebinding), an `Origin` must be the port's own, and
//! without the token only reading is allowed.

use std::{cell::RefCell, fmt, fs, hint::black_box, io, net::IpAddr, os::unix::fs::PermissionsExt as _, path::Path};

use http::{
    HeaderMap, Method, StatusCode,
    header::{AUTHORIZATION, HOST, ORIGIN},
    request::Parts,
    uri::Authority,
};

/// A token below this many characters could be found by trying: the port answers some 10,000 requests per second.
const SHORTEST: usize = 16;

/// What a client must show to change something.
#[derive(Clone)]
pub struct Token(String);

/// Why a token file does not do.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("cannot read the token file")]
    Read(#[from] io::Error),
    /// What it holds is no token.
    #[error(
        "the token must be one line of at least {SHORTEST} printable characters; make one with `openssl rand -hex 32`"
    )]
    Unfit,
}

impl Token {
    /// Reads a token: the file's only line. Warns where everybody may read the file.
    ///
    /// # Errors
    /// Where the file cannot be read, or holds no token.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let text = fs::read_to_string(path)?;
        if fs::metadata(path)?.permissions().mode() & 0o004 != 0 {
            tracing::warn!("everybody on this machine may read {}; `chmod o-r` it", path.display());
        }
        Self::new(text.trim()).ok_or(TokenError::Unfit)
    }

    fn new(text: &str) -> Option<Self> {
        let fits = text.len() >= SHORTEST && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(text.to_owned()))
    }

    /// Takes as long whatever the first wrong character; the length is no secret.
    fn is(&self, other: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let differences = own.iter().zip(other).fold(0, |sum, (a, b)| black_box(sum | (a ^ b)));
        own.len() == other.len() && differences == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Guards the port.
#[derive(Debug, Default)]
pub struct Guard {
    /// Changed by a reload, on the thread that serves.
    token: RefCell<Option<Token>>,
}

/// Why a request was turned away at the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The host is not this machine's own.
    #[error("this port answers to localhost, 127.0.0.1 and [::1] only")]
    Host,
    /// A page of another origin asks.
    #[error("pages of other origins may not use this port")]
    Origin,
    /// A change, but no token was set.
    #[error("this port only reads: set `admin_token_file` in tidegate.yaml to allow changes, or use the unix socket")]
    ReadOnly,
    /// A change without the token.
    #[error("changes need `Authorization: Bearer TOKEN`, with the token of `admin_token_file`")]
    Token,
}

impl Refusal {
    /// 401 where the token would help, else 403.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Host | Self::Origin | Self::ReadOnly => StatusCode::FORBIDDEN,
        }
    }

    /// For programs.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Origin => "origin",
            Self::ReadOnly => "read_only",
            Self::Token => "token",
        }
    }
}

impl Guard {
    /// With this token, or read-only without one.
    #[must_use]
    pub fn new(token: Option<Token>) -> Self {
        Self { token: RefCell::new(token) }
    }

    /// Another token (or none) from the next request on.
    pub fn set_token(&self, token: Option<Token>) {
        self.token.replace(token);
    }

    /// Whether the request may pass.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, head: &Parts) -> Result<(), Refusal> {
        let host = own_host(head).ok_or(Refusal::Host)?;
        if !has_own_origin(&head.headers, &host) {
            return Err(Refusal::Origin);
        }
        if head.method == Method::GET || head.method == Method::HEAD {
            return Ok(());
        }
        match &*self.token.borrow() {
            None => Err(Refusal::ReadOnly),
            Some(token) if shown(&head.headers).is_some_and(|shown| token.is(shown)) => Ok(()),
            Some(_) => Err(Refusal::Token),
        }
    }
}

/// The one `Host`, if it is a loopback name. Its port does not matter: it may come through a tunnel or a mapped port.
fn own_host(head: &Parts) -> Option<Authority> {
    let host: Authority = only(&head.headers, &HOST)?.ok()?.parse().ok()?;
    if head.uri.authority().is_some_and(|authority| *authority != host) {
        return None;
    }
    let name = host.host();
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let own = name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    (own && !host.as_str().contains('@')).then_some(host)
}

fn has_own_origin(headers: &HeaderMap, host: &Authority) -> bool {
    if !headers.contains_key(ORIGIN) {
        return true;
    }
    let origin = only(headers, &ORIGIN).and_then(Result::ok).and_then(|origin| origin.strip_prefix("http://"));
    origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host.as_str()))
}

fn shown(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = only(headers, &AUTHORIZATION)?.ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().as_bytes())
}

/// The value of a header that comes once; another one beside it would be for another reader.
fn only<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Option<Result<&'a str, http::header::ToStrError>> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.to_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn check(guard: &Guard, method: &str, headers: &[(&str, &str)]) -> Result<(), Refusal> {
        let mut request = http::Request::builder().method(method).uri("/status");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        guard.check(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn only_loopback_hosts_are_answered() {
        let guard = Guard::default();
        for host in ["localhost", "LOCALHOST:9900", "127.0.0.1:9900", "127.8.9.1", "[::1]:9900", "[::1]"] {
            assert_eq!(check(&guard, "GET", &[("host", host)]), Ok(()), "{host}");
        }
        let foreign = [
            "evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "127.0.0.1.evil.example",
            "[2001:db8::1]",
            "a@localhost",
            "",
        ];
        for host in foreign {
            assert_eq!(check(&guard, "GET", &[("host", host)]), Err(Refusal::Host), "{host}");
        }
        assert_eq!(check(&guard, "GET", &[]), Err(Refusal::Host));
        assert_eq!(check(&guard, "GET", &[("host", "localhost"), ("host", "localhost")]), Err(Refusal::Host));
        let absolute =
            http::Request::builder().uri("http://evil.example/").header("host", "localhost").body(()).unwrap();
        assert_eq!(guard.check(&absolute.into_parts().0), Err(Refusal::Host));
    }

    #[test]
    fn only_the_own_origin_is_answered() {
        let guard = Guard::default();
        let with = |origin| check(&guard, "GET", &[("host", "localhost:9900"), ("origin", origin)]);
        assert_eq!(with("http://localhost:9900"), Ok(()));
        for origin in
            ["http://localhost", "https://localhost:9900", "http://evil.example", "null", "", "http://127.0.0.1:9900"]
        {
            assert_eq!(with(origin), Err(Refusal::Origin), "{origin}");
        }
    }

    #[test]
    fn changes_need_the_token() {
        let host = ("host", "localhost");
        let guard = Guard::default();
        let right = format!("Bearer {TOKEN}");
        assert_eq!(check(&guard, "HEAD", &[host]), Ok(()));
        assert_eq!(check(&guard, "POST", &[host, ("authorization", &right)]), Err(Refusal::ReadOnly));

        guard.set_token(Token::new(TOKEN));
        assert_eq!(check(&guard, "POST", &[host, ("authorization", &right)]), Ok(()));
        assert_eq!(check(&guard, "DELETE", &[host, ("authorization", &format!("bearer  {TOKEN}"))]), Ok(()));
        assert_eq!(check(&guard, "POST", &[host]), Err(Refusal::Token));
        assert_eq!(check(&guard, "OPTIONS", &[host]), Err(Refusal::Token));
        for wrong in
            ["Bearer", "Bearer ", "Bearer 0123456789abcde", "Bearer 0123456789abcdeg", "Basic 0123456789abcdef", TOKEN]
        {
            assert_eq!(check(&guard, "POST", &[host, ("authorization", wrong)]), Err(Refusal::Token), "{wrong}");
        }
        let longer = format!("{right}0");
        assert_eq!(check(&guard, "POST", &[host, ("authorization", &longer)]), Err(Refusal::Token));
    }

    #[test]
    fn a_token_file_is_one_fit_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, format!("{TOKEN}\n")).unwrap();
        let token = Token::read(&path).unwrap();
        assert!(token.is(TOKEN.as_bytes()));
        assert!(!format!("{token:?}").contains(TOKEN));
        for unfit in ["", "short", "two words 0123456789", "0123456789abcdef\n0123456789abcdef"] {
            fs::write(&path, unfit).unwrap();
            assert!(matches!(Token::read(&path), Err(TokenError::Unfit)), "{unfit}");
        }
        assert!(matches!(Token::read(&folder.path().join("none")), Err(TokenError::Read(_))));
    }
}
