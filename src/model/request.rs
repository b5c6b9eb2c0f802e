//! What of a request the choice of a version depends on.

use std::borrow::Cow;
use std::net::IpAddr;

use http::header::COOKIE;
use http::{HeaderMap, Method};

/// A request as rules, sticky keys and policies see it. Host and path are in their normalised form.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// The method.
    pub method: &'a Method,
    /// The host, from [`super::host::normalise`].
    pub host: &'a str,
    /// The path, from [`super::path::normalise`].
    pub path: &'a str,
    /// What follows `?`, undecoded.
    pub query: Option<&'a str>,
    /// The headers as received.
    pub headers: &'a HeaderMap,
    /// The client's address: the peer's, or what a trusted proxy says it is.
    pub client: IpAddr,
}

impl<'a> RequestView<'a> {
    /// The values of a query parameter, percent-decoded, `+` as a space.
    pub fn query_values(&self, key: &str) -> impl Iterator<Item = Cow<'a, str>> {
        query_values(self.query.unwrap_or_default(), key)
    }

    /// The values of a cookie, over all `Cookie` headers, without surrounding quotes.
    pub fn cookie_values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.headers
            .get_all(COOKIE)
            .into_iter()
            // Pair by pair: one that is not ASCII, which browsers send, says nothing of the others.
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'))
            .filter_map(|pair| std::str::from_utf8(pair).ok()?.trim().split_once('='))
            .filter(move |(key, _)| *key == name)
            .map(|(_, value)| value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value))
    }
}

/// The values of a parameter in what follows `?`, percent-decoded, `+` as a space.
pub fn query_values<'a>(query: &'a str, key: &str) -> impl Iterator<Item = Cow<'a, str>> {
    query.split('&').filter_map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (!pair.is_empty() && decode_form(name) == key).then(|| decode_form(value))
    })
}

/// Decodes a name or value of a query; what is not valid percent-encoding stays, what is not UTF-8 is replaced.
fn decode_form(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|b| matches!(b, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match pair.filter(|p| p.bytes().all(|b| b.is_ascii_hexdigit())).map(|p| u8::from_str_radix(p, 16)) {
            Some(Ok(byte)) => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn queries_and_cookies() {
        let mut headers = HeaderMap::new();
        let odd = HeaderValue::from_bytes(b"name=Jos\xe9; a=1; b=\"two\"").expect("a value");
        headers.append(COOKIE, odd);
        headers.append(COOKIE, HeaderValue::from_static("a=3"));
        let view = RequestView {
            method: &Method::GET,
            host: "shop.localhost",
            path: "/",
            query: Some("x=1&pre%76iew=new+one%21&x=2&flag&bad=%zz&&=v"),
            headers: &headers,
            client: IpAddr::from([127, 0, 0, 1]),
        };
        assert_eq!(view.query_values("x").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(view.query_values("preview").collect::<Vec<_>>(), ["new one!"]);
        assert_eq!(view.query_values("flag").collect::<Vec<_>>(), [""]);
        assert_eq!(view.query_values("bad").collect::<Vec<_>>(), ["%zz"]);
        assert_eq!(view.cookie_values("a").collect::<Vec<_>>(), ["1", "3"]);
        assert_eq!(view.cookie_values("b").collect::<Vec<_>>(), ["two"]);
        assert_eq!(view.cookie_values("c").count(), 0);
    }
}
