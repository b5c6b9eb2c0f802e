//! How requests wait for a version: bounds of their line, and what browsers see meanwhile.

use std::path::Path;

use super::Check;
use super::environment::reason;
use crate::config::file::{MAX_WAITING, QueueFile, WaitingPageForm};
use crate::config::source::read_text;
use crate::config::spanned::Spanned;
use crate::model::policy::WaitingPage;
use crate::model::version::Queue;

/// The longest page, in bytes: every waiting browser gets it anew every few seconds.
const MAX_PAGE: usize = 256 * 1024;

impl Check {
    pub(super) fn queue(&mut self, file: Option<&QueueFile>, default: Queue) -> Queue {
        let Some(file) = file else { return default };
        let max_waiting = match &file.max_waiting {
            Some(count) if count.value > MAX_WAITING => {
                let message = format!("{} is too long a line", count.value);
                self.error(count.span, message, format!("write a whole number from 0 to {MAX_WAITING}"));
                default.max_waiting
            }
            Some(count) => count.value,
            None => default.max_waiting,
        };
        Queue { max_waiting, max_body: file.max_body.map_or(default.max_body, |size| size.0) }
    }

    pub(super) fn waiting_page(
        &mut self,
        file: Option<&WaitingPageForm>,
        default: Option<&WaitingPage>,
    ) -> Option<WaitingPage> {
        match file {
            None => default.cloned(),
            Some(WaitingPageForm::Switch(false)) => None,
            Some(WaitingPageForm::Switch(true)) => Some(default.cloned().unwrap_or_default()),
            Some(WaitingPageForm::Long(file)) => {
                let default = default.cloned().unwrap_or_default();
                let template = file.file.as_ref().and_then(|path| self.page(path));
                Some(WaitingPage {
                    title: file.title.as_ref().map(|title| title.as_str().into()).or(default.title),
                    template: template.or(default.template),
                })
            }
        }
    }

    fn page(&mut self, at: &Spanned<String>) -> Option<Box<str>> {
        let path = self.dependency(at);
        match read_text(&path, MAX_PAGE) {
            Ok(text) if text.trim().is_empty() => {
                let message = format!("the waiting page `{}` is empty", at.value);
                self.error(at.span, message, "write the page, or take `file` out for tidegate's own");
                None
            }
            Ok(text) => Some(text.into()),
            Err(error) => {
                let message = format!("the waiting page `{}` cannot be used: {}", at.value, reason(&error));
                self.error(at.span, message, cure(&path, &error));
                None
            }
        }
    }
}

fn cure(path: &Path, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            format!("paths are relative to the file that names them; this one is `{}`", path.display())
        }
        std::io::ErrorKind::PermissionDenied => "let tidegate's user read it".to_owned(),
        _ => format!("name a page in UTF-8 of at most {} KiB", MAX_PAGE / 1024),
    }
}
