//! `config.json`, as far as it is about credentials.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::Who;

/// The keys that are looked at; all others are Docker's own business.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ConfigFile {
    auths: Option<BTreeMap<String, Entry>>,
    cred_helpers: Option<BTreeMap<String, String>>,
    creds_store: Option<String>,
}

/// What the file itself keeps of a registry.
#[derive(Default, Clone, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl ConfigFile {
    /// The helper that keeps the credentials of a server: its own, else the one for all.
    pub(super) fn helper(&self, server: &str) -> Option<&str> {
        let own = self.cred_helpers.as_ref().and_then(|helpers| helpers.get(server));
        own.or(self.creds_store.as_ref()).map(String::as_str).filter(|helper| !helper.is_empty())
    }

    /// What the file keeps under one of the names: exactly, else under a URL of that host.
    pub(super) fn entry(&self, names: &[String]) -> Option<(&str, &Entry)> {
        let auths = self.auths.as_ref()?;
        let exact = names.iter().find_map(|name| auths.get_key_value(name));
        let entry = exact.or_else(|| auths.iter().find(|(key, _)| names.iter().any(|name| host(key) == host(name))));
        entry.map(|(server, entry)| (server.as_str(), entry))
    }
}

impl Entry {
    /// `None` for an empty entry, which only says that a helper has it.
    pub(super) fn who(&self) -> Result<Option<Who>, ()> {
        let set = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        if let Some(token) = set(&self.identitytoken) {
            return Ok(Some(Who::IdentityToken(token)));
        }
        if let Some(token) = set(&self.registrytoken) {
            return Ok(Some(Who::RegistryToken(token)));
        }
        if let Some(auth) = set(&self.auth) {
            let (name, password) = decode(&auth).ok_or(())?;
            return Ok(Some(Who::User { name, password }));
        }
        match (set(&self.username), set(&self.password)) {
            (Some(name), Some(password)) => Ok(Some(Who::User { name, password })),
            _ => Ok(None),
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").finish_non_exhaustive()
    }
}

/// `base64(user:password)`; other tools leave the padding out, and old ones end it with NULs.
fn decode(auth: &str) -> Option<(String, String)> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = GeneralPurpose::new(&STANDARD, config).decode(auth.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.trim_end_matches('\0').to_owned()))
}

/// Files of older tools have URLs.
fn host(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    rest.split('/').next().unwrap_or(rest)
}
