//! What a service asks of TLS.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderValue;

use super::Check;
use crate::config::diagnostic::{Diagnostic, Label};
use crate::config::file::{ClientAuthFile, HstsFile, HstsForm, TlsFile};
use crate::config::spanned::{OneOrMany, Spanned};
use crate::model::certificate::Certificate;
use crate::model::tls::{ClientAuth, ServiceTls};
use crate::tls::pair::{Chain, Key, PairError, keys};
use crate::tls::pem::{self, PemFileError};
use crate::tls::resolver::verifier;

/// The header's value.
fn hsts(form: &HstsForm) -> Option<HeaderValue> {
    let (age, subdomains, preload) = match form {
        HstsForm::Short(age) => (age, false, false),
        HstsForm::Long(HstsFile { max_age, subdomains, preload }) => (max_age, *subdomains, *preload),
    };
    let mut value = format!("max-age={}", age.0.as_secs());
    value.push_str(if subdomains { "; includeSubDomains" } else { "" });
    value.push_str(if preload { "; preload" } else { "" });
    HeaderValue::try_from(value).ok()
}

type Paths = Option<OneOrMany<Spanned<String>>>;

impl Check {
    /// What the file says of TLS.
    pub(super) fn tls(&mut self, tls: Option<&Spanned<TlsFile>>) -> ServiceTls {
        let Some(tls) = tls else { return ServiceTls::default() };
        ServiceTls {
            certificates: self.certificates(tls).into(),
            acme: tls.acme,
            redirect: tls.redirect.as_ref().is_none_or(|redirect| redirect.value),
            hsts: tls.hsts.as_ref().and_then(hsts),
            client: self.client_auth(tls).map(Arc::new),
        }
    }

    /// What clients have to show.
    fn client_auth(&mut self, tls: &Spanned<TlsFile>) -> Option<ClientAuth> {
        let Some(file) = &tls.client_ca else {
            if let Some(auth) = &tls.client_auth {
                let cure = "add `client_ca: PATH`, a PEM file of the authorities that sign them";
                self.error(auth.span, "nobody is named who signs clients' certificates", cure);
            }
            return None;
        };
        let required = tls.client_auth.as_ref().is_none_or(|auth| auth.value == ClientAuthFile::Require);
        if let Some(redirect) = tls.redirect.as_ref().filter(|redirect| required && !redirect.value) {
            let cure = "take `redirect` out, or write `client_auth: optional`";
            self.error(redirect.span, "over plain HTTP nobody can show a certificate", cure);
        }
        let path = self.dependency(file);
        let authorities = pem::read(&path).and_then(|sections| match sections.certificates.is_empty() {
            true => Err(PemFileError::NoSection("CERTIFICATE")),
            false => Ok(ClientAuth { authorities: sections.certificates.into(), required }),
        });
        let usable = |auth: ClientAuth| match verifier(&auth) {
            Ok(_) => Ok(auth),
            Err(error) => Err(PemFileError::Authorities(error)),
        };
        match authorities.and_then(usable) {
            Ok(auth) => Some(auth),
            Err(error) => {
                self.unusable("authority", file, &error);
                None
            }
        }
    }

    /// The certificates, each with the key that it was made with.
    fn certificates(&mut self, tls: &Spanned<TlsFile>) -> Vec<Arc<Certificate>> {
        let list = |paths: &Paths| paths.as_ref().map(|paths| paths.as_slice().to_vec()).unwrap_or_default();
        let (certificates, keys) = (list(&tls.certificate), list(&tls.key));
        if certificates.is_empty() {
            let asks = tls.acme
                || tls.redirect.is_some()
                || tls.hsts.is_some()
                || tls.client_ca.is_some()
                || tls.client_auth.is_some();
            let message = match keys.is_empty() {
                true if asks => None,
                true => Some("`tls` names no pair"),
                false => Some("`tls` names no certificate"),
            };
            if let Some(message) = message.filter(|_| !self.has_error_within(tls.span)) {
                self.no_pair(tls, message);
            }
            return Vec::new();
        }
        let chains: Vec<_> = certificates.iter().map(|place| (place, self.chain(place))).collect();
        let Some(keys) = self.keys(tls, &certificates, &keys) else { return Vec::new() };
        let mut found = Vec::new();
        for (place, chain) in chains {
            let Some((path, chain)) = chain else { continue };
            let Some((_, key)) = keys.iter().find(|(_, key)| chain.has(key)) else {
                self.no_key_of(place, &keys);
                continue;
            };
            let Some(pair) = chain.pair(key, path) else { continue };
            if let Some(mended) = pair.mended {
                self.warning(place.span, mended.message(), mended.help());
            }
            found.push(Arc::new(pair.certificate));
        }
        found
    }

    fn chain(&mut self, place: &Spanned<String>) -> Option<(PathBuf, Chain)> {
        let path = self.dependency(place);
        match pem::read(&path).and_then(|sections| Chain::new(sections.certificates)) {
            Ok(chain) => Some((path, chain)),
            Err(error) => {
                self.unusable("certificate", place, &error);
                None
            }
        }
    }

    /// The keys, each with the place that names its file. `None` where one cannot be used.
    fn keys(
        &mut self,
        tls: &Spanned<TlsFile>,
        certificates: &[Spanned<String>],
        files: &[Spanned<String>],
    ) -> Option<Vec<(Spanned<String>, Key)>> {
        let mut found = Vec::new();
        let mut good = true;
        for place in if files.is_empty() { certificates } else { files } {
            let path = self.dependency(place);
            match keys(&path) {
                Ok(keys) => found.extend(keys.into_iter().map(|key| (place.clone(), key))),
                // What is the matter with the certificate's file has been said.
                Err(_) if files.is_empty() && self.has_error_within(tls.span) => good = false,
                Err(PemFileError::NoSection(_)) if files.is_empty() => {
                    self.no_pair(tls, "`tls` names no key");
                    good = false;
                }
                Err(error) => {
                    self.unusable("key", place, &error);
                    good = false;
                }
            }
        }
        good.then_some(found)
    }

    fn no_pair(&mut self, tls: &Spanned<TlsFile>, message: &str) {
        let cure = "write `tls: {certificate: PATH, key: PATH}`, or take it out for plain HTTP only";
        self.error(tls.span, message, cure);
    }

    fn unusable(&mut self, what: &str, place: &Spanned<String>, why: &PemFileError) {
        let message = |why: &dyn Display| format!("the {what} `{}` cannot be used: {why}", place.value);
        self.error(place.span, message(why), why.help());
    }

    fn no_key_of(&mut self, certificate: &Spanned<String>, keys: &[(Spanned<String>, Key)]) {
        let at = |place: &Spanned<String>| Label::at(&self.source, place.span);
        let diagnostic = match keys {
            [(key, _)] => Diagnostic::error(PairError::Mismatch.to_string(), at(key).text("this key"))
                .also(at(certificate).text("this certificate")),
            _ => Diagnostic::error("none of the keys is this certificate's", at(certificate)),
        };
        self.note(diagnostic.help(PairError::Mismatch.help()));
    }
}
