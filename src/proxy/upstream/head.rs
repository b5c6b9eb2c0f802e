//! The head of a response, read strictly: what could be understood two ways is refused.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::awaited::MAX_INTERIM;
use crate::proxy::headers::is_hop_by_hop;

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
    /// Whether any of them is hop-by-hop.
    pub hop_by_hop: bool,
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
    let Some(end) = end(unread)? else { return incomplete(unread).map(|()| None) };
    if end > MAX_HEAD {
        return Err(HeadError::TooLarge);
    }
    // Taken off first, so that names and values can be read as slices of it and no byte is copied.
    let bytes = unread.split_to(end).freeze();
    let mut storage = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, &bytes, &mut storage)
        .map_err(HeadError::Malformed)?;
    if parsed != httparse::Status::Complete(end) {
        // The parser and the look for the empty line are to agree on where the head ends.
        return Err(HeadError::Malformed(httparse::Error::Status));
    }
    let code = response.code.unwrap_or_default();
    let status = StatusCode::from_u16(code).map_err(|_| HeadError::Status(code))?;
    let old = response.version == Some(0);
    let mut headers = HeaderMap::with_capacity(response.headers.len() + 2);
    let mut framing = Framing::default();
    for header in &*response.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes())
            .map_err(|_| HeadError::Malformed(httparse::Error::HeaderName))?;
        if !framing.note(&name, header.value)? {
            continue;
        }
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(header.value))
            .map_err(|_| HeadError::Malformed(httparse::Error::HeaderValue))?;
        headers.append(name, value);
    }
    let length = framing.length(status, old, answers_head)?;
    // One that announces a body where none may be could send it all the same, in front of the next answer.
    let announces = framing.chunked
        || (status == StatusCode::NO_CONTENT && framing.content_length.is_some_and(|length| length > 0));
    let suspicious = announces && (status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED);
    let keep_alive = !old && !suspicious && !framing.close && length != Length::UntilClose;
    Ok(Some(Head { status, headers, hop_by_hop: framing.hop_by_hop, length, keep_alive }))
}

/// Where the head ends, if it does: after an empty line.
fn end(unread: &[u8]) -> Result<Option<usize>, HeadError> {
    let mut before = None;
    for at in memchr::memchr_iter(b'\n', unread) {
        if at == 0 || unread[at - 1] != b'\r' {
            return Err(HeadError::BareLineFeed);
        }
        if before == Some(at - 1) {
            return Ok(Some(at + 1));
        }
        before = Some(at + 1);
    }
    Ok(None)
}

/// httparse takes a bare line feed for the end of a line; others may not.
pub(super) fn has_bare_line_feed(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).any(|at| at == 0 || head[at - 1] != b'\r')
}

/// What has no end yet may be no head at all.
fn incomplete(unread: &[u8]) -> Result<(), HeadError> {
    if unread.len() > MAX_HEAD {
        return Err(HeadError::TooLarge);
    }
    let mut storage = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    match httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, unread, &mut storage) {
        Ok(httparse::Status::Partial) => Ok(()),
        // Every line feed has been seen by now.
        Ok(httparse::Status::Complete(_)) => Err(HeadError::BareLineFeed),
        Err(error) => Err(HeadError::Malformed(error)),
    }
}

/// What the headers say of the body's end and of the connection (RFC 9112, 6 and 9), taken down as they pass.
#[derive(Debug, Default)]
struct Framing {
    content_length: Option<u64>,
    chunked: bool,
    close: bool,
    hop_by_hop: bool,
}

impl Framing {
    /// Takes note of a header; false for one that is dropped at once.
    fn note(&mut self, name: &HeaderName, value: &[u8]) -> Result<bool, HeadError> {
        if !is_hop_by_hop(name) {
            if *name == CONTENT_LENGTH && self.content_length.replace(number(value)?).is_some() {
                return Err(HeadError::ContentLength);
            }
            return Ok(true);
        }
        if *name == CONNECTION {
            // What nearly every backend says, and what goes no further.
            if value.eq_ignore_ascii_case(b"keep-alive") {
                return Ok(false);
            }
            self.close |= value.split(|byte| *byte == b',').any(|o| o.trim_ascii().eq_ignore_ascii_case(b"close"));
        } else if *name == TRANSFER_ENCODING
            && (std::mem::replace(&mut self.chunked, true) || !value.eq_ignore_ascii_case(b"chunked"))
        {
            return Err(HeadError::TransferEncoding);
        }
        self.hop_by_hop = true;
        Ok(true)
    }

    /// RFC 9112, 6.3.
    fn length(&self, status: StatusCode, old: bool, answers_head: bool) -> Result<Length, HeadError> {
        if self.chunked && (old || self.content_length.is_some()) {
            return Err(HeadError::TransferEncoding);
        }
        let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if answers_head || bodiless || status.is_informational() {
            return Ok(Length::Exactly(0));
        }
        Ok(match (self.chunked, self.content_length) {
            (true, _) => Length::Chunked,
            (false, Some(length)) => Length::Exactly(length),
            (false, None) => Length::UntilClose,
        })
    }
}

/// One number, in digits and nothing else.
fn number(digits: &[u8]) -> Result<u64, HeadError> {
    if digits.is_empty() {
        return Err(HeadError::ContentLength);
    }
    let number = digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    });
    // Half of what a u64 holds: others count in signed numbers, or keep some for themselves.
    number.filter(|number| *number <= u64::MAX / 2).ok_or(HeadError::ContentLength)
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
