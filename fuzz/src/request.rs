//! The oracle for what goes to backends: the headers that we write are the ones that are read, and none of them frames, routes or
//! vouches but ours.

use http::{HeaderMap, HeaderName, HeaderValue};
use tidegate::proxy::headers::{Downstream, forwarded};
use tidegate::proxy::outline::Outline;

/// The client's headers from any bytes: one per line, a name and a value; lines that are no header are passed over.
fn headers(input: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n').take(100) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(line[colon + 1..].trim_ascii()))
        {
            headers.append(name, value);
        }
    }
    headers
}

/// Puts a client's headers through, and reads them as a backend would.
///
/// # Panics
/// Something else is read than was written, or something that is not the client's to say.
pub fn check(input: &[u8]) {
    let [flags, rest @ ..] = input else { return };
    let (from, trusted) = (headers(rest), flags & 1 == 1);
    let strip = (flags & 2 == 2).then_some("/shop");
    let authority = "shop.example:8080";
    let downstream = Downstream { peer: "192.0.2.7", trusted, authority, tls: flags & 4 == 4, strip };
    let (mut written, mut bytes) = (Vec::new(), b"GET / HTTP/1.1\r\n".to_vec());
    forwarded(&from, &Outline::of(&from), &downstream, |name, value| {
        written.push((name.to_string(), value.to_vec()));
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    });
    bytes.extend_from_slice(b"\r\n");

    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut request = httparse::Request::new(&mut fields);
    let parsed = request.parse(&bytes).expect("a head");
    assert_eq!(parsed, httparse::Status::Complete(bytes.len()), "{}", bytes.escape_ascii());
    let read: Vec<_> = request.headers.iter().map(|field| (field.name.to_owned(), field.value.to_vec())).collect();
    assert_eq!(read, written);

    let named = |name: &str| written.iter().filter(|(found, _)| found == name).collect::<Vec<_>>();
    assert_eq!(named("host"), [&("host".to_owned(), authority.as_bytes().to_vec())]);
    for name in
        ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "content-length", "expect"]
    {
        assert!(named(name).is_empty(), "{name} goes on");
    }
    assert!(named("te").iter().all(|(_, value)| value == b"trailers"));
    let chain = named("x-forwarded-for");
    assert!(chain.len() == 1 && chain[0].1.ends_with(b"192.0.2.7"), "{chain:?}");
    if !trusted {
        assert_eq!(chain[0].1, b"192.0.2.7");
        assert!(named("forwarded").is_empty() && named("x-real-ip").is_empty());
        assert_eq!(named("x-forwarded-host").len(), 1);
    }
}
