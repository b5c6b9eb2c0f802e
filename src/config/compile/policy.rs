//! What a service asks of the proxy besides the choice of a version.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, Uri};

use super::Check;
use super::settings::Defaults;
use crate::config::file::{
    BytesOrOff, HeaderEditsFile, HeadersFile, MaintenanceForm, RedirectForm, ServiceFile, TimeOrOff, TimeoutsFile, Word,
};
use crate::config::spanned::{Entries, Spanned};
use crate::model::policy::{HeaderEdits, Maintenance, Policy, Redirect, Timeouts};

/// Headers that frame a message or belong to one connection (RFC 9110, 7.6.1; RFC 9112, 6): the proxy's own.
const OWN: [&str; 11] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// What clients read where the file gives no text.
const MAINTENANCE: &str = "Down for maintenance.";

/// Which way a header goes, and how it is edited.
#[derive(Clone, Copy, PartialEq)]
enum Edit {
    Set,
    AddOrRemove,
}

impl Check {
    pub(super) fn policy(&mut self, file: &ServiceFile, defaults: &Defaults) -> Policy {
        let headers = file.headers.as_ref();
        let edits = |check: &mut Self, edits: fn(&HeadersFile) -> &HeaderEditsFile| {
            headers.map(|headers| check.header_edits(edits(headers))).unwrap_or_default()
        };
        Policy {
            timeouts: timeouts(file.timeouts.as_ref(), &defaults.timeouts),
            max_body: file.max_body.map_or(defaults.max_body, |BytesOrOff(size)| size),
            request_headers: edits(self, |headers| &headers.request),
            response_headers: edits(self, |headers| &headers.response),
            redirect: file.redirect.as_ref().and_then(|redirect| self.redirect(redirect)),
            allow: file.allow.as_ref().map(|allow| {
                if allow.is_empty() && !self.has_error_within(allow.span) {
                    self.error(
                        allow.span,
                        "`allow` lists no network, so nobody would be served",
                        "list networks, or take it out",
                    );
                }
                self.networks(allow)
            }),
            maintenance: file.maintenance.as_ref().and_then(maintenance),
            waiting_page: self.waiting_page(file.waiting_page.as_ref(), defaults.waiting_page.as_ref()),
        }
    }

    fn header_edits(&mut self, file: &HeaderEditsFile) -> HeaderEdits {
        let remove = file.remove.iter().filter_map(|name| self.header_name(name, Edit::AddOrRemove)).collect();
        HeaderEdits {
            remove,
            set: self.header_fields(&file.set, Edit::Set),
            add: self.header_fields(&file.add, Edit::AddOrRemove),
        }
    }

    fn header_fields(&mut self, fields: &Entries<Spanned<Word>>, edit: Edit) -> Box<[(HeaderName, HeaderValue)]> {
        let mut all: Vec<(HeaderName, HeaderValue)> = Vec::new();
        for (name, value) in fields.iter() {
            let key = self.header_name(name, edit);
            let Ok(text) = HeaderValue::from_str(value.as_str()) else {
                let cure = "use visible characters, spaces and tabs, on one line";
                self.error(
                    value.span,
                    format!("the value of `{}` has a character that no header has", name.value),
                    cure,
                );
                continue;
            };
            let Some(key) = key else { continue };
            if edit == Edit::Set && all.iter().any(|(earlier, _)| *earlier == key) {
                let cure = "keep one of them; letter case does not tell headers apart";
                self.error(name.span, format!("the header `{key}` is set twice"), cure);
            }
            all.push((key, text));
        }
        all.into()
    }

    fn header_name(&mut self, name: &Spanned<String>, edit: Edit) -> Option<HeaderName> {
        let Ok(header) = name.parse::<HeaderName>() else {
            let cure = "write letters, digits and `-`, like `x-request-id`";
            self.error(name.span, format!("`{}` is not the name of a header", name.value.escape_debug()), cure);
            return None;
        };
        if OWN.contains(&header.as_str()) {
            let message = format!("`{header}` belongs to the connection, and the proxy alone sets it");
            self.error(name.span, message, "take it out");
            return None;
        }
        if header == http::header::HOST && edit == Edit::AddOrRemove {
            self.error(name.span, "a request has exactly one `host`", "put it under `set` to give it another value");
            return None;
        }
        Some(header)
    }

    fn redirect(&mut self, form: &RedirectForm) -> Option<Redirect> {
        let (to, status, keep_path) = match form {
            RedirectForm::Short(to) => (to, None, None),
            RedirectForm::Long(file) => (&file.to, file.status.as_ref(), file.keep_path),
        };
        let status = match status {
            None => StatusCode::PERMANENT_REDIRECT,
            Some(code) => match code.value {
                301 | 302 | 303 | 307 | 308 => StatusCode::from_u16(code.value).ok()?,
                other => {
                    let cure = "write 308 (for good) or 307 (for now); 301, 302 and 303 let clients turn POST into GET";
                    self.error(code.span, format!("{other} is not the status of a redirect"), cure);
                    return None;
                }
            },
        };
        let keep_path = keep_path.unwrap_or(true);
        let uri = to.parse::<Uri>().ok().filter(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some_and(|a| !a.host().is_empty())
        });
        let Some(uri) = uri else {
            let cure = "write an absolute URL like `https://example.com`";
            self.error(to.span, format!("`{}` is not a URL to redirect to", to.value), cure);
            return None;
        };
        if keep_path && uri.query().is_some() {
            let cure = "take the query out, or add `keep_path: false`";
            self.error(to.span, "the request's path would be put behind this URL's query", cure);
            return None;
        }
        Some(Redirect { to: uri, status, keep_path })
    }
}

pub(super) fn timeouts(file: Option<&TimeoutsFile>, default: &Timeouts) -> Timeouts {
    let Some(file) = file else { return default.clone() };
    let pick = |written: Option<TimeOrOff>, default: Option<Duration>| written.map_or(default, |TimeOrOff(time)| time);
    Timeouts {
        connect: pick(file.connect, default.connect),
        idle: pick(file.idle, default.idle),
        response_head: pick(file.response_head, default.response_head),
        total: pick(file.total, default.total),
        tunnel_idle: pick(file.tunnel_idle, default.tunnel_idle),
        tunnel_total: pick(file.tunnel_total, default.tunnel_total),
    }
}

fn maintenance(form: &MaintenanceForm) -> Option<Maintenance> {
    match form {
        MaintenanceForm::Switch(false) => None,
        MaintenanceForm::Switch(true) => Some(Maintenance { message: MAINTENANCE.into(), retry_after: None }),
        MaintenanceForm::Long(file) => Some(Maintenance {
            message: file.message.as_deref().unwrap_or(MAINTENANCE).into(),
            retry_after: file.retry_after.map(|time| time.0),
        }),
    }
}
