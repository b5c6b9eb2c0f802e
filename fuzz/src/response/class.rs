//! What ours refuses and hyper's client takes: the whole list, each with its reason.

use tidegate::proxy::upstream::ChunkError;
use tidegate::proxy::upstream::head::HeadError;

/// A kind of answer that ours alone may refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// RFC 9112, 2.2, lets a reader take a bare line feed for a line's end; one that does not sees other lines.
    BareLineFeed,
    /// RFC 9112, 2.2, lets only servers pass over an empty line before a message; nginx refuses it too.
    EmptyLine,
    /// Two lengths, though they be the same, and ones of more than 63 bits: RFC 9112, 6.3, leaves it to the reader whether to go on.
    ContentLength,
    /// Codings other than `chunked`, or one beside a length: RFC 9112, 6.1 and 6.3, call what follows ambiguous. hyper reads to the
    /// end of the connection or leaves out the length.
    TransferEncoding,
    /// A 101 that nobody asked for (RFC 9110, 15.2.2): hyper would leave it to its caller.
    Unasked,
    /// A 1xx that announces a body which it may not have: others could take the answer for that.
    InterimBody,
    /// A flood of 1xx.
    TooManyInterim,
    /// A head over 256 KiB: hyper's bound is on its buffer, and another number.
    TooLarge,
    /// More than 15 digits of a chunk's size: leading noughts have no use but to overflow somebody's number.
    ChunkSize,
    /// Control bytes in the extensions of a chunk.
    ChunkLine,
    /// Long lines before chunks, and the same amount of extensions as hyper bounds, counted with the `;`.
    ChunkTooLong,
    /// Bare line feeds in trailers.
    Trailers,
    /// More than 64 trailers.
    TooManyTrailers,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::BareLineFeed,
        Self::EmptyLine,
        Self::ContentLength,
        Self::TransferEncoding,
        Self::Unasked,
        Self::InterimBody,
        Self::TooManyInterim,
        Self::TooLarge,
        Self::ChunkSize,
        Self::ChunkLine,
        Self::ChunkTooLong,
        Self::Trailers,
        Self::TooManyTrailers,
    ];

    /// Whether an answer has what the class is about, by a look that knows nothing of our reader.
    #[must_use]
    pub fn applies(self, answer: &[u8]) -> bool {
        let has = |what: &[u8]| answer.windows(what.len()).any(|found| found.eq_ignore_ascii_case(what));
        let bare = answer.iter().enumerate().any(|(at, byte)| *byte == b'\n' && (at == 0 || answer[at - 1] != b'\r'));
        match self {
            Self::BareLineFeed => bare,
            Self::EmptyLine => {
                [&b"\r\n"[..], b"\n"].iter().any(|line| answer.starts_with(line) || has(&[b"\n\r\n", *line].concat()))
            }
            Self::ContentLength => has(b"content-length:"),
            Self::TransferEncoding => has(b"transfer-encoding:"),
            Self::Unasked => has(b"HTTP/1.1 101") || has(b"HTTP/1.0 101"),
            Self::InterimBody => {
                (has(b"HTTP/1.1 1") || has(b"HTTP/1.0 1")) && (has(b"content-length:") || has(b"transfer-encoding:"))
            }
            Self::TooManyInterim => answer.windows(8).filter(|found| found.starts_with(b"HTTP/1.")).count() > 64,
            Self::TooLarge => answer.len() > 256 * 1024,
            Self::ChunkSize => has(b"chunked") && answer.windows(16).any(|run| run.iter().all(u8::is_ascii_hexdigit)),
            Self::ChunkLine => has(b"chunked") && has(b";") && answer.iter().any(|byte| byte.is_ascii_control()),
            Self::ChunkTooLong => has(b"chunked") && answer.len() > 1024,
            Self::Trailers => has(b"chunked") && bare,
            Self::TooManyTrailers => has(b"chunked") && answer.iter().filter(|byte| **byte == b':').count() > 64,
        }
    }
}

/// The class of a head that is refused; none where hyper's client has to refuse it too.
pub(super) fn of_head(error: &HeadError) -> Option<Class> {
    match error {
        HeadError::Malformed(_) | HeadError::Status(_) => None,
        HeadError::BareLineFeed => Some(Class::BareLineFeed),
        HeadError::TooLarge => Some(Class::TooLarge),
        HeadError::ContentLength => Some(Class::ContentLength),
        HeadError::TransferEncoding => Some(Class::TransferEncoding),
        HeadError::EmptyLine => Some(Class::EmptyLine),
        HeadError::Unasked => Some(Class::Unasked),
        HeadError::InterimBody => Some(Class::InterimBody),
        HeadError::TooManyInterim => Some(Class::TooManyInterim),
    }
}

/// The class of a body that is refused.
pub(super) fn of_body(error: ChunkError) -> Option<Class> {
    match error {
        ChunkError::Break => None,
        ChunkError::Size => Some(Class::ChunkSize),
        ChunkError::Line => Some(Class::ChunkLine),
        ChunkError::TooLong => Some(Class::ChunkTooLong),
        ChunkError::Trailers => Some(Class::Trailers),
        ChunkError::TooManyTrailers => Some(Class::TooManyTrailers),
    }
}
