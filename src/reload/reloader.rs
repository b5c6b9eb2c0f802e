//! The one road from files to what is in force: read, compile, compare, swap, let go.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use super::graveyard::Graveyard;
use super::publish;
use super::standing::Standing;
use crate::config::compile::Identity;
use crate::config::diagnostic::Diagnostic;
use crate::config::load::{Loaded, Places, load};
use crate::lifecycle::units::Units;
use crate::live::{Live, Published};
use crate::model::settings::{AccessLogTarget, Settings};
use crate::model::snapshot::Snapshot;
use crate::telemetry::access::{AccessLog, Target};

/// Binds what the settings listen on and has it accepted from; what is listened on already is left as it is, and so is
/// everything if it fails.
pub type Listen = Box<dyn FnMut(&Settings) -> Result<(), ListenError>>;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenError {
    /// Which.
    pub address: std::net::SocketAddr,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl ListenError {
    /// What may be the matter.
    #[must_use]
    pub fn cure(&self) -> &'static str {
        match self.source.kind() {
            io::ErrorKind::PermissionDenied => "ports below 1024 need root or CAP_NET_BIND_SERVICE;",
            io::ErrorKind::AddrNotAvailable => "this machine does not have that address;",
            _ => "is another server there?",
        }
    }
}

/// There is nothing to begin with.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// tidegate.yaml has errors; they are in the [`Standing`].
    #[error("the config has errors")]
    Config,
    /// The access log cannot be opened.
    #[error("cannot open the access log{}: {source}", .file.as_ref().map(|file| format!(" {}", file.display())).unwrap_or_default())]
    AccessLog {
        /// Where it is, unless it is standard output.
        file: Option<PathBuf>,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Why the system does not let something come into force that the compiler finds nothing wrong with.
enum Refusal {
    AccessLog(io::Error),
    Listen(ListenError),
}

impl Refusal {
    fn at(self, places: &Places) -> Box<Diagnostic> {
        Box::new(match self {
            Self::AccessLog(error) => {
                Diagnostic::error(format!("cannot open the access log: {error}"), places.access_log())
            }
            Self::Listen(error) => {
                let cure = format!("{} what was listened on before still is", error.cure());
                Diagnostic::error(error.to_string(), places.listener(error.address)).help(cure)
            }
        })
    }
}

/// Lives on the control thread.
pub struct Reloader {
    root: PathBuf,
    loaded: Loaded,
    published: Published,
    graveyard: Graveyard,
    units: Units,
    threads: usize,
    listen: Listen,
    standing: Rc<RefCell<Standing>>,
    /// The settings that tidegate was started with.
    started_with: Arc<Settings>,
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").field("root", &self.root).finish_non_exhaustive()
    }
}

/// What the first load came to, on its way to a [`Reloader`].
#[derive(Debug)]
pub struct FirstLoad {
    root: PathBuf,
    loaded: Loaded,
    snapshot: Arc<Snapshot>,
}

impl FirstLoad {
    /// Reads and compiles everything. Services with errors are left out; they are in the `Err` only where tidegate.yaml is
    /// broken itself.
    pub fn read(root: &Path) -> Result<Self, Vec<Diagnostic>> {
        let mut loaded = load(root, None, &|_| None);
        match loaded.snapshot.clone() {
            Some(snapshot) => Ok(Self { root: root.to_owned(), loaded, snapshot }),
            None => Err(std::mem::take(&mut loaded.diagnostics)),
        }
    }

    /// What the files say.
    #[must_use]
    pub fn settings(&self) -> &Arc<Settings> {
        &self.snapshot.settings
    }

    /// What is wrong with the files.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.loaded.diagnostics
    }

    /// Starts the versions and puts the first picture in force, for `threads` data threads. Runs on the control thread's
    /// `LocalSet`.
    pub fn publish(self, mut units: Units, threads: usize) -> Result<Reloader, StartError> {
        let target = self.snapshot.settings.access_log.as_ref();
        let access = open_access_log(target, threads).map_err(|source| {
            let file = match target {
                Some(AccessLogTarget::File(path)) => Some(path.clone()),
                Some(AccessLogTarget::Stdout) | None => None,
            };
            StartError::AccessLog { file, source }
        })?;
        let live = publish::build(Arc::clone(&self.snapshot), None, &mut units, threads, access);
        let reloader = Reloader {
            root: self.root,
            loaded: self.loaded,
            published: Published::new(live),
            graveyard: Graveyard::default(),
            units,
            threads,
            listen: Box::new(|_| Ok(())),
            standing: Rc::default(),
            started_with: Arc::clone(&self.snapshot.settings),
        };
        reloader.note(true);
        Ok(reloader)
    }
}

impl Reloader {
    /// Where what is in force stands.
    #[must_use]
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// How the files stand to it.
    #[must_use]
    pub fn standing(&self) -> &Rc<RefCell<Standing>> {
        &self.standing
    }

    /// The units of what is in force.
    #[must_use]
    pub fn units(&self) -> &Units {
        &self.units
    }

    /// The files and folders that the config depends on.
    #[must_use]
    pub fn watched(&self) -> &[PathBuf] {
        &self.loaded.watch
    }

    /// The folders that it depends on with everything in them.
    #[must_use]
    pub fn watched_all_in(&self) -> &[PathBuf] {
        &self.loaded.watch_all_in
    }

    /// What is done about addresses from now on.
    pub fn listen_by(&mut self, listen: Listen) {
        self.listen = listen;
    }

    /// Reads the files and puts in force what can be. True if anything came into force. `edited` are the files of services that were
    /// edited, where nothing else was.
    pub fn reload(&mut self, edited: Option<&BTreeSet<PathBuf>>) -> bool {
        edited.and_then(|files| self.reload_these(files)).unwrap_or_else(|| self.reload_all())
    }

    /// `None` where more than these files has to be looked at.
    fn reload_these(&mut self, files: &BTreeSet<PathBuf>) -> Option<bool> {
        let live = self.published.load();
        let edited = self.loaded.edited(files, &|version| identity(&live, version))?;
        let changed = differs(&live.snapshot, &edited.snapshot);
        if changed {
            // Nothing can be refused while the settings are the same; if it is, the other way says why.
            self.put_in_force(&live, Arc::clone(&edited.snapshot)).ok()?;
        }
        drop(live);
        self.loaded.remember(edited);
        self.note(changed);
        Some(changed)
    }

    fn reload_all(&mut self) -> bool {
        let live = self.published.load();
        let loaded = load(&self.root, Some(&self.loaded), &|version| identity(&live, version));
        let outcome = match loaded.snapshot.clone() {
            Some(snapshot) if differs(&live.snapshot, &snapshot) => {
                self.put_in_force(&live, snapshot).map(|()| true).map_err(|refusal| refusal.at(&loaded.places))
            }
            _ => Ok(false),
        };
        drop(live);
        let before = std::mem::replace(&mut self.loaded, loaded);
        let changed = outcome.unwrap_or_else(|why| {
            self.loaded.refuse(before, *why);
            false
        });
        self.note(changed);
        changed
    }

    /// The services that are not in force as their files have them, by name: of what such a file says, nothing is known.
    pub fn held(&self) -> impl Iterator<Item = &str> {
        self.loaded.held.iter().map(|held| held.service.as_str())
    }

    /// Frees old pictures that nobody reads any more; true if some are still read.
    pub fn sweep(&mut self) -> bool {
        self.graveyard.sweep();
        !self.graveyard.is_empty()
    }

    /// Opens the access log's file anew, after a rotation.
    pub fn reopen_access_log(&self) {
        if let Some(access) = &self.published.load().access {
            access.reopen();
        }
    }

    /// Stops all versions. The data threads have to be done.
    pub async fn stop(self) {
        self.units.stop().await;
    }

    fn put_in_force(&mut self, live: &Live, snapshot: Arc<Snapshot>) -> Result<(), Refusal> {
        let settings = &snapshot.settings;
        let access = if settings.access_log == live.snapshot.settings.access_log {
            live.access.clone()
        } else {
            open_access_log(settings.access_log.as_ref(), self.threads).map_err(Refusal::AccessLog)?
        };
        (self.listen)(settings).map_err(Refusal::Listen)?;
        let next = publish::build(snapshot, Some(live), &mut self.units, self.threads, access);
        let old = self.published.swap(next);
        let live = self.published.load();
        publish::retire(&old, &live, &mut self.units);
        self.graveyard.take(old, &live);
        Ok(())
    }

    /// Writes down how the files stand, and says what is new about that.
    fn note(&self, changed: bool) {
        let mut standing = self.standing.borrow_mut();
        let live = self.published.load();
        let said: Vec<String> = standing.diagnostics.iter().map(ToString::to_string).collect();
        let fresh: Vec<&Diagnostic> =
            self.loaded.diagnostics.iter().filter(|d| !said.contains(&d.to_string())).collect();
        for diagnostic in &fresh {
            if diagnostic.is_error() {
                tracing::error!("held back: {diagnostic}");
            } else {
                tracing::warn!("{diagnostic}");
            }
        }
        if fresh.iter().any(|diagnostic| diagnostic.is_error()) {
            standing.rejected += 1;
        } else if standing.is_held_back() && !self.loaded.has_errors() {
            tracing::info!("the config is whole again");
        }
        if changed {
            standing.accepted += 1;
            standing.since = SystemTime::now();
            tracing::info!(
                generation = live.generation,
                services = live.snapshot.services.len(),
                "the config is in force"
            );
        }
        standing.diagnostics.clone_from(&self.loaded.diagnostics);
        let at_next_start = fixed_at_start(&self.started_with, &live.snapshot.settings);
        for setting in &at_next_start {
            if !standing.at_next_start.contains(setting) {
                tracing::warn!("`{setting}` takes effect when tidegate starts anew");
            }
        }
        standing.at_next_start = at_next_start;
    }
}

/// What a version is known to be, if it runs.
fn identity(live: &Live, version: &str) -> Option<Identity> {
    let (version, unit) = live.version(version)?;
    Some(match unit.never_came_up() {
        true => Identity::NeverRan,
        false => Identity::Backend(Arc::clone(&version.backend)),
    })
}

/// Services that did not change are the same in memory: the loader remembers them.
fn differs(old: &Snapshot, new: &Snapshot) -> bool {
    *old.settings != *new.settings
        || !Arc::ptr_eq(&old.certificates, &new.certificates)
        || old.services.len() != new.services.len()
        || old.services.iter().zip(&new.services).any(|(old, new)| !Arc::ptr_eq(old, new))
}

/// What cannot change while tidegate runs, and did.
fn fixed_at_start(then: &Settings, now: &Settings) -> Vec<&'static str> {
    [
        ("admin", then.admin != now.admin),
        ("admin_token_file", then.admin_token_file != now.admin_token_file),
        ("socket", then.socket != now.socket),
        ("threads", then.threads != now.threads),
        ("max_connections", then.max_connections != now.max_connections),
        ("docker", then.docker != now.docker),
        ("max_starts", then.max_starts != now.max_starts),
        ("process.ports", then.process_ports != now.process_ports),
        ("log.format", then.log_format != now.log_format),
    ]
    .into_iter()
    .filter_map(|(name, changed)| changed.then_some(name))
    .collect()
}

fn open_access_log(target: Option<&AccessLogTarget>, threads: usize) -> io::Result<Option<Arc<AccessLog>>> {
    let target = match target {
        None => return Ok(None),
        Some(AccessLogTarget::Stdout) => Target::Stdout,
        Some(AccessLogTarget::File(path)) => Target::File(path.clone()),
    };
    AccessLog::open(target, threads).map(Arc::new).map(Some)
}
