//! The chunked transfer coding (RFC 9112, 7.1), taken apart strictly and in place.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::head::has_bare_line_feed;

/// The longest line that opens a chunk: its size and extensions, which nobody uses.
const MAX_LINE: usize = 1024;

/// The most bytes of extensions in one body: else somebody sends little but those.
const MAX_EXTENSIONS: usize = 16 * 1024;

/// The largest trailer section in bytes, and its most fields.
const MAX_TRAILERS: usize = 16 * 1024;
const MAX_FIELDS: usize = 64;

/// How far a chunked body has been taken apart.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Chunked {
    place: Place,
    /// Bytes of extensions so far.
    extensions: usize,
}

/// Where in the coding we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    /// Before a chunk's first line.
    #[default]
    Size,
    /// So many bytes of a chunk are left.
    Data(u64),
    /// Before the line break behind a chunk.
    Break,
    /// In the trailer section.
    Trailers,
    /// At the end.
    Done,
}

/// A piece of a chunked body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Bytes of the body.
    Data(Bytes),
    /// The trailers, if there are any; nothing follows.
    End(Option<HeaderMap>),
    /// More has to be read first.
    More,
}

/// Why a body is not in the chunked coding, or in a form of it that nobody uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Not 1 to 15 hexadecimal digits.
    #[error("the size of a chunk of the response is none")]
    Size,
    /// A control byte, or a line feed or carriage return without the other.
    #[error("the line before a chunk of the response has a control byte in it or ends oddly")]
    Line,
    /// A first line of more than 1 KiB, or more than 16 KiB of extensions.
    #[error("the line before a chunk of the response is too long, or too many of them have extensions")]
    TooLong,
    /// No line break behind a chunk.
    #[error("a chunk of the response is longer than it says")]
    Break,
    /// No fields, or bare line feeds.
    #[error("the response's trailers are malformed")]
    Trailers,
    /// More than 16 KiB, or 64 fields.
    #[error("the response's trailers are too large")]
    TooManyTrailers,
}

impl Chunked {
    /// Takes the next piece off what was read.
    pub(super) fn next(&mut self, unread: &mut BytesMut) -> Result<Piece, ChunkError> {
        loop {
            match self.place {
                Place::Size => {
                    let Some(line) = line(unread)? else { return Ok(Piece::More) };
                    let (size, extension) = size(&unread[..line])?;
                    self.extensions += extension;
                    if self.extensions >= MAX_EXTENSIONS {
                        return Err(ChunkError::TooLong);
                    }
                    unread.advance(line + 2);
                    self.place = if size == 0 { Place::Trailers } else { Place::Data(size) };
                }
                Place::Data(_) if unread.is_empty() => return Ok(Piece::More),
                Place::Data(left) => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(unread.len());
                    let left = left - take as u64;
                    self.place = if left == 0 { Place::Break } else { Place::Data(left) };
                    return Ok(Piece::Data(unread.split_to(take).freeze()));
                }
                Place::Break => {
                    match unread.get(..2) {
                        Some(b"\r\n") => unread.advance(2),
                        Some(_) => return Err(ChunkError::Break),
                        None if unread.first().is_some_and(|byte| *byte != b'\r') => return Err(ChunkError::Break),
                        None => return Ok(Piece::More),
                    }
                    self.place = Place::Size;
                }
                Place::Trailers => {
                    let Some(trailers) = trailers(unread)? else { return Ok(Piece::More) };
                    self.place = Place::Done;
                    return Ok(Piece::End((!trailers.is_empty()).then_some(trailers)));
                }
                Place::Done => return Ok(Piece::End(None)),
            }
        }
    }
}

/// The length of the first line, without its CR LF.
fn line(unread: &[u8]) -> Result<Option<usize>, ChunkError> {
    match unread.iter().take(MAX_LINE + 2).position(|byte| *byte == b'\n') {
        Some(at) if at > 0 && unread[at - 1] == b'\r' => Ok(Some(at - 1)),
        Some(_) => Err(ChunkError::Line),
        None if unread.len() > MAX_LINE => Err(ChunkError::TooLong),
        None => Ok(None),
    }
}

/// The size at the head of a line, and how long the extensions are, which are passed over.
fn size(line: &[u8]) -> Result<(u64, usize), ChunkError> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits == 0 || digits > 15 {
        return Err(ChunkError::Size);
    }
    let mut extension = 0;
    if digits < line.len() {
        let rest = line[digits..].trim_ascii_start();
        if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(ChunkError::Line);
        }
        if rest.first().is_some_and(|byte| *byte != b';') {
            return Err(ChunkError::Size);
        }
        extension = rest.len();
    }
    let text = std::str::from_utf8(&line[..digits]).map_err(|_| ChunkError::Size)?;
    u64::from_str_radix(text, 16).map(|size| (size, extension)).map_err(|_| ChunkError::Size)
}

/// The trailer section up to and with the empty line.
fn trailers(unread: &mut BytesMut) -> Result<Option<HeaderMap>, ChunkError> {
    if unread.starts_with(b"\r\n") {
        unread.advance(2);
        return Ok(Some(HeaderMap::new()));
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    match httparse::parse_headers(unread, &mut fields) {
        Ok(httparse::Status::Complete((end, fields))) if end < MAX_TRAILERS => {
            if has_bare_line_feed(&unread[..end]) {
                return Err(ChunkError::Trailers);
            }
            let mut trailers = HeaderMap::with_capacity(fields.len());
            for field in fields {
                let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| ChunkError::Trailers)?;
                trailers.append(name, HeaderValue::from_bytes(field.value).map_err(|_| ChunkError::Trailers)?);
            }
            unread.advance(end);
            Ok(Some(trailers))
        }
        Ok(httparse::Status::Partial) if unread.len() < MAX_TRAILERS => Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Err(ChunkError::TooManyTrailers),
        Err(_) => Err(ChunkError::Trailers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Decoded = (Vec<u8>, Option<HeaderMap>, Vec<u8>);

    /// Feeds a body in pieces of `step` bytes: the data, the trailers and what is left behind it.
    fn decode(text: &str, step: usize) -> Result<Decoded, ChunkError> {
        let (mut chunked, mut unread, mut data) = (Chunked::default(), BytesMut::new(), Vec::new());
        let mut input = text.as_bytes();
        loop {
            match chunked.next(&mut unread)? {
                Piece::Data(bytes) => data.extend_from_slice(&bytes),
                Piece::End(trailers) => return Ok((data, trailers, [&unread[..], input].concat())),
                Piece::More => {
                    let take = step.min(input.len());
                    if take == 0 {
                        return Err(ChunkError::Break);
                    }
                    unread.extend_from_slice(&input[..take]);
                    input = &input[take..];
                }
            }
        }
    }

    #[test]
    fn pieces_of_any_size_make_the_same_body() {
        let text = "5\r\nhello\r\nA;name=value\r\n, chunked!\r\n0\r\nX-Sum: 1\r\n\r\nnext";
        for step in 1..text.len() {
            let (data, trailers, rest) = decode(text, step).expect("valid");
            assert_eq!(data, b"hello, chunked!", "{step}");
            assert_eq!(trailers.expect("some")["x-sum"], "1");
            assert_eq!(rest, b"next");
        }
        assert_eq!(decode("0\r\n\r\n", 9), Ok((Vec::new(), None, Vec::new())));
    }

    #[test]
    fn what_could_be_read_two_ways_is_refused() {
        for bad in [
            "\r\n\r\n",
            "x\r\n",
            "-1\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhelloX0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5 5\r\nhello\r\n0\r\n\r\n",
            "1000000000000000\r\n",
            "ffffffffffffffffff\r\n",
            "0\r\nno field\r\n\r\n",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            "5;a\0b\r\nhello\r\n0\r\n\r\n",
            "5\x0b\r\nhello\r\n0\r\n\r\n",
            "0\r\n\n",
            "0\r\nx: a\n\r\n",
            "0\r\nx: a\ny: b\r\n\r\n",
            "0\r\nx: a\r\n\n",
            "0\r\nx: a\r b\r\n\r\n",
            "0\r\nx: a\r\n b\r\n\r\n",
            "0\r\nx : a\r\n\r\n",
        ] {
            assert!(decode(bad, 3).is_err(), "{bad:?}");
        }
        assert!(decode(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(2_000)), 100).is_err());
        assert!(decode(&format!("0\r\nx: {}\r\n\r\n", "a".repeat(20_000)), 100).is_err());
        assert!(decode(&format!("0\r\n{}\r\n", "x: a\r\n".repeat(MAX_FIELDS + 1)), 100).is_err());
    }

    #[test]
    fn a_body_is_not_mostly_extensions() {
        let chunk = format!("1;{}\r\nx\r\n", "a".repeat(1_000));
        let body = |chunks| format!("{}0\r\n\r\n", chunk.repeat(chunks));
        assert_eq!(decode(&body(16), 100).expect("valid").0.len(), 16);
        assert_eq!(decode(&body(17), 100), Err(ChunkError::TooLong));
        // Servers that do not know a length beforehand leave room for its digits.
        let padded = format!("{}0\r\n\r\n", "1               \r\nx\r\n".repeat(2_000));
        assert_eq!(decode(&padded, 100).expect("valid").0.len(), 2_000);
    }
}
