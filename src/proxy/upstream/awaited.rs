//! The head that is awaited, and what may come before it.

use bytes::BytesMut;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};

use super::head::{Head, HeadError, MAX_HEAD, parse};

/// The most informational responses before an answer. Who reports on long work does so every few seconds; more is a flood.
pub(super) const MAX_INTERIM: u8 = 64;

/// What the request asks for, as far as the answer's framing depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// A body may follow.
    Body,
    /// A HEAD: no body follows.
    NoBody,
    /// To switch protocols.
    Upgrade,
}

/// The head of the answer to a request, while it comes.
#[derive(Debug)]
pub struct Awaited {
    asks: Asks,
    /// Informational responses so far.
    interim: u8,
    /// Bytes that have been looked at and are no whole head.
    seen: usize,
}

impl Awaited {
    /// The answer to what asks for this.
    #[must_use]
    pub fn new(asks: Asks) -> Self {
        Self { asks, interim: 0, seen: 0 }
    }

    /// What the request asks for.
    #[must_use]
    pub fn asks(&self) -> Asks {
        self.asks
    }

    /// Takes the head off what was read, once it is whole; informational ones before it are passed over.
    pub fn take(&mut self, unread: &mut BytesMut) -> Result<Option<Head>, HeadError> {
        while !unread.is_empty() && self.may_be_whole(unread) {
            let Some(head) = parse(unread, self.asks == Asks::NoBody)? else {
                self.seen = unread.len();
                break;
            };
            if !head.status.is_informational() {
                return Ok(Some(head));
            }
            self.pass_over(&head)?;
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    /// Whether it is worth while to look again: a head that comes byte by byte is not read anew with each, only with each line, of
    /// which there can be no more than there may be headers.
    fn may_be_whole(&mut self, unread: &[u8]) -> bool {
        let worth = self.seen == 0 || unread.len() > MAX_HEAD || memchr::memchr(b'\n', &unread[self.seen..]).is_some();
        if !worth {
            self.seen = unread.len();
        }
        worth
    }

    /// An informational response: whether it may be there.
    #[cold]
    fn pass_over(&mut self, head: &Head) -> Result<(), HeadError> {
        self.seen = 0;
        let empty = |length: &http::HeaderValue| length.as_bytes().iter().all(|digit| *digit == b'0');
        if head.headers.contains_key(TRANSFER_ENCODING) || !head.headers.get(CONTENT_LENGTH).is_none_or(empty) {
            return Err(HeadError::InterimBody);
        }
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return if self.asks == Asks::Upgrade { Ok(()) } else { Err(HeadError::Unasked) };
        }
        self.interim += 1;
        if self.interim > MAX_INTERIM { Err(HeadError::TooManyInterim) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, asks: Asks) -> Result<Option<Head>, HeadError> {
        Awaited::new(asks).take(&mut BytesMut::from(text))
    }

    #[test]
    fn some_informational_responses_are_passed_over() {
        let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        let answered = |count| read(&(interim.repeat(count) + "HTTP/1.1 204 No Content\r\n\r\n"), Asks::Body);
        for count in [0, 1, MAX_INTERIM.into()] {
            assert_eq!(answered(count).expect("valid").expect("whole").status, StatusCode::NO_CONTENT, "{count}");
        }
        assert_eq!(answered(usize::from(MAX_INTERIM) + 1).expect_err("a flood"), HeadError::TooManyInterim);
        assert!(read(interim, Asks::Body).expect("valid").is_none());
    }

    #[test]
    fn an_informational_response_has_no_body() {
        for header in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
            for status in ["100 Continue", "101 Switching Protocols", "199 x"] {
                let text = format!("HTTP/1.1 {status}\r\n{header}\r\n\r\n");
                assert_eq!(read(&text, Asks::Upgrade).expect_err("two readings"), HeadError::InterimBody, "{text}");
            }
        }
        let text = "HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(read(text, Asks::Body).expect("valid").expect("whole").status, StatusCode::OK);
    }

    #[test]
    fn who_did_not_ask_does_not_switch() {
        let text = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
        assert!(read(text, Asks::Upgrade).expect("valid").is_some());
        for asks in [Asks::Body, Asks::NoBody] {
            assert_eq!(read(text, asks).expect_err("unasked"), HeadError::Unasked);
        }
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_is_read() {
        let text = "HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello";
        let (mut awaited, mut unread) = (Awaited::new(Asks::Body), BytesMut::new());
        let whole = text.len() - "hello".len();
        for (at, byte) in text.bytes().enumerate().take(whole) {
            unread.extend_from_slice(&[byte]);
            let head = awaited.take(&mut unread).expect("valid");
            assert_eq!(head.is_some(), at + 1 == whole, "{at}");
        }
        let endless = "HTTP/1.1 200 OK\r\nX: ".to_owned() + &"a".repeat(MAX_HEAD);
        assert_eq!(read(&endless, Asks::Body).expect_err("too large"), HeadError::TooLarge);
    }
}
