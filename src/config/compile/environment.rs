//! The environment of a process: `env` with `${NAME}` filled in, and `env_file`. No message shows a value.

use super::Check;
use crate::config::file::Word;
use crate::config::source::{MAX_BYTES, Span};
use crate::config::spanned::{Entries, Spanned};

/// Set by tidegate for every process.
const RESERVED: &str = "PORT";

/// Whether tidegate says which port to listen on, or the version does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// A process is told.
    Told,
    /// A container listens where it always does.
    Own,
}

impl Check {
    /// `env` over `env_file`; sorted by name, so that order does not tell environments apart.
    pub(super) fn environment(
        &mut self,
        env: Option<&Spanned<Entries<Spanned<Word>>>>,
        env_file: Option<&Spanned<String>>,
        port: Port,
    ) -> Box<[(String, String)]> {
        let mut all: Vec<(String, String)> = env_file.map(|path| self.environment_file(path, port)).unwrap_or_default();
        for (name, value) in env.into_iter().flat_map(|env| env.iter()) {
            self.environment_name(name, name.span, port);
            if let Some(text) = self.fill_in(value.as_str(), name, value.span) {
                all.retain(|(earlier, _)| *earlier != name.value);
                all.push((name.value.clone(), text));
            }
        }
        all.sort();
        all.into()
    }

    fn environment_name(&mut self, name: &str, span: Span, port: Port) {
        if name == RESERVED && port == Port::Told {
            self.error(
                span,
                "`PORT` is set by tidegate",
                "take it out; the process listens on the port that it is told",
            );
        } else if name.is_empty() || name.contains(['=', '\0']) || name.contains(char::is_whitespace) {
            self.error(
                span,
                format!("`{}` cannot be the name of a variable", name.escape_debug()),
                "write letters, digits and `_`",
            );
        }
    }

    /// Fills in `${NAME}`; `$$` is `$`.
    fn fill_in(&mut self, text: &str, name: &str, span: Span) -> Option<String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some((variable, after)) = after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
                if variable.is_empty() || !variable.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                    let cure = "write `${NAME}` with letters, digits and `_`; there are no defaults and no other forms";
                    self.error(span, format!("`{name}` refers to a variable in a form that is not supported"), cure);
                    return None;
                }
                match std::env::var(variable) {
                    Ok(value) => out.push_str(&value),
                    Err(std::env::VarError::NotPresent) => {
                        let cure =
                            format!("set `{variable}` in tidegate's own environment; write `$$` for a `$` itself");
                        self.error(span, format!("the variable `{variable}` is not defined"), cure);
                        return None;
                    }
                    Err(std::env::VarError::NotUnicode(_)) => {
                        self.error(span, format!("the variable `{variable}` is not UTF-8"), "set it to a text");
                        return None;
                    }
                }
                rest = after;
            } else {
                let cure = "write `$$` for a `$` itself, `${NAME}` for a variable";
                self.error(span, format!("`{name}` has a `$` that stands alone"), cure);
                return None;
            }
        }
        out.push_str(rest);
        if out.contains('\0') {
            self.error(span, format!("`{name}` holds a NUL byte"), "no process can be given one");
            return None;
        }
        Some(out)
    }

    /// `NAME=value` lines; blank lines and lines that begin with `#` are passed over, quotes around a value are taken off.
    fn environment_file(&mut self, at: &Spanned<String>, port: Port) -> Vec<(String, String)> {
        let path = self.dependency(at);
        let mut all: Vec<(String, String)> = Vec::new();
        let text = match std::fs::read(&path).map(String::from_utf8) {
            Ok(Ok(text)) if text.len() <= MAX_BYTES => text,
            Ok(Ok(_)) => {
                self.error(
                    at.span,
                    format!("`{}` is longer than 1 MiB", at.value),
                    "name a file with `NAME=value` lines",
                );
                return all;
            }
            Ok(Err(_)) => {
                self.error(at.span, format!("`{}` is not UTF-8", at.value), "write it as UTF-8");
                return all;
            }
            Err(error) => {
                let message = format!("the environment file `{}` cannot be read: {}", at.value, reason(&error));
                self.error(at.span, message, "paths are relative to the file that names them");
                return all;
            }
        };
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = index + 1;
            let Some((name, value)) = line.split_once('=') else {
                self.error(at.span, format!("line {number} of `{}` has no `=`", at.value), "write `NAME=value`");
                continue;
            };
            let name = name.trim().strip_prefix("export ").unwrap_or(name).trim();
            if (name == RESERVED && port == Port::Told)
                || name.is_empty()
                || name.contains(char::is_whitespace)
                || line.contains('\0')
            {
                let message = format!("line {number} of `{}` sets a variable that cannot be set", at.value);
                self.error(at.span, message, "`PORT` is set by tidegate; other names have letters, digits and `_`");
                continue;
            }
            let value = value.trim();
            let unquoted = ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
            all.retain(|(earlier, _)| earlier != name);
            all.push((name.to_owned(), unquoted.unwrap_or(value).to_owned()));
        }
        all
    }
}

pub(super) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}
