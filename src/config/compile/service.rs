//! services/NAME.yaml to a service.

use super::identity::{Identity, Known, next_name};
use super::traffic::Listed;
use super::{Check, Defaults};
use crate::config::diagnostic::{Diagnostic, Label};
use crate::config::file::ServiceFile;
use crate::config::source::Span;
use crate::model::name::{MAX_VERSION_NUMBER, NameError, ServiceName, VersionName};
use crate::model::schedule::Schedule;
use crate::model::service::{MAX_VERSIONS, Service};
use crate::model::version::Version;

/// A service, and where its file claims its routes.
pub(crate) struct CompiledService {
    pub(crate) service: Service,
    /// By index of the route.
    pub(crate) route_places: Vec<Span>,
}

/// Checks a service's file. `None` if it has errors.
pub(crate) fn service(
    check: &mut Check,
    name: &ServiceName,
    file: &ServiceFile,
    defaults: &Defaults,
    known: Known<'_>,
) -> Option<CompiledService> {
    let Names { listed, misnamed, complete } = version_names(check, name);
    last_version(check, file, &listed);
    let versions = versions(check, name, file, &listed, defaults, known);
    let listed = Listed { service: name, versions: &listed, complete, misnamed: &misnamed };
    let weights = check.weights(file, &listed);
    check.previous_weights(file, name);
    let rules = check.rules(file, &listed);
    let sticky = check.sticky(file.sticky.as_ref());
    let routes = check.routes(file);
    let tls = check.tls(file.tls.as_ref());
    let policy = check.policy(file, defaults);
    if listed.versions.is_empty()
        && complete
        && policy.redirect.is_none()
        && policy.maintenance.is_none()
        && !check.has_errors()
    {
        let whole = Label { span: None, ..Label::at(&check.source, Span::default()) };
        check.note(
            Diagnostic::error(format!("service {name} has no version"), whole)
                .help(format!("add one: `versions: {{{name}-001: {{urls: [\"http://127.0.0.1:3000\"]}}}}`; only with `redirect` or `maintenance` can it do without")),
        );
    }
    if check.has_errors() {
        return None;
    }
    let weights = weights?;
    let (routes, route_places): (Vec<_>, Vec<_>) = routes.into_iter().unzip();
    let service = Service {
        name: name.clone(),
        routes: routes.into(),
        tls,
        versions: versions.into(),
        schedule: Schedule::of(&weights),
        weights,
        rules: rules.into(),
        sticky,
        policy,
    };
    Some(CompiledService { service, route_places })
}

/// The names under `versions`.
struct Names {
    /// By number, whatever came of their values.
    listed: Vec<(VersionName, Span)>,
    /// Those that are no names of this service's versions.
    misnamed: Vec<String>,
    /// Whether all are listed.
    complete: bool,
}

fn version_names(check: &mut Check, service: &ServiceName) -> Names {
    let (mut listed, mut misnamed) = (Vec::new(), Vec::new());
    let keys = check.keys_under("versions");
    let count = keys.len();
    let mut removed: Option<ServiceName> = None;
    for (index, (text, span)) in keys.into_iter().enumerate() {
        if index == MAX_VERSIONS {
            let message = format!("`{text}` is one version too many: a service has at most {MAX_VERSIONS}");
            check.error(span, message, format!("take out versions without traffic; there are {count}"));
            break;
        }
        match VersionName::parse(service, &text) {
            Ok(name) => listed.push((name, span)),
            Err(error) => {
                let renamed = renamed_from(check, &error);
                // What holds for one of its versions holds for all.
                if renamed.is_none() || renamed.as_ref().map(|(old, _)| old) != removed.as_ref() {
                    let cure = match &renamed {
                        Some((old, number)) => format!(
                            "the names of versions follow the file's: rename it to `{service}-{number}`, also under `weights` and `rules`; if \
                             this file was `{old}.yaml`, service {old} was removed with that file, and its hosts are not served"
                        ),
                        None => format!("name it `{service}-` and a number of three digits or more"),
                    };
                    check.error(span, error.to_string(), cure);
                }
                removed = renamed.map(|(old, _)| old).or(removed);
                misnamed.push(text);
            }
        }
    }
    let complete = listed.len() == count;
    listed.sort_by_key(|(version, _)| version.number());
    Names { listed, misnamed, complete }
}

/// The service whose file this one was, it seems, and the number of its version: the version has its name, and it has no file.
fn renamed_from(check: &Check, error: &NameError) -> Option<(ServiceName, String)> {
    let NameError::OtherService { found, .. } = error else { return None };
    let (old, number) = found.rsplit_once('-')?;
    let old = ServiceName::new(old).ok()?;
    (!check.folder().join(format!("{old}.yaml")).exists()).then(|| (old, number.to_owned()))
}

fn last_version(check: &mut Check, file: &ServiceFile, listed: &[(VersionName, Span)]) {
    let Some(last) = &file.last_version else { return };
    if last.value > MAX_VERSION_NUMBER {
        let cure = format!("numbers go up to {MAX_VERSION_NUMBER}");
        check.error(last.span, format!("`last_version` is out of range: {}", last.value), cure);
        return;
    }
    if let Some((largest, _)) = listed.iter().max_by_key(|(version, _)| version.number())
        && last.value < largest.number()
    {
        let message = format!("`last_version` is {}, but there is {largest}", last.value);
        check.error(last.span, message, format!("write `last_version: {}`, or take it out", largest.number()));
    }
}

/// The versions by number, whatever their order in the file: the schedule of the weights depends on it, and a file that is only
/// put in another order must not disturb that. Fewer than listed if some have errors.
fn versions(
    check: &mut Check,
    service: &ServiceName,
    file: &ServiceFile,
    listed: &[(VersionName, Span)],
    defaults: &Defaults,
    known: Known<'_>,
) -> Vec<Version> {
    let preview = file.preview.map_or(defaults.preview, super::version::preview);
    let defaults = &Defaults { preview, ..defaults.clone() };
    let last = file.last_version.as_ref().map_or(0, |last| last.value);
    let next = next_name(service, last, listed.iter().map(|(version, _)| version.number()));
    let mut versions = Vec::new();
    for (key, value) in file.versions.iter() {
        let Some((name, at)) = listed.iter().find(|(name, _)| name.as_str() == key.value) else { continue };
        let Some(mut version) = check.version((name.clone(), *at), value, defaults) else { continue };
        match known.get(name.as_str()) {
            // The same allocation says cheaply that nothing has changed.
            Some(Identity::Backend(backend)) if backend == version.backend => version.backend = backend,
            Some(identity) if identity.is(&version.backend) => {}
            // An environment with errors differs only because of them.
            Some(_) if check.has_error_within(value.span) => {}
            Some(identity) => check.unchanged((name, *at), value, (&identity, &version.backend), &next),
            None => {}
        }
        versions.push(version);
    }
    versions.sort_by_key(|version| version.name.number());
    versions
}
