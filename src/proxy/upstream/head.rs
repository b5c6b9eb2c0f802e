//! The head of a response, read strictly: what could be understood two ways is refused.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::awaited::MAX_INTERIM;

/// The largest head, in bytes.
pub(super) const MAX_HEAD: usize = 256 * 1024;

/// The most headers.
const MAX_HEADERS: usize = 256;

/// A head, and how the body's end will be told.
#[derive(Debug)]
pub struct Head {
    /// Its status.
    pub status: StatusCode,
    /// Its headers as sent, hop-by-hop ones too, but for a plain `Connection: keep-alive`.
    pub headers: HeaderMap,
    /// How the body ends.
    pub length: Length,
    /// Whether the connection can serve again.
    pub keep_alive: bool,
}

/// How the body's end is told (RFC 9112, 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// After so many bytes.
    Exactly(u64),
    /// In chunks.
    Chunked,
    /// By closing the connection.
    UntilClose,
}

/// Why something is not a response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not HTTP/1.
    #[error("the response's head is malformed: {0}")]
    Malformed(httparse::Error),
    /// A line that ends without a carriage return.
    #[error("a line of the response's head ends in a bare line feed")]
    BareLineFeed,
    /// Larger than 256 KiB.
    #[error("the response's head is larger than {MAX_HEAD} bytes")]
    TooLarge,
    /// A status outside 100 to 999.
    #[error("the response's status {0} is none")]
    Status(u16),
    /// Two of them, or one that is no number.
    #[error("the response's Content-Length is not one number")]
    ContentLength,
    /// Both at once, or of a kind that nobody speaks.
    #[error("the response's Transfer-Encoding is not just `chunked`, or stands beside a Content-Length or in HTTP/1.0")]
    TransferEncoding,
    /// An empty line where a response should begin.
    #[error("the response begins with an empty line")]
    EmptyLine,
    /// 101 where nothing was asked for.
    #[error("the response switches protocols, which nobody asked for")]
    Unasked,
    /// A 1xx that says it has a body: what follows could be that, or the answer.
    #[error("an informational response announces a body")]
    InterimBody,
    /// More 1xx than anybody needs.
    #[error("more than {MAX_INTERIM} informational responses came before the answer")]
    TooManyInterim,
}

/// Takes a head off what was read, once it is whole. `answers_head` says that the request was a HEAD.
pub(super) fn parse(unread: &mut BytesMut, answers_head: bool) -> Result<Option<Head>, HeadError> {
    // httparse passes over empty lines, of which there may be any number.
    if matches!(unread.first(), Some(b'\r' | b'\n')) {
        return Err(HeadError::EmptyLine);
    }
    let mut storage = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, unread, &mut storage)
        .map_err(HeadError::Malformed)?;
    let httparse::Status::Complete(end) = parsed else {
        return if unread.len() > MAX_HEAD { Err(HeadError::TooLarge) } else { Ok(None) };
    };
    if end > MAX_HEAD {
        return Err(HeadError::TooLarge);
    }
    if has_bare_line_feed(&unread[..end]) {
        return Err(HeadError::BareLineFeed);
    }
    let code = response.code.unwrap_or_default();
    let status = StatusCode::from_u16(code).map_err(|_| HeadError::Status(code))?;
    let old = response.version == Some(0);
    // Where names and values lie, so that the buffer can be taken and sliced.
    let base = unread.as_ptr() as usize;
    let mut fields = Vec::with_capacity(response.headers.len());
    for header in &*response.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes())
            .map_err(|_| HeadError::Malformed(httparse::Error::HeaderName))?;
        // An empty value lies nowhere in particular.
        let begin = if header.value.is_empty() { 0 } else { header.value.as_ptr() as usize - base };
        fields.push((name, begin..begin + header.value.len()));
    }
    let bytes = unread.split_to(end).freeze();
    let mut headers = HeaderMap::with_capacity(fields.len() + 2);
    for (name, place) in fields {
        // What nearly every backend says, and what goes no further.
        if name == CONNECTION && bytes[place.clone()].eq_ignore_ascii_case(b"keep-alive") {
            continue;
        }
        headers.append(name, value(&bytes, place)?);
    }
    let length = length(status, &headers, old, answers_head)?;
    // One that announces a body where none may be could send it all the same, in front of the next answer.
    let announces = headers.contains_key(TRANSFER_ENCODING)
        || (status == StatusCode::NO_CONTENT && headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0"));
    let suspicious = announces && (status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED);
    let keep_alive = !old && !suspicious && length != Length::UntilClose && !asks_to_close(&headers);
    Ok(Some(Head { status, headers, length, keep_alive }))
}

/// A slice of the head as a value; no byte is copied.
fn value(bytes: &Bytes, place: Range<usize>) -> Result<HeaderValue, HeadError> {
    HeaderValue::from_maybe_shared(bytes.slice(place)).map_err(|_| HeadError::Malformed(httparse::Error::HeaderValue))
}

/// httparse takes a bare line feed for the end of a line; others may not.
pub(super) fn has_bare_line_feed(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).any(|at| at == 0 || head[at - 1] != b'\r')
}

/// RFC 9112, 6.3.
fn length(status: StatusCode, headers: &HeaderMap, old: bool, answers_head: bool) -> Result<Length, HeadError> {
    let content_length = content_length(headers)?;
    let chunked = chunked(headers)?;
    if chunked && (old || content_length.is_some()) {
        return Err(HeadError::TransferEncoding);
    }
    if answers_head || status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    {
        return Ok(Length::Exactly(0));
    }
    Ok(match (chunked, content_length) {
        (true, _) => Length::Chunked,
        (false, Some(length)) => Length::Exactly(length),
        (false, None) => Length::UntilClose,
    })
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, HeadError> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let digits = value.as_bytes();
    if values.next().is_some() || digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(HeadError::ContentLength);
    }
    // Half of what a u64 holds: others count in signed numbers, or keep some for themselves.
    let length = value.to_str().ok().and_then(|text| text.parse().ok()).filter(|length| *length <= u64::MAX / 2);
    length.map(Some).ok_or(HeadError::ContentLength)
}

fn chunked(headers: &HeaderMap) -> Result<bool, HeadError> {
    let mut values = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(value) = values.next() else { return Ok(false) };
    if values.next().is_some() || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(HeadError::TransferEncoding);
    }
    Ok(true)
}

fn asks_to_close(headers: &HeaderMap) -> bool {
    headers.contains_key(CONNECTION) && crate::proxy::headers::has_token(headers, &CONNECTION, "close")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Head>, HeadError> {
        parse(&mut BytesMut::from(text), false)
    }

    #[test]
    fn lengths_are_read_one_way_only() {
        for (headers, length) in [
            ("Content-Length: 5\r\n", Length::Exactly(5)),
            ("transfer-encoding: Chunked\r\n", Length::Chunked),
            ("", Length::UntilClose),
        ] {
            let head = read(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n")).expect("valid").expect("whole");
            assert_eq!(head.length, length, "{headers}");
        }
        for headers in [
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length: 18446744073709551615\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "X-Folded: a\r\n b\r\n",
            "X-Bare: a\n",
            "X Space: a\r\n",
            "X-Colon : a\r\n",
        ] {
            assert!(read(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n")).is_err(), "{headers:?}");
        }
        assert!(read("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(read("HTTP/2 200 OK\r\n\r\n").is_err());
        assert!(read("\r\nHTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(read("SSH-2.0-OpenSSH\r\n").is_err());
    }

    #[test]
    fn some_responses_have_no_body_whatever_they_say() {
        for status in ["204 No Content", "304 Not Modified", "103 Early Hints"] {
            let head = read(&format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n")).expect("valid").expect("whole");
            assert_eq!(head.length, Length::Exactly(0), "{status}");
        }
        let mut to_head = BytesMut::from("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        let head = parse(&mut to_head, true).expect("valid").expect("whole");
        assert_eq!((head.length, head.headers[CONTENT_LENGTH].as_bytes()), (Length::Exactly(0), b"5".as_slice()));
    }

    #[test]
    fn only_a_connection_that_can_serve_again_is_kept() {
        for (text, keep_alive) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, Close\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
            ("HTTP/1.1 204 No Content\r\n\r\n", true),
            ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", false),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\n\r\n", false),
        ] {
            assert_eq!(read(text).expect("valid").expect("whole").keep_alive, keep_alive, "{text}");
        }
    }

    #[test]
    fn a_head_comes_in_any_pieces_and_leaves_the_body() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello";
        for cut in 0..text.len() - 5 {
            assert!(read(&text[..cut]).expect("valid so far").is_none(), "{cut}");
        }
        let mut unread = BytesMut::from(text);
        let head = parse(&mut unread, false).expect("valid").expect("whole");
        assert_eq!((&unread[..], &head.headers["x-a"]), (&b"hello"[..], &HeaderValue::from_static("b")));
    }
}
