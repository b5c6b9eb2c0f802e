//! Which version a request would get, and why: the proxy's own choice, walked without moving anything.

use std::fmt;
use std::net::IpAddr;

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::model::choose::{Draw, Reason, choose};
use crate::model::request::RequestView;
use crate::model::route::Target;
use crate::model::service::Service;
use crate::model::snapshot::{Snapshot, contains};
use crate::model::sticky::Sticky;
use crate::model::{host, path};

/// A request as it is asked about.
#[derive(Debug, Clone)]
pub struct Question {
    /// The method.
    pub method: Method,
    /// Absolute; its host is the request's unless a `Host` header says otherwise.
    pub url: Uri,
    /// The headers.
    pub headers: HeaderMap,
    /// The client.
    pub client: IpAddr,
}

/// A question that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    /// Not `http://HOST/PATH`.
    #[error("`{0}` is not a URL such as http://hello.localhost:8080/path")]
    Url(String),
    /// Not `name: value`.
    #[error("`{0}` is not a header such as 'x-beta: yes'")]
    Header(String),
    /// No host.
    #[error("`{0}` is not a host")]
    Host(String),
}

/// What would happen.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// An answer of the proxy's own.
    Answer {
        /// Its status.
        status: u16,
        /// Why.
        why: String,
    },
    /// One version for certain.
    Version {
        /// Its name.
        version: String,
        /// Why this one.
        why: String,
    },
    /// One of several, by weight.
    Weighted {
        /// Names and percentages, those above 0.
        odds: Vec<(String, f64)>,
        /// What decides between them.
        why: String,
    },
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The service that was found.
    pub service: Option<String>,
    /// Host, path and query as they are looked at.
    pub route: String,
    /// The path that the backend would see.
    pub forwarded_path: Option<String>,
    /// What would happen.
    pub outcome: Outcome,
}

impl Question {
    /// From what is typed: a URL, headers as `name: value`, cookies as `name=value`.
    pub fn parse(
        url: &str,
        method: Method,
        headers: &[String],
        cookies: &[String],
        client: IpAddr,
    ) -> Result<Self, QuestionError> {
        let absolute = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let parsed: Uri = absolute.parse().map_err(|_| QuestionError::Url(url.to_owned()))?;
        if parsed.authority().is_none() {
            return Err(QuestionError::Url(url.to_owned()));
        }
        let mut map = HeaderMap::new();
        for header in headers {
            let bad = || QuestionError::Header(header.clone());
            let (name, value) = header.split_once(':').ok_or_else(bad)?;
            let name = HeaderName::try_from(name.trim()).map_err(|_| bad())?;
            map.append(name, HeaderValue::try_from(value.trim()).map_err(|_| bad())?);
        }
        for cookie in cookies {
            let value = HeaderValue::try_from(cookie).map_err(|_| QuestionError::Header(cookie.clone()))?;
            map.append(http::header::COOKIE, value);
        }
        Ok(Self { method, url: parsed, headers: map, client })
    }
}

/// Follows a request through a snapshot.
pub fn explain(snapshot: &Snapshot, question: &Question) -> Result<Explanation, QuestionError> {
    let of_url = question.url.authority().map_or("", http::uri::Authority::as_str);
    let authority = question.headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or(of_url);
    let host = host::normalise(authority).ok_or_else(|| QuestionError::Host(authority.to_owned()))?;
    let path = path::normalise(question.url.path());
    let query = question.url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let route = format!("{host}{path}{query}");
    let Some(found) = snapshot.route(&host, &path, question.client) else {
        let why = if snapshot.knows_host(&host) {
            format!("{host} is known, but nothing on it is for {path}, or not for {}", question.client)
        } else {
            format!("no service has the host {host}")
        };
        let outcome = Outcome::Answer { status: 404, why };
        return Ok(Explanation { service: None, route, forwarded_path: None, outcome });
    };
    let service = &snapshot.services[found.target.service()];
    let forwarded = found.strip.map_or(&*path, |prefix| prefix.strip(&path)).to_owned();
    let view = RequestView {
        method: &question.method,
        host: &host,
        path: &path,
        query: question.url.query(),
        headers: &question.headers,
        client: question.client,
    };
    let outcome = outcome(service, found.target, &view, question);
    let goes_on = !matches!(outcome, Outcome::Answer { .. });
    Ok(Explanation {
        service: Some(service.name.to_string()),
        route,
        forwarded_path: goes_on.then_some(forwarded),
        outcome,
    })
}

fn outcome(service: &Service, target: Target, view: &RequestView<'_>, question: &Question) -> Outcome {
    let answer = |status: u16, why: String| Outcome::Answer { status, why };
    let policy = &service.policy;
    if policy.allow.as_ref().is_some_and(|allow| !contains(allow, view.client)) {
        return answer(403, format!("{} is not in `allow`", view.client));
    }
    if policy.maintenance.is_some() {
        return answer(503, "the service is in `maintenance`".to_owned());
    }
    if let Some(redirect) = &policy.redirect {
        let location = redirect.location(question.url.path(), question.url.query());
        return answer(redirect.status.as_u16(), format!("the service has a `redirect` to {location}"));
    }
    let name = |version: usize| service.versions[version].name.to_string();
    if let Target::Preview { version, .. } = target {
        return Outcome::Version { version: name(version), why: "it is the version's preview domain".to_owned() };
    }
    let mut draw = Untouched;
    let Ok(choice) = choose(service, view, &mut draw) else {
        return answer(503, "all weights are 0".to_owned());
    };
    match choice.reason {
        Reason::Rule(rule) => {
            let why = format!("rule {} holds: {}", rule + 1, service.rules[rule]);
            Outcome::Version { version: name(choice.version), why }
        }
        Reason::Sticky { issue: None } => {
            let what = match &service.sticky {
                Some(Sticky::Cookie { name, .. }) => format!("the client's cookie `{name}` keeps it there"),
                Some(Sticky::Header(name)) => format!("the header `{name}` keeps it there"),
                _ => format!("the client's address {} keeps it there", view.client),
            };
            Outcome::Version { version: name(choice.version), why: what }
        }
        Reason::Sticky { issue: Some(_) } => by_weight(service, "a new sticky client, who then stays"),
        Reason::Weight | Reason::Preview => by_weight(service, "no rule holds, so the weights decide"),
    }
}

fn by_weight(service: &Service, why: &str) -> Outcome {
    let odds: Vec<(String, f64)> = service
        .versions
        .iter()
        .zip(service.weights.iter())
        .filter(|(_, weight)| !weight.is_zero())
        .map(|(version, weight)| (version.name.to_string(), weight.percent()))
        .collect();
    match &odds[..] {
        [(only, _)] => Outcome::Version { version: only.clone(), why: "it has all the weight".to_owned() },
        _ => Outcome::Weighted { odds, why: why.to_owned() },
    }
}

/// Draws that belong to nobody: the cursor of the server is not moved.
struct Untouched;

impl Draw for Untouched {
    fn next_weighted(&mut self) -> u64 {
        0
    }

    fn random(&mut self) -> u64 {
        0
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "request   {}", self.route)?;
        writeln!(f, "service   {}", self.service.as_deref().unwrap_or("none"))?;
        match &self.outcome {
            Outcome::Answer { status, why } => writeln!(f, "answer    {status}: {why}")?,
            Outcome::Version { version, why } => writeln!(f, "version   {version}\nbecause   {why}")?,
            Outcome::Weighted { odds, why } => {
                for (index, (version, percent)) in odds.iter().enumerate() {
                    let label = if index == 0 { "version" } else { "or" };
                    writeln!(f, "{label:<9} {version}  {percent}%")?;
                }
                writeln!(f, "because   {why}")?;
            }
        }
        match &self.forwarded_path {
            Some(path) => writeln!(f, "forwards  {path}"),
            None => Ok(()),
        }
    }
}
