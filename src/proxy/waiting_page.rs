//! What a browser sees while a version comes up: a page that refreshes itself, instead of a blank one.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, REFRESH, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::answer::{PROXY_STATUS, escape};
use super::body::ResponseBody;
use crate::lifecycle::unit::{State, Unit};
use crate::model::policy::WaitingPage;

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

/// The page where a service has none of its own.
const PAGE: &str = include_str!("waiting_page.html");

/// The longest time between two looks at a version that comes up, in seconds: it may be there sooner than usual.
const LONGEST_REFRESH: u64 = 5;

/// Whether a person waits for a page: browsers say so (Fetch Metadata), and older ones ask for HTML by name, other than scripts.
#[must_use]
pub fn is_navigation(parts: &Parts) -> bool {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return false;
    }
    match parts.headers.get(SEC_FETCH_MODE) {
        Some(mode) => mode == "navigate",
        None => takes_html(&parts.headers) && !parts.headers.contains_key(X_REQUESTED_WITH),
    }
}

fn takes_html(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = accept.flat_map(|value| value.split(','));
    ranges.any(|range| range.split(';').next().is_some_and(|range| range.trim().eq_ignore_ascii_case("text/html")))
}

/// The page as it is now, for a version that has been knocked at.
#[must_use]
pub fn answer(page: &WaitingPage, service: &str, unit: &Unit) -> Response<ResponseBody> {
    let (elapsed, typical) = unit.with_wakes(|wakes| (wakes.elapsed().unwrap_or_default(), wakes.typical()));
    let progress = Progress { elapsed, typical, state: unit.state() };
    let body = progress.render(page, service, unit.name().as_str());
    let mut response = Response::new(ResponseBody::full(Bytes::from(body)));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let (headers, refresh) = (response.headers_mut(), HeaderValue::from(progress.refresh()));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(RETRY_AFTER, refresh.clone());
    headers.insert(REFRESH, refresh);
    let status = HeaderValue::from_static("tidegate; error=destination_unavailable; fault=wake");
    headers.insert(PROXY_STATUS, status);
    response
}

/// How far a version has come.
struct Progress {
    elapsed: Duration,
    /// What a start takes, if any is known.
    typical: Option<Duration>,
    state: State,
}

impl Progress {
    /// When to look again, in seconds: when it should be there, or when it is tried again.
    fn refresh(&self) -> u64 {
        match self.state {
            State::Failed { retry_in, .. } => seconds(retry_in).max(1),
            _ => seconds(self.typical.unwrap_or_default().saturating_sub(self.elapsed)).clamp(1, LONGEST_REFRESH),
        }
    }

    fn render(&self, page: &WaitingPage, service: &str, version: &str) -> String {
        let title = page.title.as_deref().unwrap_or(service);
        let (elapsed, expected) = (self.elapsed.as_secs(), self.typical.map(seconds));
        let value = |name: &str| {
            Some(match name {
                "title" => escape(title),
                "service" => escape(service),
                "version" => escape(version),
                "elapsed" => elapsed.to_string(),
                "expected" => expected.unwrap_or(1).to_string(),
                "message" if page.template.is_none() => escape(&self.message(service)),
                "progress" if page.template.is_none() => self.bar(),
                _ => return None,
            })
        };
        fill(page.template.as_deref().unwrap_or(PAGE), value)
    }

    fn message(&self, service: &str) -> String {
        let elapsed = self.elapsed.as_secs();
        let starting = match elapsed {
            0 => format!("{service} is starting"),
            _ => format!("{service} has been starting for {}", so_many(elapsed)),
        };
        match (&self.state, self.typical.map(seconds)) {
            (State::Failed { .. }, _) => {
                format!("{service} could not be started. It is tried again in {}.", so_many(self.refresh()))
            }
            (_, Some(expected)) => format!("{starting}, which usually takes about {}.", so_many(expected)),
            (_, None) => format!("{starting}."),
        }
    }

    fn bar(&self) -> String {
        match (&self.state, self.typical) {
            (State::Failed { .. }, _) => String::new(),
            (_, None) => "<progress aria-label=\"Starting\"></progress>".to_owned(),
            (_, Some(expected)) => {
                let (all, past) = (expected.as_millis().max(1), self.elapsed.as_millis());
                format!("<progress aria-label=\"Starting\" max=\"{all}\" value=\"{}\"></progress>", past.min(all))
            }
        }
    }
}

/// In whole seconds, begun ones counting.
fn seconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
}

fn so_many(seconds: u64) -> String {
    if seconds == 1 { "1 second".to_owned() } else { format!("{seconds} seconds") }
}

/// Puts values into a template, in one pass: what a value contains is not looked at again. Names without a value stay.
fn fill(template: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let (mut filled, mut rest) = (String::with_capacity(template.len() + 256), template);
    while let Some(at) = rest.find("{{") {
        let (before, from) = rest.split_at(at);
        filled.push_str(before);
        let name = from[2..].find("}}").map(|end| &from[2..2 + end]);
        match name.and_then(|name| Some((name, value(name.trim())?))) {
            Some((name, value)) => {
                filled.push_str(&value);
                rest = &from[name.len() + 4..];
            }
            None => {
                filled.push_str("{{");
                rest = &from[2..];
            }
        }
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn navigates(method: &str, headers: &[(&'static str, &'static str)]) -> bool {
        let mut request = http::Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        is_navigation(&request.body(()).expect("a request").into_parts().0)
    }

    #[test]
    fn only_a_person_who_waits_for_a_page_gets_one() {
        let html = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
        assert!(navigates("GET", &[html]) && navigates("HEAD", &[html]));
        assert!(navigates("GET", &[("sec-fetch-mode", "navigate")]));
        assert!(!navigates("GET", &[]) && !navigates("GET", &[("accept", "*/*")]) && !navigates("POST", &[html]));
        assert!(!navigates("GET", &[html, ("sec-fetch-mode", "cors")]));
        assert!(!navigates("GET", &[html, ("x-requested-with", "XMLHttpRequest")]));
        assert!(!navigates("GET", &[("accept", "application/json, text/htmlx")]));
    }

    #[test]
    fn values_are_escaped_and_not_looked_at_again() {
        let page = WaitingPage {
            title: Some("<b>{{version}}".into()),
            template: Some("{{title}}|{{ service }}|{{version}}|{{elapsed}}/{{expected}}|{{other}}|{{".into()),
        };
        let (elapsed, typical) = (Duration::from_millis(2_900), Some(Duration::from_millis(7_100)));
        let progress = Progress { elapsed, typical, state: State::Starting };
        let text = progress.render(&page, "a'b", "shop-001");
        assert_eq!(text, "&lt;b&gt;{{version}}|a&#39;b|shop-001|2/8|{{other}}|{{");
        assert_eq!(progress.refresh(), 5);
    }

    #[test]
    fn the_page_says_how_long_and_that_it_failed() {
        let render = |elapsed, typical: Option<u64>, state| {
            let (elapsed, typical) = (Duration::from_secs(elapsed), typical.map(Duration::from_secs));
            let progress = Progress { elapsed, typical, state };
            (progress.render(&WaitingPage::default(), "shop", "shop-001"), progress.refresh())
        };
        let (page, refresh) = render(1, Some(3), State::Starting);
        assert!(page.contains("shop has been starting for 1 second, which usually takes about 3 seconds."), "{page}");
        assert!(page.contains("max=\"3000\" value=\"1000\"") && !page.contains("{{"), "{page}");
        assert_eq!(refresh, 2);
        let (page, refresh) = render(0, None, State::Starting);
        assert!(page.contains("shop is starting."), "{page}");
        assert_eq!(refresh, 1);
        let failed = State::Failed { why: "secret".into(), retry_in: Duration::from_millis(7_500) };
        let (page, refresh) = render(0, Some(3), failed);
        assert!(page.contains("could not be started. It is tried again in 8 seconds."), "{page}");
        assert!(!page.contains("secret") && !page.contains("<progress"), "{page}");
        assert_eq!(refresh, 8);
    }
}
