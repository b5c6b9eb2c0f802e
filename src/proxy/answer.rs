//! Answers of the proxy itself: errors, redirects, maintenance.

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::body::ResponseBody;
use super::error::ProxyError;

/// Says who failed (RFC 9209).
pub const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The answer to a request that could not be served, in the form that it accepts.
#[must_use]
pub fn error(error: &ProxyError, request: &HeaderMap) -> Response<ResponseBody> {
    let status = error.status();
    let (content_type, body) = match preferred(request) {
        Form::Text => ("text/plain; charset=utf-8", text(status, error)),
        Form::Html => ("text/html; charset=utf-8", html(status, error)),
        Form::Json => ("application/json", json(status, error)),
    };
    let mut response = Response::new(ResponseBody::full(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(value) = HeaderValue::try_from(proxy_status(error)) {
        headers.insert(PROXY_STATUS, value);
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        // The answer has to name methods (RFC 9110, 15.5.6); these nearly every service knows.
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    if let Some(seconds) = error.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// What an authority wants to see of a host before it signs (RFC 8555, 8.3).
#[must_use]
pub fn proof(text: &str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(Bytes::from(text.to_owned())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}

/// Whether whoever asks speaks gRPC, and so takes errors only in its own form.
#[must_use]
pub fn is_grpc(request: &HeaderMap) -> bool {
    let content_type = request.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    // Not `application/grpc-web`, which is for browsers and knows no such answers.
    content_type.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The same to who speaks gRPC: an answer that consists of trailers alone (gRPC over HTTP/2, "Responses").
#[must_use]
pub fn grpc_error(error: &ProxyError) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(error.grpc_status()));
    if let Ok(message) = HeaderValue::try_from(percent_encoded(&error.to_string())) {
        headers.insert(GRPC_MESSAGE, message);
    }
    if let Ok(value) = HeaderValue::try_from(proxy_status(error)) {
        headers.insert(PROXY_STATUS, value);
    }
    response
}

/// As `grpc-message` has it: what is not printable ASCII, and `%` itself.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}

fn proxy_status(error: &ProxyError) -> String {
    format!("tidegate; error={}; fault={}", error.kind(), error.fault())
}

/// A redirect; `None` where the location is no header value.
#[must_use]
pub fn redirect(status: StatusCode, location: &str) -> Option<Response<ResponseBody>> {
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(LOCATION, HeaderValue::try_from(location).ok()?);
    Some(response)
}

enum Form {
    Text,
    Html,
    Json,
}

/// What `Accept` names first of the forms there are; text where it names none, as curl's `*/*` does.
fn preferred(request: &HeaderMap) -> Form {
    let accept = request.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in accept.flat_map(|value| value.split(',')) {
        match range.split(';').next().unwrap_or_default().trim() {
            "text/html" | "application/xhtml+xml" => return Form::Html,
            "application/json" => return Form::Json,
            "text/plain" => return Form::Text,
            _ => {}
        }
    }
    Form::Text
}

fn text(status: StatusCode, error: &ProxyError) -> String {
    format!("{} {}: {error}\n", status.as_u16(), status.canonical_reason().unwrap_or_default())
}

fn json(status: StatusCode, error: &ProxyError) -> String {
    let body = serde_json::json!({
        "status": status.as_u16(),
        "error": error.kind(),
        "fault": error.fault().as_str(),
        "message": error.to_string(),
    });
    format!("{body}\n")
}

fn html(status: StatusCode, error: &ProxyError) -> String {
    let reason = status.canonical_reason().unwrap_or_default();
    let message = escape(&error.to_string());
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{code} {reason}</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;margin:15vh auto;max-width:32rem;padding:0 1rem;\
         color:#1d2733;background:#fff}}h1{{font-size:1.5rem}}p{{color:#4a5866}}\
         @media(prefers-color-scheme:dark){{body{{color:#e6ebf0;background:#12181f}}p{{color:#9fb0c0}}}}</style></head>\
         <body><h1>{code} {reason}</h1><p>{message}</p></body></html>\n",
        code = status.as_u16(),
    )
}

/// For HTML, also between quotes.
#[must_use]
pub fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_follows_accept() {
        for (accept, content_type) in [
            ("*/*", "text/plain; charset=utf-8"),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html; charset=utf-8"),
            ("application/json", "application/json"),
            ("application/json, text/html;q=0.5", "application/json"),
            ("image/png", "text/plain; charset=utf-8"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            let response = error(&ProxyError::NoService, &headers);
            assert_eq!(response.headers()[CONTENT_TYPE], content_type, "{accept}");
            assert_eq!(response.headers()[PROXY_STATUS], "tidegate; error=destination_not_found; fault=client");
        }
    }

    #[test]
    fn who_speaks_grpc_is_told_in_trailers() {
        for (content_type, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("text/html", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            assert_eq!(is_grpc(&headers), grpc, "{content_type}");
        }
        let response = grpc_error(&ProxyError::Maintenance { message: "bis später, 100%".into(), retry_after: None });
        assert_eq!(
            (response.status(), &response.headers()[GRPC_STATUS]),
            (StatusCode::OK, &"14".parse().expect("a value"))
        );
        assert_eq!(response.headers()[GRPC_MESSAGE], "bis sp%C3%A4ter, 100%25");
    }

    #[test]
    fn a_message_cannot_break_out_of_the_page() {
        let error = ProxyError::Maintenance { message: "<script>&".into(), retry_after: None };
        assert!(html(StatusCode::SERVICE_UNAVAILABLE, &error).contains("<p>&lt;script&gt;&amp;</p>"));
    }
}
