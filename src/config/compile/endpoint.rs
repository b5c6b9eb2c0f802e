//! Where instances listen, as URLs.

use super::Check;
use crate::config::spanned::Spanned;
use crate::model::host::HostPattern;
use crate::model::version::Endpoint;

impl Check {
    pub(super) fn endpoints(&mut self, urls: &Spanned<Vec<Spanned<String>>>) -> Option<Box<[Endpoint]>> {
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

/// `http://HOST:PORT`, or `https`; 80 or 443 without a port. Errors are a message and its cure.
fn endpoint(url: &str) -> Result<Endpoint, (String, String)> {
    let form = "write `http://HOST:PORT`, like `http://127.0.0.1:3000`";
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err((format!("`{url}` is not a URL"), format!("write `http://{url}`").replace("http:////", "http://")));
    };
    let https = scheme.eq_ignore_ascii_case("https");
    if ["h2c", "h2", "grpc", "grpcs"].iter().any(|other| scheme.eq_ignore_ascii_case(other)) {
        let (plain, protocol) = if scheme.eq_ignore_ascii_case("h2c") || scheme.eq_ignore_ascii_case("grpc") {
            ("http", "h2c")
        } else {
            ("https", "h2")
        };
        let cure = format!("write `{plain}://{rest}`, and `protocol: {protocol}` beside `urls`");
        return Err((format!("`{scheme}` is not a scheme for backends"), cure));
    }
    if scheme.eq_ignore_ascii_case("unix") {
        return Err(("unix sockets of backends are not supported yet".to_owned(), form.to_owned()));
    }
    if !https && !scheme.eq_ignore_ascii_case("http") {
        return Err((format!("`{scheme}` is not a scheme for backends"), form.to_owned()));
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if let Some(at) = authority.find(['/', '?', '#']) {
        let cure = format!("write `{scheme}://{}`; requests keep their own path", &authority[..at]);
        return Err((format!("`{url}` has more than a host and a port"), cure));
    }
    if authority.contains('@') {
        return Err(("a backend's URL has no user".to_owned(), form.to_owned()));
    }
    let port_at = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
    let (host, port) =
        port_at.map_or((authority, if https { "443" } else { "80" }), |at| (&authority[..at], &authority[at + 1..]));
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
            ("https://app", "app:443"),
        ] {
            assert_eq!(endpoint(url).map(|endpoint| endpoint.to_string()), Ok(shown.to_owned()), "{url}");
        }
        for url in [
            "app:3000",
            "h2c://app",
            "unix:///run/app.sock",
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
