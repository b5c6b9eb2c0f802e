//! The head of a request, as an HTTP/1.1 backend gets it.

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Body as _;

use super::body::RequestBody;
use super::forward::Call;
use super::headers::forwarded;
use super::upstream::{Framing, Sending};

/// Room for the head of most requests.
const HEAD_CAPACITY: usize = 1024;

impl Call<'_> {
    /// The request as the backend gets it: origin-form, whatever the client sent, straight from the parsed head into bytes.
    pub(super) fn encode(&self, body: RequestBody, upgrade: bool) -> Sending {
        let mut head = BytesMut::with_capacity(HEAD_CAPACITY);
        head.extend_from_slice(self.parts.method.as_str().as_bytes());
        head.extend_from_slice(b" ");
        head.extend_from_slice(self.path.as_bytes());
        if let Some(query) = self.parts.uri.query() {
            head.extend_from_slice(b"?");
            head.extend_from_slice(query.as_bytes());
        }
        head.extend_from_slice(b" HTTP/1.1\r\n");
        let edits = &self.policy.request_headers;
        if edits.is_empty() {
            forwarded(&self.parts.headers, self.outline, &self.head, |name, value| put(&mut head, name, value));
        } else {
            let mut headers = HeaderMap::with_capacity(self.parts.headers.len() + 4);
            forwarded(&self.parts.headers, self.outline, &self.head, |name, value| {
                if let Ok(value) = HeaderValue::from_bytes(value) {
                    headers.append(name, value);
                }
            });
            edits.apply(&mut headers);
            headers.iter().for_each(|(name, value)| put(&mut head, name, value.as_bytes()));
        }
        if upgrade {
            head.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
        }
        let framing = match body.size_hint().exact() {
            None => {
                put(&mut head, &TRANSFER_ENCODING, b"chunked");
                // What is set, added or removed by the policy must not come in by the back door.
                let trailers = edits.is_empty();
                if trailers {
                    self.parts
                        .headers
                        .get_all(TRAILER)
                        .iter()
                        .for_each(|names| put(&mut head, &TRAILER, names.as_bytes()));
                }
                Framing::Chunked { trailers }
            }
            Some(0) if !self.outline.content_length => Framing::Length,
            Some(length) => {
                put(&mut head, &CONTENT_LENGTH, length.to_string().as_bytes());
                Framing::Length
            }
        };
        head.extend_from_slice(b"\r\n");
        Sending::new(head, framing, body)
    }
}

fn put(head: &mut BytesMut, name: &HeaderName, value: &[u8]) {
    let name = name.as_str().as_bytes();
    head.reserve(name.len() + value.len() + 4);
    head.extend_from_slice(name);
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}
