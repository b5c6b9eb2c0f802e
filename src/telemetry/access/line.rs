//! One request as one line of JSON.

use std::{
    io::Write as _,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use crate::telemetry::timestamp::Timestamp;

/// What a client sends is logged up to this length, so that it decides nothing about the size of a line.
const LONGEST: usize = 4 * 1024;

/// One request that is over.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// When its head had come.
    pub at: SystemTime,
    /// From then to the answer's last byte.
    pub elapsed: Duration,
    /// Who sent it, trusted proxies looked through.
    pub client: IpAddr,
    /// `HTTP/1.1`
    pub protocol: &'a str,
    /// As sent.
    pub method: &'a str,
    /// Normalised, as it was routed.
    pub host: &'a str,
    /// Normalised, as it was routed.
    pub path: &'a str,
    /// Without the question mark.
    pub query: Option<&'a str>,
    /// None if the client left before there was one.
    pub status: Option<u16>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// None if it had none.
    pub service: Option<&'a str>,
    /// None if it was answered without one.
    pub version: Option<&'a str>,
    /// What chose the version: `rule`, `sticky`, `weight`, `preview`, or `-` for nothing.
    pub choice: &'a str,
    /// The instance's address.
    pub instance: Option<&'a str>,
    /// What went wrong, if anything did.
    pub error: Option<Failure<'a>>,
    /// As sent; it need not be UTF-8.
    pub user_agent: Option<&'a [u8]>,
}

/// Who failed, and how.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'a> {
    /// `client`, `proxy`, `upstream` or `wake`.
    pub fault: &'a str,
    /// Such as `connect_refused`.
    pub kind: &'a str,
}

impl Entry<'_> {
    /// Appends the line. Every line has every key, with null where there is nothing to say.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        number(out, format_args!("{{\"ts\":\"{}\"", Timestamp(self.at)));
        number(out, format_args!(",\"client\":\"{}\"", self.client));
        text(out, ",\"protocol\":", Some(self.protocol));
        text(out, ",\"method\":", Some(self.method));
        text(out, ",\"host\":", Some(self.host));
        text(out, ",\"path\":", Some(self.path));
        text(out, ",\"query\":", self.query);
        match self.status {
            Some(status) => number(out, format_args!(",\"status\":{status}")),
            None => out.extend(b",\"status\":null"),
        }
        number(out, format_args!(",\"bytes_in\":{},\"bytes_out\":{}", self.bytes_in, self.bytes_out));
        let micros = self.elapsed.as_micros();
        number(out, format_args!(",\"duration_ms\":{}.{:03}", micros / 1_000, micros % 1_000));
        text(out, ",\"service\":", self.service);
        text(out, ",\"version\":", self.version);
        text(out, ",\"choice\":", Some(self.choice));
        text(out, ",\"instance\":", self.instance);
        match self.error {
            Some(failure) => {
                text(out, ",\"error\":{\"fault\":", Some(failure.fault));
                text(out, ",\"kind\":", Some(failure.kind));
                out.push(b'}');
            }
            None => out.extend(b",\"error\":null"),
        }
        bytes(out, ",\"user_agent\":", self.user_agent);
        out.extend(b"}\n");
    }
}

fn number(out: &mut Vec<u8>, number: std::fmt::Arguments<'_>) {
    out.write_fmt(number).expect("a Vec takes all that is written to it");
}

fn text(out: &mut Vec<u8>, key: &str, value: Option<&str>) {
    bytes(out, key, value.map(str::as_bytes));
}

fn bytes(out: &mut Vec<u8>, key: &str, value: Option<&[u8]>) {
    out.extend(key.as_bytes());
    let Some(value) = value else {
        out.extend(b"null");
        return;
    };
    out.push(b'"');
    for chunk in value[..value.len().min(LONGEST)].utf8_chunks() {
        escape(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend("\u{fffd}".as_bytes());
        }
    }
    if value.len() > LONGEST {
        out.extend("…".as_bytes());
    }
    out.push(b'"');
}

/// As JSON asks (RFC 8259, section 7), and the other control characters too: people look at logs in terminals.
fn escape(out: &mut Vec<u8>, text: &str) {
    for char in text.chars() {
        match char {
            '"' => out.extend(b"\\\""),
            '\\' => out.extend(b"\\\\"),
            char if char.is_control() => number(out, format_args!("\\u{:04x}", u32::from(char))),
            char => out.extend(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn plain() -> Entry<'static> {
        Entry {
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_735_689_599_042),
            elapsed: Duration::from_micros(1_002_003),
            client: "2001:db8::1".parse().unwrap(),
            protocol: "HTTP/1.1",
            method: "POST",
            host: "shop.localhost",
            path: "/cart",
            query: Some("a=1&b=2"),
            status: Some(502),
            bytes_in: 5,
            bytes_out: 120,
            service: Some("shop"),
            version: Some("shop-001"),
            choice: "weight",
            instance: Some("127.0.0.1:20000"),
            error: Some(Failure { fault: "upstream", kind: "connect_refused" }),
            user_agent: Some(b"curl/8"),
        }
    }

    fn line(entry: &Entry<'_>) -> Value {
        let mut out = Vec::new();
        entry.write(&mut out);
        assert_eq!(out.iter().filter(|&&byte| byte == b'\n').count(), 1);
        assert!(out.ends_with(b"}\n"));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn says_all_there_is_to_say() {
        let expected = json!({
            "ts": "2024-12-31T23:59:59.042Z", "client": "2001:db8::1", "protocol": "HTTP/1.1", "method": "POST",
            "host": "shop.localhost", "path": "/cart", "query": "a=1&b=2", "status": 502, "bytes_in": 5, "bytes_out": 120,
            "duration_ms": 1002.003, "service": "shop", "version": "shop-001", "choice": "weight",
            "instance": "127.0.0.1:20000", "error": {"fault": "upstream", "kind": "connect_refused"}, "user_agent": "curl/8",
        });
        assert_eq!(line(&plain()), expected);
    }

    #[test]
    fn has_every_key_when_there_is_little_to_say() {
        let little = Entry {
            query: None,
            status: None,
            service: None,
            version: None,
            choice: "-",
            instance: None,
            error: None,
            user_agent: None,
            ..plain()
        };
        let (little, all) = (line(&little), line(&plain()));
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&little), keys(&all));
        assert_eq!(little["status"], Value::Null);
        assert_eq!(little["error"], Value::Null);
    }

    #[test]
    fn evil_input_stays_one_harmless_line() {
        let evil = "\"}\n{\"status\":200}\r\\\u{0}\u{1b}[2J\u{7f}\u{9b}31m\u{2028}é漢🦀";
        let line = line(&Entry { path: evil, user_agent: Some(evil.as_bytes()), ..plain() });
        assert_eq!(line["path"], evil);
        assert_eq!(line["user_agent"], evil);
        let mut raw = Vec::new();
        Entry { path: evil, ..plain() }.write(&mut raw);
        let raw = String::from_utf8(raw).unwrap();
        assert!(!raw.trim_end().chars().any(char::is_control), "{raw:?}");
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let long = "é".repeat(LONGEST);
        let line = line(&Entry { query: Some(&long), ..plain() });
        let query = line["query"].as_str().unwrap();
        assert!(query.len() <= LONGEST + 8 && query.ends_with('…'), "{}", query.len());
    }

    proptest! {
        #[test]
        fn any_bytes_make_a_line_that_parses(agent in proptest::collection::vec(any::<u8>(), 0..200), path in ".*") {
            let line = line(&Entry { path: &path, user_agent: Some(&agent), ..plain() });
            prop_assert_eq!(line["path"].as_str().unwrap(), &path);
            let agent = String::from_utf8_lossy(&agent);
            prop_assert_eq!(line["user_agent"].as_str().unwrap(), &*agent);
        }
    }
}
