//! One version.

use std::sync::Arc;

use super::Check;
use super::settings::{Defaults, not_zero};
use crate::config::file::{CountOrOff, PreviewFile, SignalFile, StartFile, StopFile, VersionFile};
use crate::config::source::Span;
use crate::config::spanned::Spanned;
use crate::model::name::VersionName;
use crate::model::path::PathPrefix;
use crate::model::version::{Backend, Preview, Readiness, Replicas, Scale, Start, Stop, StopSignal, Version};

impl Check {
    /// `at` is the place of the version's name.
    pub(super) fn version(
        &mut self,
        (name, at): (VersionName, Span),
        file: &Spanned<VersionFile>,
        defaults: &Defaults,
    ) -> Option<Version> {
        // What could not be decoded may be the very `hook` or `command` that the rest belongs to.
        let whole = !self.has_error_within(file.span);
        let backend = self.backend(&name, at, file);
        let start = start(self, file.start.as_ref(), &defaults.start);
        let stop = stop(file.stop.as_ref().map(|stop| &stop.value), &defaults.stop);
        let preview = file.preview.map_or(defaults.preview, preview);
        let (mut replicas, mut scale) = (Replicas::default(), Scale::default());
        let mut sleep = self.sleep(file.sleep.as_ref(), &defaults.sleep);
        match &backend {
            Some(Backend::Urls(_)) => {
                sleep.stop_after = None;
                if whole {
                    self.not_ours(file);
                }
            }
            Some(Backend::Hook(_)) => {
                replicas = self.replicas_of_hook(file.replicas.as_ref(), defaults.replicas);
                scale = self.scale(file.scale.as_ref().map(|scale| &scale.value), defaults.scale);
            }
            Some(Backend::Found(_)) => {
                replicas = self.replicas_of_found(file.replicas.as_ref(), defaults.replicas);
                scale = self.scale(file.scale.as_ref().map(|scale| &scale.value), defaults.scale);
            }
            Some(Backend::Process(_) | Backend::Container(_)) | None => {
                replicas = self.replicas(file.replicas.as_ref(), defaults.replicas);
                scale = self.scale(file.scale.as_ref().map(|scale| &scale.value), defaults.scale);
            }
        }
        if backend.as_ref().is_some_and(Backend::is_ours) && !self.has_error_within(file.span) {
            self.sleepless(&name, file, replicas);
        }
        if let Some(backend) = &backend {
            self.for_containers_only(backend, file, (&mut sleep, &mut scale));
        }
        if let Some(scale) = file.scale.as_ref().filter(|_| replicas.max == 1 && !self.has_error_within(file.span)) {
            let cure = match &backend {
                Some(Backend::Process(_) | Backend::Container(_)) => {
                    "say how many there may be, like `replicas: {max: 5}`, or take `scale` out"
                }
                _ => "take it out",
            };
            self.warning(scale.span, format!("`scale` changes nothing: {name} has one instance at most"), cure);
        }
        let max_concurrency = file.max_concurrency.map_or(defaults.max_concurrency, |CountOrOff(count)| count);
        let transport = backend.as_ref().map(|backend| self.transport(file, backend, &start.ready)).unwrap_or_default();
        let queue = self.queue(file.queue.as_ref(), defaults.queue);
        let remark = file.remark.as_ref().map(|remark| remark.as_str().into());
        Some(Version {
            name,
            transport,
            backend: Arc::new(backend?),
            start,
            stop,
            replicas,
            scale,
            max_concurrency,
            sleep,
            keep: file.keep.as_ref().is_some_and(|keep| keep.value),
            queue,
            preview,
            remark,
        })
    }
}

pub(super) fn preview(file: PreviewFile) -> Preview {
    match file {
        PreviewFile::Private => Preview::Private,
        PreviewFile::Public => Preview::Public,
        PreviewFile::Off => Preview::Off,
    }
}

pub(super) fn start(check: &mut Check, file: Option<&StartFile>, default: &Start) -> Start {
    let Some(file) = file else { return default.clone() };
    let timeout = not_zero(check, file.timeout.as_ref()).unwrap_or(default.timeout);
    let ready = match &file.ready {
        None => default.ready.clone(),
        Some(ready) => {
            // A query may follow the path; the path itself has the form of any other.
            let path = ready.http.split('?').next().unwrap_or_default();
            if let Err(error) = PathPrefix::parse(path) {
                check.error(ready.http.span, error.to_string(), "write a path like `/healthz`");
            } else if ready.http.parse::<http::uri::PathAndQuery>().is_err() {
                check.error(
                    ready.http.span,
                    "this path has characters that no path has",
                    "write a path like `/healthz`",
                );
            }
            Readiness::Http(ready.http.as_str().into())
        }
    };
    Start { timeout, ready }
}

pub(super) fn stop(file: Option<&StopFile>, default: &Stop) -> Stop {
    let Some(file) = file else { return default.clone() };
    let signal = file.signal.as_ref().map_or(default.signal, |signal| match signal.value {
        SignalFile::Term => StopSignal::Term,
        SignalFile::Int => StopSignal::Int,
        SignalFile::Quit => StopSignal::Quit,
        SignalFile::Hup => StopSignal::Hup,
        SignalFile::Usr1 => StopSignal::Usr1,
        SignalFile::Usr2 => StopSignal::Usr2,
        SignalFile::Kill => StopSignal::Kill,
    });
    Stop { signal, grace: file.grace.map_or(default.grace, |time| time.0) }
}
