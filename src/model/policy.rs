//! What a service asks of the proxy besides the choice of a version. Everything here is off or cheap by default.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, Uri};
use ipnet::IpNet;

/// Deadlines on the way to and from a backend; `None` is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// For connecting to an instance. 5 s.
    pub connect: Option<Duration>,
    /// For a body, either way, without a byte of progress. 60 s, as nginx's `proxy_read_timeout`.
    pub idle: Option<Duration>,
    /// From the request sent to the head of the response. 60 s, as nginx's `proxy_read_timeout`.
    pub response_head: Option<Duration>,
    /// For the whole exchange, from the request's head to the end of the response. Off.
    pub total: Option<Duration>,
    /// For a WebSocket without a byte either way. Off.
    pub tunnel_idle: Option<Duration>,
    /// For a WebSocket, from its beginning to its end. Off.
    pub tunnel_total: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Some(Duration::from_secs(5)),
            idle: Some(Duration::from_secs(60)),
            response_head: Some(Duration::from_secs(60)),
            total: None,
            tunnel_idle: None,
            tunnel_total: None,
        }
    }
}

/// Changes to the headers of a message, in the order remove, set, add.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderEdits {
    /// Names taken out.
    pub remove: Box<[HeaderName]>,
    /// Names that have this one value afterwards.
    pub set: Box<[(HeaderName, HeaderValue)]>,
    /// Values put beside what is there.
    pub add: Box<[(HeaderName, HeaderValue)]>,
}

impl HeaderEdits {
    /// Whether there is nothing to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Carries the changes out.
    pub fn apply(&self, headers: &mut http::HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}

/// An answer that sends the client elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// An absolute `http` or `https` URL.
    pub to: Uri,
    /// 301, 302, 303, 307 or 308 (the default).
    pub status: StatusCode,
    /// Whether the request's path and query are put behind `to`. On by default.
    pub keep_path: bool,
}

impl Redirect {
    /// The `Location` for a request; `path` is as the client sent it, `query` what followed `?`.
    #[must_use]
    pub fn location(&self, path: &str, query: Option<&str>) -> String {
        let mut location = self.to.to_string();
        if self.keep_path {
            let base = location.trim_end_matches('/').len();
            location.truncate(base);
            // `*`, of OPTIONS, is no path.
            push_encoded(&mut location, if path.starts_with('/') { path } else { "/" });
            if let Some(query) = query {
                location.push('?');
                push_encoded(&mut location, query);
            }
        }
        location
    }
}

/// The `Location` of the same by TLS; `port` is where clients find that, `path` and `query` are as the client sent them.
#[must_use]
pub fn to_https(host: &str, port: u16, path: &str, query: Option<&str>) -> String {
    let mut location = match port {
        443 => format!("https://{host}"),
        port => format!("https://{host}:{port}"),
    };
    push_encoded(&mut location, if path.starts_with('/') { path } else { "/" });
    if let Some(query) = query {
        location.push('?');
        push_encoded(&mut location, query);
    }
    location
}

/// Appends what a client sent; bytes that no URL has (RFC 3986, 2) are percent-encoded.
fn push_encoded(location: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0..=0x20 | 0x7f.. => {
                location.push_str(&format!("%{byte:02X}"));
            }
            _ => location.push(char::from(byte)),
        }
    }
}

/// An answer 503 to everybody, while something is being worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintenance {
    /// What clients read.
    pub message: Box<str>,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
}

/// What a browser sees while a version comes up, instead of waiting; other clients wait.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WaitingPage {
    /// Its title; the service's name where `None`.
    pub title: Option<Box<str>>,
    /// The page itself, with `{{title}}`, `{{service}}`, `{{version}}`, `{{elapsed}}` and `{{expected}}` (whole seconds) to be
    /// filled in; tidegate's own where `None`.
    pub template: Option<Box<str>>,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Deadlines.
    pub timeouts: Timeouts,
    /// The largest request body in bytes; `None` is no limit. A larger one is answered 413.
    pub max_body: Option<u64>,
    /// Changes to requests on their way to the backend.
    pub request_headers: HeaderEdits,
    /// Changes to responses of the backend on their way to the client.
    pub response_headers: HeaderEdits,
    /// Answers every request with a redirect.
    pub redirect: Option<Redirect>,
    /// Only clients from these networks are served, others get 403; `None` serves everybody.
    pub allow: Option<Box<[IpNet]>>,
    /// Answers every request with 503.
    pub maintenance: Option<Maintenance>,
    /// Shows browsers a page while a version comes up.
    pub waiting_page: Option<WaitingPage>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_keeps_path_and_query_if_told_to() {
        let to = |text: &'static str, keep_path| Redirect {
            to: Uri::from_static(text),
            status: StatusCode::PERMANENT_REDIRECT,
            keep_path,
        };
        assert_eq!(to("https://new.example", true).location("/a", Some("b=c")), "https://new.example/a?b=c");
        assert_eq!(to("https://new.example/base/", true).location("/a", None), "https://new.example/base/a");
        assert_eq!(
            to("https://new.example", true).location("/caf\u{e9}", Some("{}")),
            "https://new.example/caf%C3%A9?%7B%7D"
        );
        assert_eq!(to("https://new.example", true).location("*", None), "https://new.example/");
        assert_eq!(to("https://new.example/only", false).location("/a", Some("b")), "https://new.example/only");
    }
}
