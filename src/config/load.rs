//! tidegate.yaml and all services to a snapshot, again and again: what has not changed is not read again, and a broken
//! service file holds back that service only.

mod certificates;
mod edited;
mod entry;
mod folder;
mod mounts;
mod places;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use self::certificates::Pairs;
pub use self::edited::Edited;
use self::entry::{Entry, read_service};
use self::folder::service_files;
pub use self::places::Places;
use crate::config::DEFAULT_FILES;
use crate::config::claims::{self, Candidate};
use crate::config::compile::{Check, Defaults, InForce, settings};
use crate::config::diagnostic::{Diagnostic, Label};
use crate::config::file::RootFile;
use crate::config::source::Source;
use crate::model::acme::is_internal;
use crate::model::host::HostPattern;
use crate::model::name::ServiceName;
use crate::model::service::Service;
use crate::model::settings::Settings;
use crate::model::snapshot::Snapshot;
use crate::model::version::Backend;

/// What the files came to. Hand it to the next [`load`]: it remembers every service's last good form.
#[derive(Debug)]
pub struct Loaded {
    /// The snapshot to put in force; `None` if tidegate.yaml has errors, and then what was in force stays so.
    pub snapshot: Option<Arc<Snapshot>>,
    /// All that is wrong, warnings among it; tidegate.yaml first, then the services by name.
    pub diagnostics: Vec<Diagnostic>,
    /// Services that are not in force as their files have them, by name.
    pub held: Vec<Held>,
    /// The files and folders on which all this depends: tidegate.yaml, the folder of the services, certificates, keys,
    /// environment files and waiting pages. Not every one of them need exist.
    pub watch: Vec<PathBuf>,
    /// Folders that it depends on with everything in them: those of certificates.
    pub watch_all_in: Vec<PathBuf>,
    /// Where tidegate.yaml says what can still be refused when it is put in force.
    pub places: Places,
    memory: Memory,
}

/// A service whose file has errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its name; for a file whose name is not one of a service, the file's stem.
    pub service: String,
    /// Whether an earlier form of it is in force.
    pub serving: bool,
}

impl Loaded {
    /// Whether anything is wrong beyond warnings.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// Notes that the snapshot was refused when it should come into force: what is known of the services is what was known
    /// `before`, for nothing that is new in them has run.
    pub fn refuse(&mut self, before: Self, why: Diagnostic) {
        self.snapshot = None;
        self.diagnostics.push(why);
        self.watch.extend(before.watch);
        self.watch.sort();
        self.watch.dedup();
        self.watch_all_in.extend(before.watch_all_in);
        self.watch_all_in.sort();
        self.watch_all_in.dedup();
        self.memory = before.memory;
    }
}

/// Loads everything. `in_force` are the versions that run; those of the previous snapshot need not be among them.
pub fn load(root: &Path, previous: Option<&Loaded>, in_force: &InForce<'_>) -> Loaded {
    let (mut check, file) = match Source::read(root) {
        Ok(source) => Check::decode::<RootFile>(Arc::new(source), "write `{}` for nothing but defaults"),
        Err(error) => return broken(root, vec![error.maybe_help(cure_for_root(root))], Default::default(), previous),
    };
    let source = Arc::clone(&check.source);
    // With errors in tidegate.yaml the services are checked all the same, as far as it can be understood.
    let compiled = settings::settings(&mut check, &file.unwrap_or_default());
    let folder_id = folder::identity(&compiled.services);
    let files = service_files(&mut check, &compiled.services, compiled.services_at);
    let had_services = |before: &&Memory| !before.services.is_empty() && before.folder == compiled.services;
    // It may be exchanged while it is read.
    let ids = [folder_id, folder::identity(&compiled.services)];
    if let Some(before) = previous.map(|loaded| &loaded.memory).filter(had_services)
        && files.is_empty()
        && ids.iter().any(|id| id.is_some() && *id != before.folder_id)
    {
        folder::note_exchange(&mut check, &compiled.services);
    }
    let folders: Vec<PathBuf> =
        compiled.settings.certificates.iter().cloned().chain([compiled.settings.acme.certificates()]).collect();
    let pairs = pairs(&mut check, &compiled, &folders, previous);
    let mut of_root = check.found;
    of_root.sort_by_key(|diagnostic| diagnostic.primary.span);

    let defaults = Arc::new(compiled.defaults.clone());
    let mut read = Services::read(files, &defaults, previous, in_force);
    read.watch.extend([root.to_owned(), compiled.services.clone()]);
    read.watch.extend(check.depends_on.into_iter().map(|file| file.path));
    let services = read.settle(&compiled.settings.base_domain).unwrap_or_else(|conflicts| {
        of_root.extend(conflicts);
        Vec::new()
    });
    of_root.extend(ports_warning(root, &compiled, &services));
    of_root.extend(mounts::warnings(&read.watch));
    of_root.extend(pairs.warnings());
    of_root.extend(read.certificate_warnings(&services, &pairs));
    of_root.extend(read.acme_warnings(&services, &compiled.settings, &pairs));
    let broken_root = of_root.iter().any(Diagnostic::is_error);
    of_root.extend(read.diagnostics());
    if broken_root {
        return broken(root, of_root, (read.watch, folders), previous);
    }
    let held = read.held();
    match Snapshot::new(Arc::new(compiled.settings), services) {
        Ok(snapshot) => Loaded {
            snapshot: Some(Arc::new(snapshot.with_certificates(Arc::clone(pairs.names())))),
            diagnostics: of_root,
            held,
            watch: sorted(read.watch),
            watch_all_in: folders,
            places: Places::new(source, compiled.listeners_at, compiled.access_log_at),
            memory: Memory { services: read.entries, folder: compiled.services, folder_id, defaults, pairs },
        },
        Err(conflicts) => {
            of_root.extend(conflicts.iter().map(|conflict| {
                let route = &conflict.route;
                Diagnostic::error(format!("`{}{}` is claimed twice", route.host, route.path), Label::file(root))
            }));
            broken(root, of_root, (read.watch, folders), previous)
        }
    }
}

/// What is remembered from load to load.
#[derive(Debug, Clone, Default)]
struct Memory {
    services: BTreeMap<ServiceName, Arc<Entry>>,
    /// The folder of their files.
    folder: PathBuf,
    /// Which one that is.
    folder_id: Option<(u64, u64)>,
    /// What they have unless they say otherwise.
    defaults: Arc<Defaults>,
    /// What is in the folders of certificates.
    pairs: Pairs,
}

/// What is in the folders of certificates.
fn pairs(check: &mut Check, compiled: &settings::Compiled, folders: &[PathBuf], previous: Option<&Loaded>) -> Pairs {
    if let (Some(folder), Some(at)) = (&compiled.settings.certificates, compiled.certificates_at)
        && let Err(error) = std::fs::read_dir(folder)
    {
        let message = match error.kind() {
            std::io::ErrorKind::NotFound => format!("there is no folder `{}` of certificates", folder.display()),
            _ => format!("the folder `{}` cannot be read: {error}", folder.display()),
        };
        check.error(at, message, "make it, or name another with `tls: {certificates: PATH}`");
    }
    Pairs::read(folders, previous.map(|loaded| &loaded.memory.pairs))
}

/// What to do about a tidegate.yaml that is not there, where that is known.
fn cure_for_root(root: &Path) -> Option<String> {
    if root.is_dir() {
        return Some(format!("name the file in it: `{}`", root.join("tidegate.yaml").display()));
    }
    if root.exists() {
        return None;
    }
    let usual = DEFAULT_FILES.map(|file| format!("`{file}`")).join(" and ");
    let found = match root.to_str() == Some(DEFAULT_FILES[0]) {
        true => format!("looked for {usual}: name another file, or"),
        false => "name another file, or".to_owned(),
    };
    Some(format!("{found} write this one (`{{}}` will do) and a folder `services` beside it"))
}

/// No new snapshot; what is remembered is what was remembered.
fn broken(
    root: &Path,
    diagnostics: Vec<Diagnostic>,
    (mut watch, mut watch_all_in): (Vec<PathBuf>, Vec<PathBuf>),
    previous: Option<&Loaded>,
) -> Loaded {
    watch.push(root.to_owned());
    watch.extend(previous.iter().flat_map(|loaded| loaded.watch.iter().cloned()));
    watch_all_in.extend(previous.iter().flat_map(|loaded| loaded.watch_all_in.iter().cloned()));
    let (held, memory) = previous.map(|loaded| (loaded.held.clone(), loaded.memory.clone())).unwrap_or_default();
    Loaded {
        snapshot: None,
        diagnostics,
        held,
        watch: sorted(watch),
        watch_all_in: sorted(watch_all_in),
        places: Places::unknown(root),
        memory,
    }
}

fn sorted(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.sort();
    paths.dedup();
    paths
}

/// All service files, read.
#[derive(Default)]
struct Services {
    entries: BTreeMap<ServiceName, Arc<Entry>>,
    candidates: Vec<(ServiceName, Candidate)>,
    /// Files whose names are not names of services, by stem.
    misnamed: Vec<(String, Diagnostic)>,
    watch: Vec<PathBuf>,
}

impl Services {
    fn read(
        files: Vec<(String, PathBuf)>,
        defaults: &Arc<Defaults>,
        previous: Option<&Loaded>,
        in_force: &InForce<'_>,
    ) -> Self {
        let mut read = Self::default();
        for (stem, path) in files {
            let name = match ServiceName::new(&stem) {
                Ok(name) => name,
                Err(error) => {
                    let diagnostic = Diagnostic::error(error.to_string(), Label::file(&path));
                    read.misnamed.push((stem, diagnostic.help("services are named by their files: rename it")));
                    continue;
                }
            };
            let before = previous.and_then(|loaded| loaded.memory.services.get(&name));
            let (entry, changed) = read_service(&name, &path, before, defaults, in_force);
            read.watch.extend(entry.depends_on.iter().map(|file| file.path.clone()));
            if let Some(form) = entry.good.clone() {
                let fallback = before.and_then(|before| before.good.clone()).filter(|_| changed);
                read.candidates.push((name.clone(), Candidate { form, fallback, changed }));
            }
            read.entries.insert(name, entry);
        }
        // By name, which is not the order of the files: `shop-api.yaml` sorts before `shop.yaml`.
        read.candidates.sort_by(|(a, _), (b, _)| a.cmp(b));
        read
    }

    /// The services to be in force, in the order of their names.
    fn settle(&mut self, base_domain: &str) -> Result<Vec<Arc<Service>>, Vec<Diagnostic>> {
        let verdicts = claims::settle(&self.candidates, base_domain)?;
        let mut services = Vec::new();
        for ((name, _), verdict) in self.candidates.iter().zip(verdicts) {
            if let Some(entry) = self.entries.get_mut(name).filter(|_| !verdict.conflicts.is_empty()) {
                let entry = Arc::make_mut(entry);
                // Without a current form the file is looked at again by every load until the conflict is gone.
                entry.current = None;
                entry.good.clone_from(&verdict.form);
                entry.found.extend(verdict.conflicts);
            }
            services.extend(verdict.form.map(|form| Arc::clone(&form.service)));
        }
        Ok(services)
    }

    /// Certificates that do not hold, and hosts that none is for. Looked at by every load, for time goes on.
    fn certificate_warnings(&self, services: &[Arc<Service>], pairs: &Pairs) -> Vec<Diagnostic> {
        let named = services.iter().flat_map(|service| &service.tls.certificates);
        let mut found: Vec<_> = certificates::of_time(named.chain(pairs.names().all()), SystemTime::now()).collect();
        for service in services.iter().filter(|service| !service.tls.certificates.is_empty()) {
            let covered =
                |host| service.tls.certificates.iter().any(|it| it.covers(host)) || pairs.names().covers(host);
            let bare = service.routes.iter().enumerate().filter(|(_, route)| !covered(&route.host));
            let Some(form) = self.entries.get(&service.name).and_then(|entry| entry.good.as_ref()) else { continue };
            for (index, route) in bare {
                let message = format!("`{}` is not among the names of the service's certificate", route.host);
                let cure = "have one made that names it, or put one into the folder of `tls: {certificates: ...}` in \
                            tidegate.yaml; clients refuse this one";
                found.push(Diagnostic::warning(message, claims::label(form, Some(index))).help(cure));
            }
        }
        found
    }

    /// Hosts that no authority can sign for, as things are.
    fn acme_warnings(&self, services: &[Arc<Service>], settings: &Settings, pairs: &Pairs) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let asking = || services.iter().filter(|service| service.tls.acme);
        for service in asking() {
            let Some(form) = self.entries.get(&service.name).and_then(|entry| entry.good.as_ref()) else { continue };
            for (index, route) in service.routes.iter().enumerate() {
                let (message, cure) = match &route.host {
                    host if pairs.names().covers(host) || service.tls.certificates.iter().any(|it| it.covers(host)) => {
                        continue;
                    }
                    HostPattern::Wildcard(_) => (
                        format!(
                            "no certificate is had for `{}`: authorities sign wildcards by dns-01 alone",
                            route.host
                        ),
                        "dns-01 is not supported yet: name the hosts one by one, or have the certificate made by another \
                         client, into the folder of `tls: {certificates: ...}` in tidegate.yaml",
                    ),
                    HostPattern::Exact(host) if settings.acme.is_public() && is_internal(host) => (
                        format!("no certificate is had for `{host}`: no public authority signs internal names"),
                        "take it out, or name an authority of your own: `acme: {directory: URL}` in tidegate.yaml",
                    ),
                    HostPattern::Exact(_) => continue,
                };
                found.push(Diagnostic::warning(message, claims::label(form, Some(index))).help(cure));
            }
        }
        let port = |addresses: &[std::net::SocketAddr], port| addresses.iter().any(|address| address.port() == port);
        let reachable = port(&settings.http, 80) || port(&settings.https, 443);
        if let Some(first) = asking().next()
            && settings.acme.is_public()
            && !reachable
            && let Some(entry) = self.entries.get(&first.name)
        {
            let message = "authorities come to port 80 or 443, and neither is listened on";
            let cure = "write `listen: {http: \"0.0.0.0:80\", https: \"0.0.0.0:443\"}` in tidegate.yaml, or see that these ports lead \
                        to tidegate's";
            found.push(Diagnostic::warning(message, Label::file(&entry.file.path)).help(cure));
        }
        found
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let misnamed = self.misnamed.iter().map(|(_, diagnostic)| diagnostic);
        misnamed.chain(self.entries.values().flat_map(|entry| &entry.found)).cloned().collect()
    }

    fn held(&self) -> Vec<Held> {
        let misnamed = self.misnamed.iter().map(|(stem, _)| Held { service: stem.clone(), serving: false });
        let broken = self.entries.iter().filter(|(_, entry)| entry.current.is_none());
        let broken = broken.map(|(name, entry)| Held { service: name.to_string(), serving: entry.good.is_some() });
        let mut held: Vec<Held> = misnamed.chain(broken).collect();
        held.sort_by(|a, b| a.service.cmp(&b.service));
        held
    }
}

/// The default ports for processes may lie in a range that was made the kernel's own.
fn ports_warning(root: &Path, file: &settings::Compiled, services: &[Arc<Service>]) -> Option<Diagnostic> {
    let (low, high) = file.settings.process_ports;
    let (first, last) = settings::ephemeral_ports().filter(|(first, last)| low <= *last && *first <= high)?;
    if file.names_ports || !services.iter().any(|service| runs_processes(service)) {
        return None;
    }
    let message = format!("the default ports for processes, {low}-{high}, overlap the kernel's own, {first}-{last}");
    Some(Diagnostic::warning(message, Label::file(root)).help("name others: `process: {ports: LOW-HIGH}`"))
}

fn runs_processes(service: &Service) -> bool {
    service.versions.iter().any(|version| matches!(&*version.backend, Backend::Process(_)))
}
