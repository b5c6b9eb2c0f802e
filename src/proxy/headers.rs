//! Which headers go on, and what is told about the client.

use std::net::{IpAddr, Ipv4Addr};

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use super::outline::Outline;
use crate::model::snapshot::contains;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Headers of one connection only (RFC 9110, 7.6.1, and what older software sends).
#[must_use]
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    // By length first: nearly every header is dismissed by one comparison.
    match name.as_str().len() {
        2 => name == TE,
        7 => name == TRAILER || name == UPGRADE,
        10 => name == CONNECTION || name == KEEP_ALIVE,
        16 => name == PROXY_CONNECTION,
        17 => name == TRANSFER_ENCODING,
        18 => name == PROXY_AUTHENTICATE,
        19 => name == PROXY_AUTHORIZATION,
        _ => false,
    }
}

/// Headers by which proxies tell of the client: believed only from those who are trusted.
fn tells_of_client(name: &HeaderName) -> bool {
    let text = name.as_str();
    (text.starts_with('x') && (text.starts_with("x-forwarded-") || name == X_REAL_IP)) || name == FORWARDED
}

/// Whether a name is another spelling of one that is not the client's to set: many backends take `_` for `-`.
fn is_disguised(name: &HeaderName) -> bool {
    let text = name.as_str();
    text.contains('_')
        && HeaderName::try_from(text.replace('_', "-")).is_ok_and(|plain| {
            is_hop_by_hop(&plain) || tells_of_client(&plain) || plain == HOST || plain == CONTENT_LENGTH
        })
}

/// The names that the `Connection` headers list.
fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|option| !option.is_empty())
}

/// Whether a comma-separated header has this token, in any case.
#[must_use]
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|found| found.trim().eq_ignore_ascii_case(token))
}

/// Whether the body has no transfer coding that hyper leaves in it: none at all, or `chunked` once. The header does not go
/// on, so the next reader would take what is coded for what was meant (RFC 9112, 6.1).
#[must_use]
pub fn is_plainly_coded(headers: &HeaderMap, outline: &Outline<'_>) -> bool {
    if !outline.transfer_encoding {
        return true;
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(first) = codings.next() else { return true };
    codings.next().is_none() && first.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")
}

/// What is told to the backend about the client's side.
#[derive(Debug, Clone, Copy)]
pub struct Downstream<'a> {
    /// The address of whoever is connected to us, as text.
    pub peer: &'a str,
    /// Whether that is a proxy whose word is taken.
    pub trusted: bool,
    /// The normalised host, with the port that the client named, if it named one.
    pub authority: &'a str,
    /// Whether the connection is TLS.
    pub tls: bool,
    /// A prefix that is taken off the path.
    pub strip: Option<&'a str>,
}

/// Hands every header of the request to the backend to `each`, but for the body's length and what makes an upgrade. Hop-by-hop
/// headers go first, with those that `Connection` lists; ours are added afterwards, so no list can take them out.
pub fn forwarded(
    from: &HeaderMap,
    outline: &Outline<'_>,
    downstream: &Downstream<'_>,
    mut each: impl FnMut(&HeaderName, &[u8]),
) {
    each(&HOST, downstream.authority.as_bytes());
    let mut listed: Vec<&str> = Vec::new();
    if outline.connection {
        listed.extend(connection_options(from).filter(|option| !is_plain_option(option)));
    }
    for (name, value) in from {
        let skip = is_hop_by_hop(name)
            || name == HOST
            || name == EXPECT
            || name == CONTENT_LENGTH
            || tells_of_client(name)
            || is_disguised(name)
            || (!listed.is_empty() && listed.iter().any(|option| name.as_str().eq_ignore_ascii_case(option)));
        if !skip {
            each(name, value.as_bytes());
        }
    }
    if outline.te && has_token(from, &TE, "trailers") {
        each(&TE, b"trailers");
    }
    if downstream.trusted {
        tell_more_of_client(from, downstream, &mut each);
    } else {
        each(&X_FORWARDED_FOR, downstream.peer.as_bytes());
        each(&X_FORWARDED_PROTO, downstream.proto());
        each(&X_FORWARDED_HOST, downstream.authority.as_bytes());
        if let Some(prefix) = downstream.strip {
            each(&X_FORWARDED_PREFIX, prefix.as_bytes());
        }
    }
}

/// Adds to what a trusted proxy tells.
fn tell_more_of_client(from: &HeaderMap, downstream: &Downstream<'_>, each: &mut impl FnMut(&HeaderName, &[u8])) {
    for (name, value) in from {
        if tells_of_client(name) && name != X_FORWARDED_FOR && name != X_FORWARDED_PREFIX {
            each(name, value.as_bytes());
        }
    }
    let mut chain: Vec<u8> = Vec::new();
    for hop in from.get_all(X_FORWARDED_FOR) {
        chain.extend_from_slice(hop.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(downstream.peer.as_bytes());
    each(&X_FORWARDED_FOR, &chain);
    if !from.contains_key(X_FORWARDED_PROTO) {
        each(&X_FORWARDED_PROTO, downstream.proto());
    }
    if !from.contains_key(X_FORWARDED_HOST) {
        each(&X_FORWARDED_HOST, downstream.authority.as_bytes());
    }
    let outer = from.get(X_FORWARDED_PREFIX).map_or(&[][..], HeaderValue::as_bytes);
    let prefix = [outer, downstream.strip.unwrap_or_default().as_bytes()].concat();
    if !prefix.is_empty() {
        each(&X_FORWARDED_PREFIX, &prefix);
    }
}

impl Downstream<'_> {
    fn proto(&self) -> &'static [u8] {
        if self.tls { b"https" } else { b"http" }
    }
}

/// Options of `Connection` that name no header, or one that goes anyway; nearly every list has only these.
fn is_plain_option(option: &str) -> bool {
    ["keep-alive", "close", "upgrade", "te"].iter().any(|plain| option.eq_ignore_ascii_case(plain))
}

/// Takes out of a backend's response what is between the backend and us, hop-by-hop headers above all. `Trailer` stays where the
/// client takes trailers.
pub fn clean_response(headers: &mut HeaderMap, trailers: bool) {
    if headers.contains_key(CONNECTION) {
        let listed: Vec<HeaderName> = connection_options(headers)
            .filter(|option| !is_plain_option(option))
            .filter_map(|option| option.parse().ok())
            .filter(|name| name != CONTENT_LENGTH)
            .collect();
        for name in listed {
            headers.remove(name);
        }
    }
    if headers.keys().any(is_hop_by_hop) {
        let keep = |name: &HeaderName| !is_hop_by_hop(name) || (trailers && *name == TRAILER);
        let found: Vec<HeaderName> = headers.keys().filter(|name| !keep(name)).cloned().collect();
        for name in found {
            headers.remove(name);
        }
    }
}

/// Takes out of trailers what may not come so late: framing, routing, authentication and what proxies are trusted to say
/// (RFC 9110, 6.5.1).
pub fn clean_trailers(trailers: &mut HeaderMap) {
    const LATE: [&str; 15] = [
        "host",
        "content-length",
        "content-encoding",
        "content-type",
        "content-range",
        "authorization",
        "cookie",
        "set-cookie",
        "cache-control",
        "expect",
        "max-forwards",
        "pragma",
        "range",
        "age",
        "location",
    ];
    let found: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| {
            is_hop_by_hop(name) || tells_of_client(name) || is_disguised(name) || LATE.contains(&name.as_str())
        })
        .cloned()
        .collect();
    for name in found {
        trailers.remove(name);
    }
}

/// The client's address: the peer's, or, where that is a trusted proxy, the last address in `X-Forwarded-For` that is not one. Where
/// a trusted proxy names something that is no address, the client is nobody (`0.0.0.0`): taking the proxy for it would give it what
/// is the proxy's to see.
#[must_use]
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer;
    let lines: Vec<&[u8]> = headers.get_all(X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b',')) {
        if !contains(trusted, client) {
            break;
        }
        let address = std::str::from_utf8(hop).ok().and_then(|hop| parse_hop(hop.trim()));
        client = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    }
    client
}

/// An address as proxies write it: bare, `v4:port` or `[v6]:port`.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    hop.parse()
        .ok()
        .or_else(|| hop.parse::<std::net::SocketAddr>().ok().map(|a| a.ip()))
        .or_else(|| hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    fn request_headers(from: &HeaderMap, downstream: &Downstream<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        forwarded(from, &Outline::of(from), downstream, |name, value| {
            headers.append(name, HeaderValue::from_bytes(value).expect("valid"));
        });
        headers
    }

    fn downstream(trusted: bool) -> Downstream<'static> {
        Downstream { peer: "192.0.2.7", trusted, authority: "shop.example:8080", tls: false, strip: Some("/shop") }
    }

    #[test]
    fn the_untrusted_say_nothing_of_the_client() {
        let from = map(&[
            ("host", "SHOP.example:8080"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-user", "root"),
            ("forwarded", "for=6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
            ("x_forwarded_for", "6.6.6.6"),
            ("content_length", "9"),
            ("x_mine_too", "2"),
            ("x-forwarded-prefix", "/evil"),
            ("connection", "x-forwarded-for, host, x-mine, content-length"),
            ("x-mine", "1"),
            ("content-length", "3"),
            ("accept", "*/*"),
        ]);
        let headers = request_headers(&from, &downstream(false));
        let expected = map(&[
            ("host", "shop.example:8080"),
            ("x_mine_too", "2"),
            ("accept", "*/*"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "shop.example:8080"),
            ("x-forwarded-prefix", "/shop"),
        ]);
        assert_eq!(headers, expected);
    }

    #[test]
    fn the_trusted_are_believed_and_added_to() {
        let from = map(&[
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "outer.example"),
            ("x-forwarded-prefix", "/outer"),
        ]);
        let headers = request_headers(&from, &downstream(true));
        let expected = map(&[
            ("host", "shop.example:8080"),
            ("x-forwarded-for", "203.0.113.9, 10.0.0.1, 192.0.2.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "outer.example"),
            ("x-forwarded-prefix", "/outer/shop"),
        ]);
        assert_eq!(headers, expected);
    }

    #[test]
    fn the_client_is_the_last_hop_that_is_not_trusted() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().expect("net"), "fd00::/8".parse().expect("net")];
        let peer = IpAddr::from([10, 0, 0, 1]);
        for (chain, client) in [
            ("203.0.113.9", "203.0.113.9"),
            ("6.6.6.6, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
            ("203.0.113.9:4711", "203.0.113.9"),
            ("2001:db8::1, [fd00::1]:80", "2001:db8::1"),
            ("garbage, 10.0.0.3", "0.0.0.0"),
            ("10.0.0.4", "10.0.0.4"),
        ] {
            let headers = map(&[("x-forwarded-for", chain)]);
            assert_eq!(client_address(peer, &headers, &trusted).to_string(), client, "{chain}");
        }
        let mut odd = HeaderMap::new();
        odd.append(X_FORWARDED_FOR, HeaderValue::from_bytes(b"\xff, 203.0.113.9").expect("a value"));
        assert_eq!(client_address(peer, &odd, &trusted), IpAddr::from([203, 0, 113, 9]));
        let outsider = IpAddr::from([192, 0, 2, 7]);
        assert_eq!(client_address(outsider, &map(&[("x-forwarded-for", "6.6.6.6")]), &trusted), outsider);
    }

    #[test]
    fn responses_lose_what_is_between_the_backend_and_us() {
        let mut headers = map(&[
            ("connection", "x-inner, keep-alive"),
            ("x-inner", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authenticate", "Basic"),
            ("trailer", "x-sum"),
            ("x-outer", "2"),
        ]);
        clean_response(&mut headers, false);
        assert_eq!(headers, map(&[("x-outer", "2")]));
    }

    #[test]
    fn trailers_override_nothing() {
        let mut trailers = map(&[
            ("x-sum", "1"),
            ("content-length", "9"),
            ("x-forwarded-for", "6.6.6.6"),
            ("set-cookie", "a=b"),
            ("te", "x"),
        ]);
        clean_trailers(&mut trailers);
        assert_eq!(trailers, map(&[("x-sum", "1")]));
    }
}
