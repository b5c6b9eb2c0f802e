//! Folders of certificates and keys: every PEM file in them is looked into, and pairs are found by what is inside.
//!
//! What has not changed is not read again. A pair that was whole and is not any more, because somebody is about to write it, stays
//! as it was for as long as one of its files is there.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use rustc_hash::FxHashMap;

use crate::config::diagnostic::{Diagnostic, Label};
use crate::config::stamp::Stamp;
use crate::model::certificate::{Certificate, Validity};
use crate::model::certificates::Names;
use crate::telemetry::timestamp::Timestamp;
use crate::tls::pair::{Chain, Key, Mended};
use crate::tls::pem::{self, PemFileError};

/// How deep folders are looked into: `live/NAME/privkey.pem`, as certbot has it, and one more.
const MAX_DEPTH: usize = 3;

/// The pairs of some folders.
#[derive(Debug, Clone, Default)]
pub(super) struct Pairs {
    files: BTreeMap<PathBuf, Known>,
    names: Arc<Names>,
}

/// What is known of a file.
#[derive(Debug, Clone)]
struct Known {
    /// None where it changed only just now, or is not there.
    stamp: Option<Stamp>,
    role: Role,
}

#[derive(Debug, Clone)]
enum Role {
    /// Neither certificate nor key, or a certificate that another file has with a longer chain.
    Nothing,
    /// The key of a certificate in another file.
    Key,
    /// A key that no certificate is there for, or not yet.
    KeyAlone,
    /// A certificate, and the file of its key.
    Certificate { certificate: Arc<Certificate>, key: PathBuf, mended: Option<Mended> },
    /// The same, but not what is in the files at present: those are not whole.
    Kept { certificate: Arc<Certificate>, key: PathBuf, why: String },
    /// What is wrong, and the cure.
    Wrong(String, &'static str),
}

impl Role {
    /// The certificate in force, and the file of its key.
    fn pair(&self) -> Option<(&Arc<Certificate>, &Path)> {
        match self {
            Self::Certificate { certificate, key, .. } | Self::Kept { certificate, key, .. } => {
                Some((certificate, key))
            }
            Self::Nothing | Self::Key | Self::KeyAlone | Self::Wrong(..) => None,
        }
    }
}

impl Role {
    /// The same, with the certificate that is in memory already if it is the same.
    fn or_before(self, before: Option<&Self>) -> Self {
        match (self, before) {
            (
                Self::Certificate { certificate, key, mended },
                Some(Self::Certificate { certificate: before, .. } | Self::Kept { certificate: before, .. }),
            ) => {
                let same = certificate.is_same_as(before);
                Self::Certificate { certificate: if same { Arc::clone(before) } else { certificate }, key, mended }
            }
            (role, _) => role,
        }
    }
}

/// What was read of the files that have changed.
#[derive(Default)]
struct Read {
    /// The files with certificates. They are read once more when all keys are known, one at a time: thousands of them, taken apart, would be
    /// many times what is kept.
    chains: Vec<PathBuf>,
    /// By public key.
    keys: FxHashMap<Vec<u8>, (PathBuf, Key)>,
    roles: BTreeMap<PathBuf, Role>,
}

impl Pairs {
    /// Looks at everything in the folders, of which those that do not exist are left out.
    pub(super) fn read(folders: &[PathBuf], before: Option<&Self>) -> Self {
        let mut listed = BTreeSet::new();
        for folder in folders {
            list(folder, MAX_DEPTH, &mut listed);
        }
        let known = before.map(|before| &before.files);
        let changed = changed(&listed, known);
        let mut files: BTreeMap<PathBuf, Known> = BTreeMap::new();
        if let (true, Some(before)) = (changed.is_empty(), before) {
            return before.clone();
        }
        let mut read = Read::default();
        for path in &changed {
            let stamp = Stamp::settled(path);
            if listed.contains(path) {
                read.file(path);
            }
            files.insert(path.clone(), Known { stamp, role: Role::Nothing });
        }
        for (path, known) in known.into_iter().flatten().filter(|(path, _)| !changed.contains(*path)) {
            files.insert(path.clone(), known.clone());
        }
        // The key of a file that has changed may be in one that has not, for keys are used again.
        let in_use: Vec<(PathBuf, Arc<Certificate>)> = files
            .values()
            .filter_map(|known| known.role.pair())
            .map(|(certificate, key)| (key.to_owned(), Arc::clone(certificate)))
            .collect();
        for (path, role) in read.settle(&in_use) {
            let before = known.and_then(|known| known.get(&path)).map(|known| &known.role);
            if let Some(known) = files.get_mut(&path) {
                known.role = role.or_before(before);
            }
        }
        keep(&mut files, &listed, known);
        files.retain(|path, known| listed.contains(path) || matches!(known.role, Role::Kept { .. }));
        let all: Vec<Arc<Certificate>> = files
            .values()
            .filter_map(|known| known.role.pair())
            .map(|(certificate, _)| Arc::clone(certificate))
            .collect();
        let same = before.filter(|before| {
            let all_before = before.names.all();
            all_before.len() == all.len() && all_before.iter().zip(&all).all(|(one, other)| Arc::ptr_eq(one, other))
        });
        let names =
            same.map_or_else(|| Arc::new(Names::of(&all, SystemTime::now())), |before| Arc::clone(&before.names));
        Self { files, names }
    }

    /// The certificates by the names in them; the same in memory as long as nothing changes.
    pub(super) fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// What is wrong with the files. All of it is warnings: what is right is served.
    pub(super) fn warnings(&self) -> impl Iterator<Item = Diagnostic> {
        self.files.iter().filter_map(|(path, known)| {
            let (message, help) = match &known.role {
                Role::Wrong(message, help) => (message.clone(), *help),
                Role::Certificate { mended: Some(mended), .. } => (mended.message().to_owned(), mended.help()),
                Role::Kept { why, .. } => (
                    format!("{why}; the last good pair is served on"),
                    "write certificate and key that belong together",
                ),
                Role::Nothing | Role::Key | Role::KeyAlone | Role::Certificate { mended: None, .. } => return None,
            };
            Some(Diagnostic::warning(message, Label::file(path)).help(help))
        })
    }
}

/// Warnings of certificates that do not hold, or not for much longer.
pub(super) fn of_time<'c>(
    certificates: impl Iterator<Item = &'c Arc<Certificate>>,
    now: SystemTime,
) -> impl Iterator<Item = Diagnostic> {
    certificates.filter_map(move |certificate| {
        let on = |time| Timestamp(time).to_string();
        let (message, help) = match certificate.validity(now) {
            Validity::Good => return None,
            Validity::EndsSoon => (format!("the certificate expires on {}", on(certificate.not_after)), "renew it"),
            Validity::Expired => {
                let message = format!("the certificate has expired on {}", on(certificate.not_after));
                (message, "renew it: clients refuse it, and so cannot reach its hosts")
            }
            Validity::NotYet => (
                format!("the certificate is not valid before {}", on(certificate.not_before)),
                "is the clock of this machine right? Clients refuse it until then",
            ),
        };
        Some(Diagnostic::warning(message, Label::file(&certificate.source)).help(help))
    })
}

/// The files of a folder and of the folders in it. Hidden ones are left out: where links lead through them, as in what Kubernetes
/// mounts, what is there is found by its plain name.
fn list(folder: &Path, depth: usize, found: &mut BTreeSet<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok).filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
    {
        let path = entry.path();
        let kind = entry.file_type().and_then(|kind| match kind.is_symlink() {
            true => fs::metadata(&path).map(|found| found.file_type()),
            false => Ok(kind),
        });
        match kind {
            Ok(kind) if kind.is_dir() && depth > 1 => list(&path, depth - 1, found),
            Ok(kind) if kind.is_file() => drop(found.insert(path)),
            // A link that leads nowhere: somebody is about to change that.
            Err(error) if error.kind() == io::ErrorKind::NotFound => drop(found.insert(path)),
            Ok(_) | Err(_) => {}
        }
    }
}

/// The files to be read: those that may have changed, those that they were paired with, and those that nothing was made of.
fn changed(listed: &BTreeSet<PathBuf>, known: Option<&BTreeMap<PathBuf, Known>>) -> BTreeSet<PathBuf> {
    let Some(known) = known else { return listed.clone() };
    let fresh = |path: &Path, stamp: &Option<Stamp>| stamp.is_some() && *stamp == Stamp::of(path);
    let mut changed: BTreeSet<PathBuf> = listed
        .iter()
        .filter(|path| known.get(*path).is_none_or(|known| !fresh(path, &known.stamp)))
        .chain(known.keys().filter(|path| !listed.contains(*path)))
        .cloned()
        .collect();
    if changed.is_empty() {
        return changed;
    }
    for (path, known) in known {
        match &known.role {
            Role::Wrong(..) | Role::Kept { .. } | Role::KeyAlone => drop(changed.insert(path.clone())),
            Role::Certificate { key, .. } if changed.contains(path) || changed.contains(key) => {
                changed.extend([path.clone(), key.clone()]);
            }
            Role::Certificate { .. } | Role::Key | Role::Nothing => {}
        }
    }
    // A key that serves several certificates brings all of them along.
    for (path, known) in known {
        if let Role::Certificate { key, .. } = &known.role
            && changed.contains(key)
        {
            changed.insert(path.clone());
        }
    }
    changed
}

impl Read {
    fn file(&mut self, path: &Path) {
        let role = match pem::read(path) {
            Ok(sections) => {
                let mut role = Role::Nothing;
                if sections.has_encrypted_key {
                    role = wrong("the key", &PemFileError::Encrypted);
                }
                for key in &sections.keys {
                    match Key::new(key) {
                        Ok(key) => {
                            self.keys.insert(key.public_key.clone(), (path.to_owned(), key));
                            role = Role::KeyAlone;
                        }
                        Err(error) => role = wrong("the key", &error),
                    }
                }
                if !sections.certificates.is_empty() {
                    self.chains.push(path.to_owned());
                }
                role
            }
            Err(error) => wrong("the file", &error),
        };
        self.roles.insert(path.to_owned(), role);
    }

    /// Finds the pairs, and so what each file is. `in_use` are certificates that have not changed, with the files of their keys.
    fn settle(mut self, in_use: &[(PathBuf, Arc<Certificate>)]) -> BTreeMap<PathBuf, Role> {
        // By the digest of the server's own certificate.
        let mut own: BTreeMap<Vec<u8>, (usize, PathBuf)> = BTreeMap::new();
        let used = LazyCell::new(|| {
            let used = in_use.iter().map(|(path, used)| (path.clone(), Key::of(Arc::clone(&used.pair.key))));
            used.map(|(path, key)| (key.public_key.clone(), (path, key))).collect::<FxHashMap<_, _>>()
        });
        for path in self.chains {
            let chain = match pem::read(&path).and_then(|sections| Chain::new(sections.certificates)) {
                Ok(chain) => chain,
                Err(error) => {
                    self.roles.insert(path, wrong("the certificate", &error));
                    continue;
                }
            };
            let key = chain.public_keys().find_map(|public_key| self.keys.get(public_key)).cloned();
            let key = key.or_else(|| chain.public_keys().find_map(|public_key| used.get(public_key)).cloned());
            let Some((key_path, key)) = key else {
                if !chain.is_of_authorities() {
                    let help = "put the key beside it, in a PEM file of any name";
                    self.roles.insert(path, Role::Wrong("there is no key for this certificate".to_owned(), help));
                }
                continue;
            };
            let Some(pair) = chain.pair(&key, path.clone()) else { continue };
            // `cert.pem` and `fullchain.pem` are the same but for the chain.
            let leaf = digest(&SHA256, &pair.certificate.pair.cert[0]).as_ref().to_vec();
            let length = pair.certificate.pair.cert.len();
            match own.get(&leaf) {
                Some((longest, _)) if *longest >= length => continue,
                Some((_, shorter)) => drop(self.roles.insert(shorter.clone(), Role::Nothing)),
                None => {}
            }
            own.insert(leaf, (length, path.clone()));
            let certificate = Arc::new(pair.certificate);
            if key_path != path {
                self.roles.insert(key_path.clone(), Role::Key);
            }
            self.roles.insert(path, Role::Certificate { certificate, key: key_path, mended: pair.mended });
        }
        self.roles
    }
}

fn wrong(what: &str, error: &PemFileError) -> Role {
    Role::Wrong(format!("{what} cannot be used: {error}"), error.help())
}

/// A pair that was in force and of which something is left stays in force, unless there is another at its place.
fn keep(files: &mut BTreeMap<PathBuf, Known>, listed: &BTreeSet<PathBuf>, known: Option<&BTreeMap<PathBuf, Known>>) {
    for (path, before) in known.into_iter().flatten() {
        let Some((certificate, key)) = before.role.pair() else { continue };
        let now = files.get(path).map(|known| &known.role);
        if now.is_some_and(|role| role.pair().is_some()) || !(listed.contains(path) || listed.contains(key)) {
            continue;
        }
        // The same certificate in another file, as where files are renamed, is as good.
        let leaf = &certificate.pair.cert[0];
        if files.values().filter_map(|known| known.role.pair()).any(|(other, _)| other.pair.cert[0] == *leaf) {
            continue;
        }
        let why = match now {
            Some(Role::Wrong(why, _)) => why.clone(),
            _ if !listed.contains(path) => "the certificate is gone, and its key is still there".to_owned(),
            _ => "there is no certificate in the file any more".to_owned(),
        };
        let role = Role::Kept { certificate: Arc::clone(certificate), key: key.to_owned(), why };
        files.insert(path.clone(), Known { stamp: None, role });
    }
}
