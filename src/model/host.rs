//! Host names as requests and files spell them, brought to one form.

use std::borrow::Cow;
use std::fmt;

/// Brings the authority of a request to the one form that is routed, logged and forwarded: no port, lower case, no
/// trailing dot. `None` for what is no host: empty, user info, characters that no host has, a bad port.
///
/// Borrows where nothing had to change, which is nearly always.
#[must_use]
pub fn normalise(authority: &str) -> Option<Cow<'_, str>> {
    let (host, port) = split_port(authority)?;
    if !port.is_none_or(|p| p.is_empty() || p.parse::<u16>().is_ok()) {
        return None;
    }
    if host.starts_with('[') {
        let inner = host.strip_prefix('[')?.strip_suffix(']')?;
        let address: std::net::Ipv6Addr = inner.parse().ok()?;
        return Some(Cow::Owned(format!("[{address}]")));
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() || host.len() > 253 || host.split('.').any(|label| label.is_empty() || label.len() > 63) {
        return None;
    }
    let mut upper = false;
    for byte in host.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {}
            b'A'..=b'Z' => upper = true,
            _ => return None,
        }
    }
    Some(if upper { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) })
}

/// Splits `host:port`, minding `[v6]:port`.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if authority.starts_with('[') {
        let end = authority.find(']')? + 1;
        let (host, rest) = authority.split_at(end);
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None if rest.is_empty() => Some((host, None)),
            None => None,
        };
    }
    Some(authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))))
}

/// Why a text is not a host that can be routed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// A scheme, a path or a port where only a host belongs.
    #[error("`{0}` is more than a host; leave out scheme, port and path")]
    NotOnlyHost(String),
    /// A `*` anywhere but as the whole first label.
    #[error("`{0}` has a `*` that is not its whole first label; write `*.example.com`")]
    Wildcard(String),
    /// Not a host at all.
    #[error("`{0}` is not a host name")]
    Invalid(String),
}

/// A host, or all hosts one label below it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// This host.
    Exact(Box<str>),
    /// `*.parent`: hosts with exactly one label more, as in certificates (RFC 6125, 6.4.3). Holds the parent.
    Wildcard(Box<str>),
}

impl HostPattern {
    /// Reads `shop.example.com` or `*.shop.example.com` in any case, with or without a trailing dot.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if text.contains("://")
            || text.contains('/')
            || (text.contains(':') && !text.starts_with('['))
            || text.contains("]:")
        {
            return Err(HostError::NotOnlyHost(text.to_owned()));
        }
        let (wildcard, host) = text.strip_prefix("*.").map_or((false, text), |parent| (true, parent));
        if host.contains('*') {
            return Err(HostError::Wildcard(text.to_owned()));
        }
        let host = normalise(host).ok_or_else(|| HostError::Invalid(text.to_owned()))?;
        if wildcard && host.starts_with('[') {
            return Err(HostError::Invalid(text.to_owned()));
        }
        let host = host.into_owned().into_boxed_str();
        Ok(if wildcard { Self::Wildcard(host) } else { Self::Exact(host) })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_form_for_every_spelling() {
        for (given, host) in [
            ("shop.example.com", Some("shop.example.com")),
            ("Shop.Example.COM", Some("shop.example.com")),
            ("shop.example.com.", Some("shop.example.com")),
            ("shop.example.com:8080", Some("shop.example.com")),
            ("SHOP.example.com.:80", Some("shop.example.com")),
            ("127.0.0.1:80", Some("127.0.0.1")),
            ("[::1]:80", Some("[::1]")),
            ("[0:0::1]", Some("[::1]")),
            ("shop:", Some("shop")),
            ("", None),
            (".", None),
            ("a..b", None),
            ("user@shop", None),
            ("shop:99999", None),
            ("shop:a", None),
            ("shop example", None),
            ("[::1", None),
            ("[::1]x", None),
            ("shop/", None),
        ] {
            assert_eq!(normalise(given).as_deref(), host, "{given}");
        }
        assert!(matches!(normalise("shop.example.com:80"), Some(Cow::Borrowed(_))));
    }

    #[test]
    fn patterns() {
        assert_eq!(HostPattern::parse("*.Shop.com").map(|h| h.to_string()), Ok("*.shop.com".to_owned()));
        for bad in ["http://a", "a/b", "a:80", "*", "a.*.b", "**.a", "", "*.", "[::1]:80", "*.[::1]"] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
