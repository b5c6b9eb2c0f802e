//! How a version is spoken to: by its URLs' scheme, `protocol` and `upstream_tls`.

use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};

use super::Check;
use crate::config::file::{ProtocolFile, UpstreamTlsFile, VersionFile};
use crate::config::spanned::Spanned;
use crate::model::transport::{Transport, UpstreamTls};
use crate::model::version::{Backend, Readiness};
use crate::tls::client;

impl Check {
    /// The protocol towards the instances of this backend.
    pub(super) fn transport(&mut self, file: &VersionFile, backend: &Backend, ready: &Readiness) -> Transport {
        let protocol = file.protocol.as_ref();
        let http2 = protocol.is_some_and(|protocol| protocol.value != ProtocolFile::Http1);
        let has_urls = matches!(backend, Backend::Urls(_) | Backend::Hook(_));
        let https = has_urls && self.https(file);
        let tls = file.upstream_tls.as_ref();
        match protocol.map(|protocol| (protocol.value, protocol.span)) {
            Some((ProtocolFile::H2c, at)) if https => {
                let cure = "write `protocol: h2`, or `http://` in `urls`";
                self.error(at, "`h2c` is HTTP/2 in clear text, and `urls` says `https`", cure);
            }
            Some((ProtocolFile::H2, at)) if has_urls && !https => {
                let cure = "write `https://` in `urls`, or `protocol: h2c` for HTTP/2 in clear text";
                self.error(at, "`h2` is HTTP/2 by TLS, and `urls` says `http`", cure);
            }
            Some((ProtocolFile::H2c, _)) if tls.is_some() => {
                let cure = "write `protocol: h2`, or take it out";
                let at = tls.map(|tls| tls.span).unwrap_or_default();
                self.error(at, "`upstream_tls` does not go with `protocol: h2c`, which is clear text", cure);
            }
            _ => {}
        }
        if let Some(tls) = tls
            && has_urls
            && !https
        {
            self.error(tls.span, "`upstream_tls` is for `https`, and `urls` says `http`", "write `https://` in `urls`");
        }
        let secure = https || tls.is_some() || protocol.is_some_and(|protocol| protocol.value == ProtocolFile::H2);
        let transport = Transport { http2, tls: secure.then(|| Arc::new(self.upstream_tls(tls, file))) };
        if let (Readiness::Http(_), false, Some(ready)) =
            (ready, transport.is_plain(), file.start.as_ref().and_then(|start| start.ready.as_ref()))
        {
            let cure = "take it out: it then is ready when its port accepts";
            self.error(
                ready.http.span,
                "`ready: {http}` asks by HTTP/1.1 in clear text, which this version does not speak",
                cure,
            );
        }
        transport
    }

    /// Whether the URLs say `https`; all of them have to say the same.
    fn https(&mut self, file: &VersionFile) -> bool {
        let Some(urls) = &file.urls else { return false };
        let is_https = |url: &str| url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
        let first = urls.first().is_some_and(|url| is_https(url));
        if let Some(other) = urls.iter().find(|url| is_https(url) != first) {
            self.error(other.span, "`urls` has both `http` and `https`", "write all of them alike");
        }
        first
    }

    fn upstream_tls(&mut self, tls: Option<&Spanned<UpstreamTlsFile>>, file: &VersionFile) -> UpstreamTls {
        let Some(file_tls) = tls else {
            self.system_roots(file);
            return UpstreamTls::default();
        };
        let insecure = file_tls.insecure.as_ref().is_some_and(|insecure| insecure.value);
        if let (true, Some(ca)) = (insecure, &file_tls.ca) {
            self.error(ca.span, "`ca` changes nothing: `insecure: true` takes any certificate", "take one of them out");
        }
        if !insecure && file_tls.ca.is_none() {
            self.system_roots(file);
        }
        let server_name = file_tls.server_name.as_ref().and_then(|name| {
            if ServerName::try_from(name.as_str()).is_err() {
                let message = format!("`{}` is not a name that a certificate has", name.as_str());
                self.error(name.span, message, "write a host name, like `api.example.com`");
                return None;
            }
            Some(name.as_str().into())
        });
        let ca = file_tls.ca.as_ref().and_then(|ca| self.ca(ca));
        UpstreamTls { ca, server_name, insecure }
    }

    /// Warns of a system that trusts nobody.
    fn system_roots(&mut self, file: &VersionFile) {
        if client::system_roots().is_empty() {
            let at = file.urls.as_ref().map(|urls| urls.span);
            let at = at.or(file.protocol.as_ref().map(|protocol| protocol.span)).unwrap_or_default();
            let cure =
                "install its CA certificates (package `ca-certificates`), or name one: `upstream_tls: {ca: PATH}`";
            self.warning(at, "this system trusts no CA, so that no certificate will do", cure);
        }
    }

    fn ca(&mut self, ca: &Spanned<String>) -> Option<Box<[Box<[u8]>]>> {
        let path = self.dependency(ca);
        let cure = "name a file with PEM certificates (`-----BEGIN CERTIFICATE-----`)";
        let read = std::fs::read(&path).map_err(|error| error.to_string()).and_then(|pem| {
            let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
            let found = found.map_err(|error| error.to_string())?;
            client::roots(found.iter().map(|one| &**one)).map_err(|error| error.to_string())?;
            if found.is_empty() { Err("it has no certificate in it".to_owned()) } else { Ok(found) }
        });
        match read {
            Ok(found) => Some(found.into_iter().map(|one| one.as_ref().into()).collect()),
            Err(why) => {
                self.error(ca.span, format!("the CA `{}` cannot be used: {why}", ca.value), cure);
                None
            }
        }
    }
}
