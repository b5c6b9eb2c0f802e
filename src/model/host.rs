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
    let Name { host, upper, .. } = Name::of(authority)?;
    Some(if upper { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) })
}

/// The host as [`normalise`] gives it, and the authority that goes on: that host, with the port that the client named, if it named one.
/// What a browser sends as `Origin` has the port, and backends compare the two.
#[must_use]
pub fn of_request(authority: &str) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    if authority.starts_with('[') {
        let host = normalise_v6(authority)?;
        let port = authority.rsplit_once("]:").map(|(_, port)| port).filter(|port| !port.is_empty());
        let forwarded = port.map_or_else(|| host.clone(), |port| Cow::Owned(format!("{host}:{port}")));
        return Some((host, forwarded));
    }
    let Name { host, upper, port } = Name::of(authority)?;
    if upper {
        let host = host.to_ascii_lowercase();
        let forwarded = if port.is_empty() { host.clone() } else { format!("{host}:{port}") };
        return Some((Cow::Owned(host), Cow::Owned(forwarded)));
    }
    let forwarded = if port.is_empty() {
        Cow::Borrowed(host)
    } else if authority.len() == host.len() + 1 + port.len() {
        Cow::Borrowed(authority)
    } else {
        Cow::Owned(format!("{host}:{port}"))
    };
    Some((Cow::Borrowed(host), forwarded))
}

/// A host by name, or by its IPv4 address.
struct Name<'a> {
    /// Without a trailing dot.
    host: &'a str,
    /// Whether it has upper-case letters.
    upper: bool,
    /// The digits of the port; empty where there is none.
    port: &'a str,
}

impl<'a> Name<'a> {
    /// One pass: labels of 1 to 63 characters, then perhaps a port.
    fn of(authority: &'a str) -> Option<Self> {
        let (mut upper, mut label, mut end) = (false, 0_usize, authority.len());
        for (at, byte) in authority.bytes().enumerate() {
            match KINDS[usize::from(byte)] {
                Kind::Lower => label += 1,
                Kind::Upper => (upper, label) = (true, label + 1),
                Kind::Dot if label > 0 && label <= 63 => label = 0,
                Kind::Colon => {
                    end = at;
                    break;
                }
                Kind::Dot | Kind::Other => return None,
            }
        }
        let (host, port) = authority.split_at(end);
        let port = port.strip_prefix(':').unwrap_or_default();
        // A trailing dot leaves an empty last label.
        let host = if label == 0 { host.strip_suffix('.')? } else { host };
        let fits = label <= 63 && !host.is_empty() && host.len() <= 253 && is_port_number(port);
        fits.then_some(Self { host, upper, port })
    }
}

/// What a byte may be in a name.
#[derive(Clone, Copy)]
enum Kind {
    Lower,
    Upper,
    Dot,
    Colon,
    Other,
}

/// By byte.
static KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Other; 256];
    let mut byte = 0_u8;
    loop {
        kinds[byte as usize] = match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => Kind::Lower,
            b'A'..=b'Z' => Kind::Upper,
            b'.' => Kind::Dot,
            b':' => Kind::Colon,
            _ => Kind::Other,
        };
        if byte == u8::MAX {
            break kinds;
        }
        byte += 1;
    }
};

/// Whether these are digits of a port, which may be left out.
fn is_port_number(digits: &str) -> bool {
    let value = |sum: u32, digit: u8| sum.saturating_mul(10).saturating_add(u32::from(digit - b'0'));
    let value = |sum, byte: u8| byte.is_ascii_digit().then(|| value(sum, byte));
    digits.bytes().try_fold(0, value).is_some_and(|port| port <= u32::from(u16::MAX))
}

fn normalise_v6(authority: &str) -> Option<Cow<'_, str>> {
    let (inner, port) = authority.strip_prefix('[')?.split_once(']')?;
    let address: std::net::Ipv6Addr = inner.parse().ok()?;
    let port = if port.is_empty() { port } else { port.strip_prefix(':')? };
    is_port_number(port).then(|| Cow::Owned(format!("[{address}]")))
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
            ("shop:65535", Some("shop")),
            ("shop:65536", None),
            ("shop:99999999999999999999", None),
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
            ("shop.example.:", "shop.example"),
            ("SHOP.example", "shop.example"),
            ("[::1]:80", "[::1]:80"),
            ("[0::1]", "[::1]"),
        ] {
            let (host, told) = of_request(authority).expect("a host");
            assert_eq!((host, &*told), (normalise(authority).expect("a host"), forwarded), "{authority}");
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
