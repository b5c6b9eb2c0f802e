//! Paths of requests: one form for routing, logging and forwarding, and prefixes on segment borders.

use std::borrow::Cow;
use std::fmt;

/// Brings a path to the form that is routed, logged and forwarded (RFC 3986, 6.2.2): percent-encoded unreserved characters
/// are decoded, the hex digits of the others are upper case, and `.` and `..` segments are resolved, so that no spelling
/// gets around a rule. `%2F` stays as it is, empty segments too: they mean something to backends.
///
/// Borrows where nothing had to change, which is nearly always. `*` (of `OPTIONS *`) stays as it is.
#[must_use]
pub fn normalise(path: &str) -> Cow<'_, str> {
    let bytes = path.as_bytes();
    let suspicious = bytes.contains(&b'%') || bytes.windows(2).any(|w| w == b"/.");
    if !suspicious {
        return Cow::Borrowed(path);
    }
    let decoded = decode_unreserved(path);
    let resolved = resolve_dots(&decoded);
    if resolved == path { Cow::Borrowed(path) } else { Cow::Owned(resolved) }
}

fn decode_unreserved(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut strays = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let decoded = (bytes[at] == b'%').then(|| hex_pair(bytes.get(at + 1..at + 3))).flatten();
        match decoded {
            Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') => {
                out.push(byte);
                at += 3;
            }
            Some(_) => {
                out.push(b'%');
                out.extend(bytes[at + 1..at + 3].iter().map(u8::to_ascii_uppercase));
                at += 3;
            }
            None => {
                if bytes[at] == b'%' {
                    strays.push(out.len());
                }
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    // A `%` that began nothing must not begin something with what was decoded behind it: who decodes once more would read it.
    for stray in strays.into_iter().rev() {
        if hex_pair(out.get(stray + 1..stray + 3)).is_some() {
            out.splice(stray..=stray, *b"%25");
        }
    }
    String::from_utf8(out).expect("only ASCII was put in place of ASCII")
}

fn hex_pair(pair: Option<&[u8]>) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let [high, low] = pair? else { return None };
    Some(digit(*high)? << 4 | digit(*low)?)
}

/// RFC 3986, 5.2.4, on a path that begins with `/`.
fn resolve_dots(path: &str) -> String {
    let Some(rest) = path.strip_prefix('/') else { return path.to_owned() };
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if out.is_empty() {
        out.push('/');
    }
    out
}

/// Why a text is not a path prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It must begin with a slash.
    #[error("`{0}` does not begin with `/`")]
    NoSlash(String),
    /// A query or fragment, white space or a control character.
    #[error("`{path}` has the character `{found}`, which no path has; percent-encode it or leave it out")]
    Character {
        /// The whole text.
        path: String,
        /// The first offending character.
        found: char,
    },
}

/// A path prefix that ends on a segment border: `/shop` is a prefix of `/shop` and `/shop/cart`, not of `/shopping`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathPrefix(Box<str>);

impl PathPrefix {
    /// `/`: every path.
    #[must_use]
    pub fn root() -> Self {
        Self("".into())
    }

    /// Reads a prefix; `/shop` and `/shop/` are the same.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if !text.starts_with('/') {
            return Err(PathError::NoSlash(text.to_owned()));
        }
        if let Some(found) = text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '?' | '#' | '\\')) {
            return Err(PathError::Character { path: text.to_owned(), found });
        }
        Ok(Self(normalise(text).trim_end_matches('/').into()))
    }

    /// Whether the (normalised) path lies under this prefix.
    #[must_use]
    pub fn covers(&self, path: &str) -> bool {
        path.strip_prefix(&*self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || self.0.is_empty())
    }

    /// The path without this prefix, which covers it. It begins with exactly one slash: `//host` would mean a host to whoever
    /// redirects to it.
    #[must_use]
    pub fn strip<'p>(&self, path: &'p str) -> &'p str {
        let Some(rest) = path.strip_prefix(&*self.0) else { return path };
        let slashes = rest.bytes().take_while(|byte| *byte == b'/').count();
        if rest.is_empty() { "/" } else { &rest[slashes.saturating_sub(1)..] }
    }

    /// Without a slash at its end; empty for `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Length in bytes; the longest prefix that covers a path wins.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether this is `/`, which covers everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "/" } else { &self.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_form_for_every_spelling() {
        for (given, path) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a//b/", "/a//b/"),
            ("/%61dmin", "/admin"),
            ("/a%2fb", "/a%2Fb"),
            ("/100%", "/100%"),
            ("/%zz", "/%zz"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/..", "/"),
            ("/../../etc", "/etc"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a/..b", "/a/..b"),
            ("/%25%32%65", "/%252e"),
            ("/%6%31dmin", "/%2561dmin"),
            ("/%%36%31dmin", "/%2561dmin"),
            ("/%%%36%31", "/%%2561"),
            ("*", "*"),
        ] {
            assert_eq!(normalise(given), path, "{given}");
        }
        assert!(matches!(normalise("/.well-known/x"), Cow::Borrowed(_)));
    }

    #[test]
    fn prefixes_end_on_segment_borders() {
        let shop = PathPrefix::parse("/shop/").expect("valid");
        assert!(shop.covers("/shop") && shop.covers("/shop/") && shop.covers("/shop/cart"));
        assert!(!shop.covers("/shopping") && !shop.covers("/") && !shop.covers("/Shop"));
        assert_eq!((shop.strip("/shop"), shop.strip("/shop/"), shop.strip("/shop/cart")), ("/", "/", "/cart"));
        assert_eq!((shop.strip("/shop//evil.com/x"), shop.strip("/shop///")), ("/evil.com/x", "/"));
        assert!(PathPrefix::root().covers("/x") && PathPrefix::root().covers("*"));
        assert_eq!(PathPrefix::root().strip("/x"), "/x");
        assert_eq!(PathPrefix::parse("/").map(|p| p.to_string()), Ok("/".to_owned()));
        for bad in ["shop", "", "/a?b", "/a b", "/a#b", "/\u{e4}"] {
            assert!(PathPrefix::parse(bad).is_err(), "{bad}");
        }
    }
}
