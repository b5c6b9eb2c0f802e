//! How a service's traffic is shared: weights, rules, sticky.

use http::{HeaderName, Method};

use super::Check;
use crate::config::decode::nearest;
use crate::config::file::{RuleFile, ServiceFile, StickyFile, Word};
use crate::config::source::Span;
use crate::config::spanned::{Entries, OneOrMany, Spanned};
use crate::model::glob::Pattern;
use crate::model::name::{ServiceName, VersionName};
use crate::model::rule::{Condition, Rule};
use crate::model::service::MAX_VERSIONS;
use crate::model::sticky::Sticky;
use crate::model::weight::{Weight, WeightTable};

/// The versions that a service's file lists, whatever came of them, with the places of their names.
pub(super) struct Listed<'a> {
    pub(super) service: &'a ServiceName,
    pub(super) versions: &'a [(VersionName, Span)],
    /// Whether every name in the list was a good one.
    pub(super) complete: bool,
    /// Those that were not.
    pub(super) misnamed: &'a [String],
}

type Weights = Spanned<Entries<Spanned<f64>>>;

impl Check {
    pub(super) fn weights(&mut self, file: &ServiceFile, listed: &Listed<'_>) -> Option<WeightTable> {
        let versions = listed.versions;
        let Some(weights) = &file.weights else {
            return match versions {
                // Whatever was wrong with it has been noted.
                _ if self.has_key("weights") => None,
                [] => Some(WeightTable::default()),
                [_] => WeightTable::new([Weight::FULL]).ok(),
                [(first, span), ..] => {
                    let message = format!("service {} has {} versions and no weights", listed.service, versions.len());
                    self.error(*span, message, format!("say who gets what: `weights: {{{first}: 100}}`"));
                    None
                }
            };
        };
        if self.shares_of_one(weights, listed.service, "weights") {
            return None;
        }
        let mut table = vec![Weight::ZERO; versions.len()];
        let mut complete = !self.has_error_within(weights.span);
        for (name, percent) in weights.iter() {
            let version = self.listed(name, listed);
            match (version, self.weight(percent)) {
                (Some(version), Some(weight)) => table[version] = weight,
                _ => complete = false,
            }
        }
        if !complete {
            return None;
        }
        self.sum(table, listed.service, weights.span, "weights")
    }

    /// What `rollback` returns to may name versions that are gone; beyond that it is as `weights`.
    pub(super) fn previous_weights(&mut self, file: &ServiceFile, service: &ServiceName) {
        let Some(weights) = &file.previous_weights else { return };
        if self.shares_of_one(weights, service, "previous weights") {
            return;
        }
        let mut table = Vec::new();
        for (name, percent) in weights.iter() {
            if let Err(error) = VersionName::parse(service, name) {
                self.error(name.span, error.to_string(), "take it out");
            }
            table.extend(self.weight(percent));
        }
        if !self.has_error_within(weights.span) {
            self.sum(table, service, weights.span, "previous weights");
        }
    }

    /// Notes weights like 0.9 and 0.1, which were meant as parts of 1.
    fn shares_of_one(&mut self, weights: &Weights, service: &ServiceName, what: &str) -> bool {
        let sum: f64 = weights.iter().map(|(_, weight)| weight.value).sum();
        let all_are_parts = weights.iter().all(|(_, weight)| (0.0..=1.0).contains(&weight.value));
        // A third and its like are written with two decimals or more.
        if weights.is_empty() || !all_are_parts || (sum - 1.0).abs() > 0.011 || self.has_error_within(weights.span) {
            return false;
        }
        let percent = |weight: &Spanned<f64>| (weight.value * 10_000.0).round() / 100.0;
        let shown = weights.iter().take(MAX_VERSIONS);
        let shown: Vec<_> = shown.map(|(name, weight)| format!("{}: {}", name.value, percent(weight))).collect();
        let sum = (sum * 100.0).round() / 100.0;
        let message = format!("{what} of service {service} sum to {sum}, not 100: they are per cent");
        self.error(weights.span, message, format!("write `{{{}}}`", shown.join(", ")));
        true
    }

    fn sum(&mut self, table: Vec<Weight>, service: &ServiceName, span: Span, what: &str) -> Option<WeightTable> {
        match WeightTable::new(table) {
            Ok(table) => Some(table),
            Err(error) => {
                let percent = |hundredths: u32| f64::from(hundredths) / 100.0;
                let full = Weight::FULL.hundredths();
                let cure = if error.hundredths < full {
                    format!("add {} somewhere", percent(full - error.hundredths))
                } else {
                    format!("take {} off somewhere", percent(error.hundredths - full))
                };
                self.error(
                    span,
                    format!("{what} of service {service} sum to {}, not 100", percent(error.hundredths)),
                    cure,
                );
                None
            }
        }
    }

    fn weight(&mut self, percent: &Spanned<f64>) -> Option<Weight> {
        let weight = Weight::from_percent(percent.value);
        if weight.is_none() {
            self.error(
                percent.span,
                format!("{} is not a weight", percent.value),
                "write a percentage from 0 to 100 with at most two decimals",
            );
        }
        weight
    }

    /// The index of a version that the service has.
    fn listed(&mut self, name: &Spanned<String>, listed: &Listed<'_>) -> Option<usize> {
        if let Some(index) = listed.versions.iter().position(|(version, _)| version.as_str() == name.value) {
            return Some(index);
        }
        let names = || listed.versions.iter().map(|(version, _)| version.as_str());
        match VersionName::parse(listed.service, name) {
            // The name itself has been noted where the version stands.
            Err(_) if listed.misnamed.contains(&name.value) => {}
            Err(error) => {
                let near = nearest(name, names()).map(|near| format!("did you mean `{near}`?"));
                self.error(
                    name.span,
                    error.to_string(),
                    near.unwrap_or_else(|| "name one of the versions below".to_owned()),
                );
            }
            Ok(_) if !listed.complete => {}
            Ok(version) => {
                let cure = if listed.versions.is_empty() {
                    format!("add it under `versions`, or take `{version}` out here")
                } else {
                    let all: Vec<_> = names().map(|name| format!("`{name}`")).collect();
                    format!("there are {}", all.join(", "))
                };
                self.error(name.span, format!("service {} has no version `{version}`", listed.service), cure);
            }
        }
        None
    }

    pub(super) fn rules(&mut self, file: &ServiceFile, listed: &Listed<'_>) -> Vec<Rule> {
        file.rules.iter().filter_map(|rule| self.rule(rule, listed)).collect()
    }

    fn rule(&mut self, rule: &Spanned<RuleFile>, listed: &Listed<'_>) -> Option<Rule> {
        let mut conditions = Vec::new();
        for (key, pattern) in rule.query.iter() {
            conditions.push(Condition::Query(key.as_str().into(), Pattern::new(pattern.as_str())));
        }
        for (name, pattern) in rule.header.iter() {
            match name.parse::<HeaderName>() {
                Ok(header) => conditions.push(Condition::Header(header, Pattern::new(pattern.as_str()))),
                Err(_) => {
                    let message = format!("`{}` is not the name of a header", name.value.escape_debug());
                    self.error(name.span, message, "write letters, digits and `-`, like `x-beta`");
                }
            }
        }
        for (name, pattern) in rule.cookie.iter() {
            self.cookie_name(name);
            conditions.push(Condition::Cookie(name.as_str().into(), Pattern::new(pattern.as_str())));
        }
        if let Some(pattern) = &rule.path {
            self.path_pattern(pattern);
            conditions.push(Condition::Path(Pattern::new(pattern.as_str())));
        }
        if let Some(methods) = &rule.method {
            let methods = self.methods(methods);
            if !methods.is_empty() {
                conditions.push(Condition::Method(methods));
            }
        }
        if conditions.is_empty() && !self.has_error_within(rule.span) {
            self.error(
                rule.span,
                "this rule has no condition, so it would take all traffic",
                "add one (`query`, `header`, `cookie`, `path` or `method`), or use `weights`",
            );
        }
        let version = self.listed(&rule.version, listed)?;
        Some(Rule { conditions: conditions.into(), version })
    }

    /// A pattern for paths can fit one.
    pub(super) fn path_pattern(&mut self, pattern: &Spanned<Word>) {
        if !pattern.as_str().starts_with(['/', '*', '?', '\\']) {
            let cure = format!("write `/{}`: paths begin with `/`", pattern.as_str());
            self.error(pattern.span, format!("the path `{}` never fits", pattern.as_str()), cure);
        }
    }

    fn methods(&mut self, methods: &OneOrMany<Spanned<String>>) -> Box<[Method]> {
        let mut all = Vec::new();
        for text in methods.as_slice() {
            match Method::from_bytes(text.as_bytes()) {
                Ok(method) if text.value == text.to_ascii_uppercase() => all.push(method),
                Ok(_) => {
                    let cure = format!("write `{}`: methods are told apart by letter case", text.to_ascii_uppercase());
                    self.error(text.span, format!("the method `{}` never fits", text.value), cure);
                }
                Err(_) => self.error(
                    text.span,
                    format!("`{}` is not a method", text.value.escape_debug()),
                    "write `GET`, `POST` or another",
                ),
            }
        }
        all.into()
    }

    pub(super) fn sticky(&mut self, sticky: Option<&Spanned<StickyFile>>) -> Option<Sticky> {
        let sticky = sticky?;
        let StickyFile { cookie, ttl, header, client } = &sticky.value;
        if let (Some(ttl), None) = (ttl, cookie) {
            self.error(ttl.span, "`ttl` is for cookies", "take it out, or add `cookie: NAME`");
        }
        match (cookie, header, client) {
            (Some(cookie), None, None) => {
                self.cookie_name(cookie);
                Some(Sticky::Cookie { name: cookie.as_str().into(), ttl: ttl.as_ref().map(|ttl| ttl.value.0) })
            }
            (None, Some(header), None) => match header.parse() {
                Ok(name) => Some(Sticky::Header(name)),
                Err(_) => {
                    let message = format!("`{}` is not the name of a header", header.value.escape_debug());
                    self.error(header.span, message, "write letters, digits and `-`, like `x-user`");
                    None
                }
            },
            (None, None, Some(client)) => {
                if !client.value {
                    self.error(
                        client.span,
                        "`client: false` says nothing",
                        "write `client: true`, or take `sticky` out",
                    );
                }
                Some(Sticky::Client)
            }
            _ if self.has_error_within(sticky.span) => None,
            _ => {
                let cure = "write one: `{cookie: NAME, ttl: 1d}`, `{header: NAME}` or `{client: true}`";
                self.error(sticky.span, "`sticky` takes exactly one of `cookie`, `header` and `client`", cure);
                None
            }
        }
    }

    /// A cookie's name is a token (RFC 6265, 4.1.1), as a method is.
    fn cookie_name(&mut self, name: &Spanned<String>) {
        if Method::from_bytes(name.as_bytes()).is_err() {
            let message = format!("`{}` is not the name of a cookie", name.value.escape_debug());
            self.error(name.span, message, "write letters, digits, `-` and `_`");
        }
    }
}
