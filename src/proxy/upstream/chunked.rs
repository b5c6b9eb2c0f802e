//! The chunked transfer coding (RFC 9112, 7.1), taken apart strictly and in place.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The longest line that opens a chunk: its size and extensions, which nobody uses.
const MAX_LINE: usize = 1024;

/// The largest trailer section in bytes, and its most fields.
const MAX_TRAILERS: usize = 16 * 1024;
const MAX_FIELDS: usize = 64;

/// Where in the coding we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Chunked {
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

/// What is not the chunked coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the response's body is not chunked as it says")]
pub struct ChunkError;

impl Chunked {
    /// Takes the next piece off what was read.
    pub(super) fn next(&mut self, unread: &mut BytesMut) -> Result<Piece, ChunkError> {
        loop {
            match *self {
                Self::Size => {
                    let Some(line) = line(unread, MAX_LINE)? else { return Ok(Piece::More) };
                    let size = size(&unread[..line])?;
                    unread.advance(line + 2);
                    *self = if size == 0 { Self::Trailers } else { Self::Data(size) };
                }
                Self::Data(_) if unread.is_empty() => return Ok(Piece::More),
                Self::Data(left) => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(unread.len());
                    let left = left - take as u64;
                    *self = if left == 0 { Self::Break } else { Self::Data(left) };
                    return Ok(Piece::Data(unread.split_to(take).freeze()));
                }
                Self::Break => {
                    match unread.get(..2) {
                        Some(b"\r\n") => unread.advance(2),
                        Some(_) => return Err(ChunkError),
                        None if unread.first().is_some_and(|byte| *byte != b'\r') => return Err(ChunkError),
                        None => return Ok(Piece::More),
                    }
                    *self = Self::Size;
                }
                Self::Trailers => {
                    let Some(trailers) = trailers(unread)? else { return Ok(Piece::More) };
                    *self = Self::Done;
                    return Ok(Piece::End((!trailers.is_empty()).then_some(trailers)));
                }
                Self::Done => return Ok(Piece::End(None)),
            }
        }
    }
}

/// The length of the first line, without its CR LF.
fn line(unread: &[u8], limit: usize) -> Result<Option<usize>, ChunkError> {
    match unread.iter().take(limit + 2).position(|byte| *byte == b'\n') {
        Some(at) if at > 0 && unread[at - 1] == b'\r' => Ok(Some(at - 1)),
        Some(_) => Err(ChunkError),
        None if unread.len() > limit => Err(ChunkError),
        None => Ok(None),
    }
}

/// The size at the head of a line; extensions are passed over.
fn size(line: &[u8]) -> Result<u64, ChunkError> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let extension = line[digits..].iter().find(|byte| !matches!(**byte, b' ' | b'\t'));
    if digits == 0 || digits > 15 || extension.is_some_and(|byte| *byte != b';') || line.contains(&b'\r') {
        return Err(ChunkError);
    }
    let text = std::str::from_utf8(&line[..digits]).map_err(|_| ChunkError)?;
    u64::from_str_radix(text, 16).map_err(|_| ChunkError)
}

/// The trailer section up to and with the empty line.
fn trailers(unread: &mut BytesMut) -> Result<Option<HeaderMap>, ChunkError> {
    if unread.starts_with(b"\r\n") {
        unread.advance(2);
        return Ok(Some(HeaderMap::new()));
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    match httparse::parse_headers(unread, &mut fields) {
        Ok(httparse::Status::Complete((end, fields))) if end <= MAX_TRAILERS => {
            let mut trailers = HeaderMap::with_capacity(fields.len());
            for field in fields {
                let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| ChunkError)?;
                trailers.append(name, HeaderValue::from_bytes(field.value).map_err(|_| ChunkError)?);
            }
            unread.advance(end);
            Ok(Some(trailers))
        }
        Ok(httparse::Status::Partial) if unread.len() <= MAX_TRAILERS => Ok(None),
        _ => Err(ChunkError),
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
                        return Err(ChunkError);
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
        ] {
            assert!(decode(bad, 3).is_err(), "{bad:?}");
        }
        assert!(decode(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(2_000)), 100).is_err());
        assert!(decode(&format!("0\r\nx: {}\r\n\r\n", "a".repeat(20_000)), 100).is_err());
    }
}
