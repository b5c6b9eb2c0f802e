//! What a request's headers have in them, found in one pass: to look each of these up costs more than to pass over all.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue};

/// Which of the headers that the proxy itself acts on there are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outline<'h> {
    /// The first `Host`.
    pub host: Option<&'h HeaderValue>,
    /// Whether there are more.
    pub more_hosts: bool,
    /// Whether there is a `Connection`.
    pub connection: bool,
    /// A `Content-Length`.
    pub content_length: bool,
    /// A `TE`.
    pub te: bool,
    /// A `Transfer-Encoding`.
    pub transfer_encoding: bool,
    /// An `Upgrade`.
    pub upgrade: bool,
}

impl<'h> Outline<'h> {
    /// Passes over the headers.
    #[must_use]
    pub fn of(headers: &'h HeaderMap) -> Self {
        let mut outline = Self::default();
        for (name, value) in headers {
            if *name == HOST {
                outline.more_hosts |= outline.host.is_some();
                outline.host.get_or_insert(value);
            }
            outline.connection |= *name == CONNECTION;
            outline.content_length |= *name == CONTENT_LENGTH;
            outline.te |= *name == TE;
            outline.transfer_encoding |= *name == TRANSFER_ENCODING;
            outline.upgrade |= *name == UPGRADE;
        }
        outline
    }
}
