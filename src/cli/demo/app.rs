//! What the demo answers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::process::exit;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue, VARY};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio::time::sleep;

use super::body::{self, Body, full};
use super::query::number;
use super::websocket;

const DEMO_VERSION: HeaderName = HeaderName::from_static("x-demo-version");
const DEMO_METHOD: HeaderName = HeaderName::from_static("x-demo-method");
const DEMO_PATH: HeaderName = HeaderName::from_static("x-demo-path");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The most milliseconds to wait for one thing: ten minutes.
const LONGEST: u64 = 600_000;
/// What `/abort` announces, and never sends in full.
const ABORTED_LENGTH: u64 = 1_000_000;

/// The demo, under its version's name.
pub(super) struct App {
    version: String,
    version_header: HeaderValue,
}

/// A response, or the sentence that is the body of a 400.
type Answer = Result<Response<Body>, String>;

impl App {
    pub(super) fn new(version: &str) -> Result<Self, InvalidHeaderValue> {
        Ok(Self { version: version.to_owned(), version_header: HeaderValue::from_str(version)? })
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Answers a request. A WebSocket goes on as a task until `ending` is true.
    pub(super) async fn answer(&self, request: Request<Incoming>, ending: watch::Receiver<bool>) -> Response<Body> {
        let answer = self.route(request, ending).await;
        let mut response = answer.unwrap_or_else(|sentence| text(StatusCode::BAD_REQUEST, format!("{sentence}\n")));
        response.headers_mut().insert(DEMO_VERSION, self.version_header.clone());
        response
    }

    async fn route(&self, request: Request<Incoming>, ending: watch::Receiver<bool>) -> Answer {
        let query = request.uri().query();
        match request.uri().path() {
            "/" => Ok(self.greet(request.headers())),
            "/healthz" => Ok(text(StatusCode::OK, "ok\n")),
            "/slow" => self.slow(query).await,
            "/stream" => stream(query),
            "/bytes" => bytes(query),
            "/echo" => Ok(echo(request)),
            "/headers" => Ok(headers(request.headers())),
            "/fail" => self.fail(query),
            "/abort" => abort(query),
            "/exit" => {
                // As a crash would: without an answer.
                let code = number(query, "code", 1, 0..=255)?;
                exit(i32::try_from(code).expect("bounded above"))
            }
            "/ws" => Ok(websocket::accept(request, ending)),
            _ => Ok(text(StatusCode::NOT_FOUND, "the demo has no such page\n")),
        }
    }

    fn greet(&self, headers: &HeaderMap) -> Response<Body> {
        let wants_html =
            headers.get_all(ACCEPT).iter().any(|accept| accept.as_bytes().windows(9).any(|at| at == b"text/html"));
        let mut response = if wants_html {
            let page = include_str!("page.html").replace("{{hue}}", &self.hue().to_string());
            let page = page.replace("{{version}}", &escape(&self.version));
            typed(StatusCode::OK, HeaderValue::from_static("text/html; charset=utf-8"), page)
        } else {
            text(StatusCode::OK, format!("hello from {}\n", self.version))
        };
        response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
        response
    }

    /// A colour for each version, neighbours far apart (the golden angle).
    fn hue(&self) -> u32 {
        let digits: String = self.version.chars().rev().take_while(char::is_ascii_digit).collect();
        let number: u32 = digits.chars().rev().collect::<String>().parse().unwrap_or(0);
        number.wrapping_mul(137) % 360
    }

    async fn slow(&self, query: Option<&str>) -> Answer {
        let milliseconds = number(query, "ms", 500, 0..=LONGEST)?;
        sleep(Duration::from_millis(milliseconds)).await;
        Ok(text(StatusCode::OK, format!("hello from {} after {milliseconds} ms\n", self.version)))
    }

    fn fail(&self, query: Option<&str>) -> Answer {
        let status = number(query, "status", 500, 400..=599)?;
        let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
        let status = status.expect("400 to 599 are statuses");
        Ok(text(status, format!("{} fails with {status}\n", self.version)))
    }
}

/// `chunks` lines, `ms` apart.
fn stream(query: Option<&str>) -> Answer {
    let chunks = number(query, "chunks", 10, 0..=1_000_000)?;
    let pause = Duration::from_millis(number(query, "ms", 100, 0..=LONGEST)?);
    let (sender, body) = body::channel();
    tokio::spawn(async move {
        for chunk in 1..=chunks {
            // The client has left.
            if sender.send(Ok(format!("chunk {chunk} of {chunks}\n").into())).await.is_err() {
                break;
            }
            if chunk < chunks {
                sleep(pause).await;
            }
        }
    });
    Ok(with_type(Response::new(body), TEXT))
}

/// `n` letters.
fn bytes(query: Option<&str>) -> Answer {
    let length = number(query, "n", 1 << 20, 0..=1 << 40)?;
    Ok(with_type(Response::new(body::alphabet(length)), HeaderValue::from_static("application/octet-stream")))
}

/// The head as text; a body that came with POST, PUT or PATCH as it comes, with method and path in headers.
fn echo(request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut response = if matches!(head.method, Method::POST | Method::PUT | Method::PATCH) {
        let response = Response::new(body.map_err(Into::into).boxed_unsync());
        let octets = HeaderValue::from_static("application/octet-stream");
        with_type(response, head.headers.get(CONTENT_TYPE).cloned().unwrap_or(octets))
    } else {
        let mut lines = format!("{} {path} {:?}\n", head.method, head.version);
        for (name, value) in &head.headers {
            // Writing to a String cannot fail.
            let _infallible = writeln!(lines, "{name}: {}", String::from_utf8_lossy(value.as_bytes()));
        }
        text(StatusCode::OK, lines)
    };
    let value = |text: &str| HeaderValue::from_str(text).expect("what was parsed from a request line fits in a header");
    response.headers_mut().insert(DEMO_METHOD, value(head.method.as_str()));
    response.headers_mut().insert(DEMO_PATH, value(path));
    response
}

/// Each header's name with the list of its values.
fn headers(headers: &HeaderMap) -> Response<Body> {
    let mut all: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        all.entry(name.as_str()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let json = serde_json::to_string_pretty(&all).expect("strings have a JSON form");
    typed(StatusCode::OK, HeaderValue::from_static("application/json"), json + "\n")
}

/// Sends a little of a body, then cuts the connection: `chunked=1` leaves out the last chunk, else most of the length is missing.
fn abort(query: Option<&str>) -> Answer {
    let chunked = number(query, "chunked", 0, 0..=1)? == 1;
    let (sender, body) = if chunked { body::channel() } else { body::channel_of(ABORTED_LENGTH) };
    tokio::spawn(async move {
        if sender.send(Ok(Bytes::from_static(b"the beginning, and no end\n"))).await.is_ok() {
            // hyper drops what it has not flushed when a body fails: let the beginning out first.
            sleep(Duration::from_millis(20)).await;
            // The client has left by itself.
            let _gone = sender.send(Err(io::Error::other("told to abort"))).await;
        }
    });
    Ok(with_type(Response::new(body), TEXT))
}

pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    typed(status, TEXT, body)
}

fn typed(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = with_type(Response::new(full(body)), content_type);
    *response.status_mut() = status;
    response
}

fn with_type(mut response: Response<Body>, content_type: HeaderValue) -> Response<Body> {
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
