//! Paths and what answers them.

use std::{collections::BTreeMap, pin::Pin};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde::Serialize;
use serde_json::json;

use crate::model::request::query_values;

/// A request whose body has come.
#[derive(Debug, Clone)]
pub struct Request {
    /// `HEAD` comes as `GET`.
    pub method: Method,
    /// Without the query.
    pub path: String,
    /// Without the question mark.
    pub query: Option<String>,
    /// As sent.
    pub headers: HeaderMap,
    /// At most 1 MiB.
    pub body: Bytes,
}

impl Request {
    /// A parameter of the query, decoded.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<String> {
        query_values(self.query.as_deref()?, name).next().map(Into::into)
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// Its body.
    pub body: Bytes,
}

impl Response {
    /// 200 with JSON.
    #[must_use]
    pub fn json(value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self { status: StatusCode::OK, content_type: "application/json", body: body.into() },
            Err(error) => Self::error(StatusCode::INTERNAL_SERVER_ERROR, "not_json", &error.to_string()),
        }
    }

    /// 200 with text of some type.
    #[must_use]
    pub fn text(content_type: &'static str, text: String) -> Self {
        Self { status: StatusCode::OK, content_type, body: text.into() }
    }

    /// `{"error": {"code": ..., "message": ...}}`; `code` is for programs, `message` for people.
    #[must_use]
    pub fn error(status: StatusCode, code: &str, message: &str) -> Self {
        let body = json!({"error": {"code": code, "message": message}}).to_string();
        Self { status, content_type: "application/json", body: body.into() }
    }

    /// With another status.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }
}

type Answer = Pin<Box<dyn Future<Output = Response>>>;
type Handler = Box<dyn Fn(Request) -> Answer>;

/// Exact paths with a handler per method. Handlers run on the control thread. `GET` must change nothing: on the port it needs no
/// token.
#[derive(Default)]
pub struct Router {
    routes: BTreeMap<&'static str, Vec<(Method, Handler)>>,
}

impl Router {
    /// No paths yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers `GET` (and `HEAD`) of `path`.
    #[must_use]
    pub fn get<F: Future<Output = Response> + 'static>(
        self,
        path: &'static str,
        handler: impl Fn(Request) -> F + 'static,
    ) -> Self {
        self.on(Method::GET, path, handler)
    }

    /// Answers `POST` of `path`.
    #[must_use]
    pub fn post<F: Future<Output = Response> + 'static>(
        self,
        path: &'static str,
        handler: impl Fn(Request) -> F + 'static,
    ) -> Self {
        self.on(Method::POST, path, handler)
    }

    fn on<F: Future<Output = Response> + 'static>(
        mut self,
        method: Method,
        path: &'static str,
        handler: impl Fn(Request) -> F + 'static,
    ) -> Self {
        let handler: Handler = Box::new(move |request| Box::pin(handler(request)));
        self.routes.entry(path).or_default().push((method, handler));
        self
    }

    /// The answer, which for an unknown path or method names those that there are.
    pub async fn answer(&self, request: Request) -> Response {
        let Some(methods) = self.routes.get(request.path.as_str()) else {
            let known: Vec<_> = self.routes.keys().copied().collect();
            let message = format!("there is no such path; there are {}", known.join(", "));
            return Response::error(StatusCode::NOT_FOUND, "not_found", &message);
        };
        let Some((_, handler)) = methods.iter().find(|(method, _)| *method == request.method) else {
            let known: Vec<_> = methods.iter().map(|(method, _)| method.as_str()).collect();
            let message = format!("{} takes {}, not {}", request.path, known.join(", "), request.method);
            return Response::error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &message);
        };
        handler(request).await
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.routes.keys()).finish()
    }
}
