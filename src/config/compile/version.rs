//! One version.

use std::sync::Arc;

use super::Check;
use super::settings::{Defaults, not_zero};
use crate::config::file::{PreviewFile, SignalFile, StartFile, StopFile, VersionFile};
use crate::config::source::Span;
use crate::config::spanned::Spanned;
use crate::model::name::VersionName;
use crate::model::path::PathPrefix;
use crate::model::version::{Preview, Readiness, Start, Stop, StopSignal, Version};

impl Check {
    /// `at` is the place of the version's name.
    pub(super) fn version(
        &mut self,
        (name, at): (VersionName, Span),
        file: &Spanned<VersionFile>,
        defaults: &Defaults,
    ) -> Option<Version> {
        let backend = self.backend(&name, at, file);
        let start = start(self, file.start.as_ref(), &defaults.start);
        let stop = stop(file.stop.as_ref().map(|stop| &stop.value), &defaults.stop);
        let preview = file.preview.map_or(defaults.preview, preview);
        let remark = file.remark.as_ref().map(|remark| remark.as_str().into());
        Some(Version { name, backend: Arc::new(backend?), start, stop, preview, remark })
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
    let signal = file.signal.map_or(default.signal, |signal| match signal {
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
