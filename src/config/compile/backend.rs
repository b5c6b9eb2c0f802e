//! What makes a version's instances: addresses, or a process.

use super::Check;
use super::settings::absolute;
use crate::config::file::{VersionFile, Word};
use crate::config::source::Span;
use crate::config::spanned::Spanned;
use crate::model::host::HostPattern;
use crate::model::name::VersionName;
use crate::model::version::{Backend, Endpoint, ProcessSpec};

impl Check {
    /// Exactly one of `urls` and `command`, and for `command` what else belongs to a process.
    pub(super) fn backend(&mut self, name: &VersionName, at: Span, file: &Spanned<VersionFile>) -> Option<Backend> {
        match (&file.urls, &file.command) {
            (Some(urls), None) => {
                self.only_processes(file);
                Some(Backend::Urls(self.endpoints(urls)?))
            }
            (None, Some(command)) => {
                let command = self.command(command)?;
                let env = self.environment(file.env.as_ref(), file.env_file.as_ref());
                let cwd = file.cwd.as_ref().map(|cwd| {
                    let path = absolute(&self.path(cwd));
                    if !path.is_dir() {
                        self.error(
                            cwd.span,
                            format!("there is no folder `{}`", cwd.value),
                            "paths are relative to the file that names them",
                        );
                    }
                    path
                });
                Some(Backend::Process(ProcessSpec { command, env, cwd }))
            }
            (Some(_), Some(command)) => {
                let cure = "keep `urls` for what runs already, or `command` for a process that tidegate runs";
                self.error(command.span, format!("{name} has both `urls` and `command`"), cure);
                None
            }
            (None, None) => {
                if !self.has_error_within(file.span) {
                    let cure = "write `urls: [\"http://127.0.0.1:3000\"]` for what runs already, or `command: [./app]` for a process";
                    self.error(at, format!("{name} has neither `urls` nor `command`"), cure);
                }
                None
            }
        }
    }

    fn only_processes(&mut self, file: &VersionFile) {
        let keys = [
            ("env", file.env.as_ref().map(|value| value.span)),
            ("env_file", file.env_file.as_ref().map(|value| value.span)),
            ("cwd", file.cwd.as_ref().map(|value| value.span)),
            ("stop", file.stop.as_ref().map(|value| value.span)),
        ];
        for (key, span) in keys {
            if let Some(span) = span {
                self.error(
                    span,
                    format!("`{key}` is for processes, and `urls` names what is not ours to start"),
                    "take it out",
                );
            }
        }
    }

    fn command(&mut self, command: &Spanned<Vec<Spanned<Word>>>) -> Option<Box<[String]>> {
        let Some(program) = command.first() else {
            self.error(command.span, "the command is empty", "write the program and its arguments: `[./app, --serve]`");
            return None;
        };
        let mut words: Vec<String> = command.iter().map(|word| word.as_str().to_owned()).collect();
        if let Some(bad) = command.iter().find(|word| word.as_str().contains('\0')) {
            self.error(bad.span, "this holds a NUL byte", "no process can be given one");
            return None;
        }
        if program.as_str().is_empty() {
            self.error(program.span, "the name of the program is empty", "write the program first: `[./app, --serve]`");
            return None;
        }
        if program.as_str().contains('/') {
            // A path is relative to the file, as all are; a bare name is looked up in PATH when it is started.
            let path = absolute(&self.path(program.as_str()));
            if !path.exists() {
                let cure = "paths are relative to the file that names them; the version cannot start before the program is there";
                self.warning(program.span, format!("there is no program `{}`", program.as_str()), cure);
            }
            words[0] = path.to_string_lossy().into_owned();
        }
        Some(words.into())
    }

    fn endpoints(&mut self, urls: &Spanned<Vec<Spanned<String>>>) -> Option<Box<[Endpoint]>> {
        if urls.is_empty() {
            if !self.has_error_within(urls.span) {
                self.error(urls.span, "`urls` is empty", "name at least one: `[\"http://127.0.0.1:3000\"]`");
            }
            return None;
        }
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for url in urls.iter() {
            match endpoint(url) {
                Ok(endpoint) if endpoints.contains(&endpoint) => {
                    self.error(url.span, format!("`{}` is listed twice", url.value), "list each address once");
                }
                Ok(endpoint) => endpoints.push(endpoint),
                Err((message, help)) => self.error(url.span, message, help),
            }
        }
        (endpoints.len() == urls.len()).then(|| endpoints.into())
    }
}

/// `http://HOST:PORT`; 80 without a port. Errors are a message and its cure.
fn endpoint(url: &str) -> Result<Endpoint, (String, String)> {
    let form = "write `http://HOST:PORT`, like `http://127.0.0.1:3000`";
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err((format!("`{url}` is not a URL"), format!("write `http://{url}`").replace("http:////", "http://")));
    };
    if scheme.eq_ignore_ascii_case("https") {
        return Err(("`https` to backends is not supported yet".to_owned(), form.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("http") {
        return Err((format!("`{scheme}` is not a scheme for backends"), form.to_owned()));
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if let Some(at) = authority.find(['/', '?', '#']) {
        let cure = format!("write `http://{}`; requests keep their own path", &authority[..at]);
        return Err((format!("`{url}` has more than a host and a port"), cure));
    }
    if authority.contains('@') {
        return Err(("a backend's URL has no user".to_owned(), form.to_owned()));
    }
    let port_at = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
    let (host, port) = port_at.map_or((authority, "80"), |at| (&authority[..at], &authority[at + 1..]));
    let port = match port.parse::<u16>() {
        Ok(port @ 1..) => port,
        _ if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            return Err((format!("port {port} is out of range"), "ports go from 1 to 65535".to_owned()));
        }
        _ => return Err((format!("`{port}` is not a port"), form.to_owned())),
    };
    match HostPattern::parse(host) {
        Ok(HostPattern::Exact(host)) => {
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
            Ok(Endpoint { host: bare.into(), port })
        }
        _ => Err((format!("`{host}` is not a host name or address"), form.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_host_and_a_port() {
        for (url, shown) in [
            ("http://127.0.0.1:3000", "127.0.0.1:3000"),
            ("http://App.Local:3000/", "app.local:3000"),
            ("HTTP://app", "app:80"),
            ("http://[::1]:3000", "[::1]:3000"),
            ("http://[::1]", "[::1]:80"),
        ] {
            assert_eq!(endpoint(url).map(|endpoint| endpoint.to_string()), Ok(shown.to_owned()), "{url}");
        }
        for url in [
            "app:3000",
            "https://app",
            "ftp://app",
            "http://",
            "http://app:0",
            "http://app:70000",
            "http://app:x",
            "http://app:",
            "http://app/x",
            "http://app?x",
            "http://u@app",
            "http://*.app",
            "http://a b",
            "http://::1",
            "",
        ] {
            assert!(endpoint(url).is_err(), "{url}");
        }
    }
}
