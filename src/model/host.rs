//! Host names as requests and files spell them, brought to one form.

use std::borrow::Cow;
use std::fmt;

/// Brings the authority of a request to the one form that is routed, logged and forwarded: no port, lower case, no
/// trailing dot. `None` for what is no host: empty, user info, characters that no host has, a bad port.
///
/// Borrows where nothing had to change, which is nearly always.
#[must_use]
pub fn normalise(authority: &str) -> Option<Cow<'_, str>> {
    if authority.starts_with('[') {
        return normalise_v6(authority);
    }
    // One pass: labels of 1 to 63 characters, then perhaps a port.
    let (mut upper, mut label, mut end) = (false, 0_usize, authority.len());
    for (at, byte) in authority.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => label += 1,
            b'A'..=b'Z' => (upper, label) = (true, label + 1),
            b'.' if (1..=63).contains(&label) => label = 0,
            b':' => {
                end = at;
                break;
            }
            _ => return None,
        }
    }
    if !is_port(&authority[end..]) {
        return None;
    }
    let host = &authority[..end];
    // A trailing dot leaves an empty last label.
    let host = if label == 0 { host.strip_suffix('.')? } else { host };
    if label > 63 || host.is_empty() || host.len() > 253 {
        return None;
    }
    Some(if upper { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) })
}

/// The authority that goes on: the normalised host, with the port that the client named, if it named one. What a browser sends as
/// `Origin` has the port, and backends compare the two.
#[must_use]
pub fn with_port<'a>(host: &'a str, authority: &'a str) -> Cow<'a, str> {
    let after_v6 = authority.rfind(']').unwrap_or_default();
    match authority[after_v6..].split_once(':') {
        Some((_, port)) if !port.is_empty() => {
            let same = authority.len() == host.len() + 1 + port.len() && authority.starts_with(host);
            if same { Cow::Borrowed(authority) } else { Cow::Owned(format!("{host}:{port}")) }
        }
        _ => Cow::Borrowed(host),
    }
}

/// Whether this is nothing, or a colon and a port, which may be left out.
fn is_port(text: &str) -> bool {
    match text.strip_prefix(':') {
        None => text.is_empty(),
        Some(port) => port.is_empty() || (port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()),
    }
}

fn normalise_v6(authority: &str) -> Option<Cow<'_, str>> {
    let (inner, port) = authority.strip_prefix('[')?.split_once(']')?;
    let address: std::net::Ipv6Addr = inner.parse().ok()?;
    is_port(port).then(|| Cow::Owned(format!("[{address}]")))
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
    fn the_port_goes_on() {
        for (authority, forwarded) in [
            ("shop.example", "shop.example"),
            ("shop.example:8080", "shop.example:8080"),
            ("Shop.example.:8080", "shop.example:8080"),
            ("shop.example:", "shop.example"),
            ("[::1]:80", "[::1]:80"),
            ("[0::1]", "[::1]"),
        ] {
            let host = normalise(authority).expect("a host");
            assert_eq!(with_port(&host, authority), forwarded, "{authority}");
        }
    }

    #[test]
    fn patterns() {
        assert_eq!(HostPattern::parse("*.Shop.com").map(|h| h.to_string()), Ok("*.shop.com".to_owned()));
        for bad in ["http://a", "a/b", "a:80", "*", "a.*.b", "**.a", "", "*.", "[::1]:80", "*.[::1]"] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
