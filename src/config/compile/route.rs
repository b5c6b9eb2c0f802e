//! Hosts and paths that a service claims.

use std::collections::HashMap;

use super::Check;
use crate::config::diagnostic::{Diagnostic, Label};
use crate::config::file::{RouteFile, ServiceFile};
use crate::config::source::Span;
use crate::config::spanned::Spanned;
use crate::model::host::HostPattern;
use crate::model::path::PathPrefix;
use crate::model::route::Route;

impl Check {
    /// The routes, each with its place.
    pub(super) fn routes(&mut self, file: &ServiceFile) -> Vec<(Route, Span)> {
        let mut routes: Vec<(Route, Span)> = Vec::new();
        let mut claimed = HashMap::new();
        for domain in &file.domains {
            if let Some(host) = self.host(domain) {
                let route = Route { host, path: PathPrefix::root(), strip: false };
                if self.claim(&mut claimed, &route, domain.span) {
                    routes.push((route, domain.span));
                }
            }
        }
        for route in &file.routes {
            let RouteFile { host, path, strip } = &route.value;
            let pattern = self.host(host);
            let prefix = match path {
                Some(path) => self.prefix(path),
                None => Some(PathPrefix::root()),
            };
            if *strip && prefix.as_ref().is_some_and(PathPrefix::is_empty) {
                self.error(route.span, "`strip` has no prefix to take off", "add `path: /shop`, or take `strip` out");
            }
            if let (Some(pattern), Some(path)) = (pattern, prefix) {
                let route = Route { host: pattern, path, strip: *strip };
                if self.claim(&mut claimed, &route, host.span) {
                    routes.push((route, host.span));
                }
            }
        }
        routes
    }

    /// Whether the service has not claimed this before.
    fn claim(&mut self, claimed: &mut HashMap<(HostPattern, PathPrefix), Span>, route: &Route, span: Span) -> bool {
        let first = *claimed.entry((route.host.clone(), route.path.clone())).or_insert(span);
        if first != span {
            let message = format!("`{}{}` is claimed twice", route.host, route.path);
            self.note(
                Diagnostic::error(message, Label::at(&self.source, span).text("again here"))
                    .also(Label::at(&self.source, first).text("first here"))
                    .help("keep one of them"),
            );
        }
        first == span
    }

    fn host(&mut self, text: &Spanned<String>) -> Option<HostPattern> {
        match HostPattern::parse(text) {
            Ok(host) => Some(host),
            Err(error) => {
                self.error(
                    text.span,
                    error.to_string(),
                    "write a host like `shop.example.com`, or `*.shop.example.com` for all one label below",
                );
                None
            }
        }
    }

    fn prefix(&mut self, text: &Spanned<String>) -> Option<PathPrefix> {
        match PathPrefix::parse(text) {
            Ok(prefix) => {
                if let Some((before, _)) = text.split_once('*') {
                    let cure = match before.trim_end_matches('/') {
                        "" => "take `path` out: without it all paths are the service's".to_owned(),
                        before => format!("write `{before}`: a path is a prefix anyway"),
                    };
                    self.warning(text.span, "`*` stands for itself here", cure);
                }
                Some(prefix)
            }
            Err(error) => {
                let cure = if text.starts_with('/') {
                    "write a path like `/shop`".to_owned()
                } else {
                    format!("write `/{}`", text.value)
                };
                self.error(text.span, error.to_string(), cure);
                None
            }
        }
    }
}
