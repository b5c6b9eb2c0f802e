//! The composition root: build, spawn, run, drain.

mod admin;
mod containers;
mod limits;
mod orders;
mod ports;

use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::level_filters::LevelFilter;

use self::containers::Containers;
use self::orders::Order;
use self::ports::ListeningPorts;
use crate::admin::auth::TokenError;
use crate::admin::server::PortError;
use crate::admin::socket::SocketError;
use crate::config::diagnostic::Diagnostic;
use crate::config::home::owner;
use crate::lifecycle::ports::Ports;
use crate::lifecycle::provider::Providers;
use crate::lifecycle::provider::docker::DockerProvider;
use crate::lifecycle::provider::hook::HookProvider;
use crate::lifecycle::provider::process::ProcessProvider;
use crate::lifecycle::turns::Turns;
use crate::lifecycle::units::Units;
use crate::live::Published;
use crate::model::settings::{LogFormat, LogLevel, Settings};
use crate::proxy::threads::{DataThreads, Mailboxes, Shared};
use crate::reload::reloader::{FirstLoad, ListenError, Reloader, StartError};
use crate::reload::watch::{WatchSet, Watcher};
use crate::telemetry::log::{self, Log, LogError};
use crate::tls::acme::{self, Troubles, Wanted};
use crate::tls::challenge::Challenges;
use crate::tls::resolver::{Configs, Resolver};

/// How often the config is looked at although nothing has changed: certificates end.
const TIME_GOES_ON: Duration = Duration::from_secs(60 * 60);

/// How often old pictures are looked at while somebody still reads one.
const SWEEP: Duration = Duration::from_secs(1);

/// Why the server did not start, or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// tidegate.yaml has errors.
    #[error("the config has errors")]
    Config(Vec<Diagnostic>),
    /// The log cannot be set up.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An address cannot be listened on.
    #[error("{0}; {cure} `listen` in tidegate.yaml says where tidegate listens", cure = .0.cure())]
    Listen(#[from] ListenError),
    /// The admin socket cannot be had.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The admin port cannot be had.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The admin token cannot be read.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// What the config asks for cannot be begun.
    #[error(transparent)]
    Start(#[from] StartError),
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A runtime, a thread or a signal handler cannot be had.
    #[error("cannot get what a server needs of the system: {0}")]
    System(#[from] io::Error),
}

/// Serves what the config at `root` says until told to stop: SIGTERM or SIGINT drains, a second one ends at once. SIGHUP reads the
/// files again and opens the access log anew.
pub fn serve(root: &Path) -> Result<(), AppError> {
    let first = FirstLoad::read(root).map_err(AppError::Config)?;
    let log = log::install(log_settings(first.settings()))?;
    let open_files = limits::raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, run(root, first, log, open_files))
}

async fn run(root: &Path, first: FirstLoad, log: Log, open_files: Option<u64>) -> Result<(), AppError> {
    let settings = Arc::clone(first.settings());
    let mut signals = Signals::new()?;
    // Everything that can be refused comes before the first process is started.
    let listening = ListeningPorts::bind(&settings)?;
    let admin = admin::Doors::open(&settings).await?;
    let threads = settings.threads.unwrap_or_else(limits::cores);
    let (first_port, last_port) = settings.process_ports;
    let seed = u16::try_from(std::process::id() % 50_000).unwrap_or_default();
    let process = ProcessProvider::new(Ports::new(first_port..=last_port, seed)).with_open_files(open_files);
    let hook = HookProvider::default().with_open_files(open_files);
    let docker = DockerProvider::new(&settings.docker, &owner(root, &settings));
    let providers = Providers { process, hook, docker: docker.clone() };
    let turns = Turns::new(settings.max_starts);
    let mut reloader = first.publish(Units::new(providers, turns.clone(), threads), threads)?;
    let published = reloader.published().clone();
    let challenges = Arc::new(Challenges::default());
    let tls = Configs::new(Arc::new(certificates(&published)), Arc::clone(&challenges))?;
    let (asking, asked) = watch::channel(wanted(&published));
    let troubles = Troubles::default();
    tokio::task::spawn_local(acme::keep(asked, challenges, Rc::clone(&troubles)));
    let places = settings.max_connections.unwrap_or_else(limits::connections);
    let shared = Shared::new(published.clone(), tls, threads, places);
    let data = DataThreads::start(&shared)?;
    let listening = Rc::new(RefCell::new(listening));
    listening.borrow_mut().accept_by(data.mailboxes());
    reloader.listen_by(Box::new({
        let listening = Rc::clone(&listening);
        move |settings| listening.borrow_mut().follow(settings)
    }));
    let (orders, mut ordered) = mpsc::channel(16);
    let cut_at = Rc::new(Cell::new(None));
    let facts = admin::Facts {
        config: std::path::absolute(root).unwrap_or_else(|_| root.to_owned()),
        started_at: SystemTime::now(),
        threads,
        turns,
        docker: docker.clone(),
        shared,
        listening: Rc::clone(&listening),
        standing: Rc::clone(reloader.standing()),
        troubles,
        orders,
        cut_at: Rc::clone(&cut_at),
    };
    let stop_admin = admin.serve(facts);
    let (version, base) = (env!("CARGO_PKG_VERSION"), &settings.base_domain);
    tracing::info!(threads, max_connections = places, "tidegate {version} serves each service at NAME.{base}");
    let containers = Containers::new(docker);
    let ended = follow(&mut reloader, containers, (&data.mailboxes(), &asking), &mut signals, &mut ordered, &log).await;
    // Who asks for something from now on is told that it is too late.
    drop(ordered);
    tracing::info!("{ended}: finishing what is on its way; once more ends at once");
    listening.borrow_mut().close();
    let drain = published.load().snapshot.settings.drain.clone();
    cut_at.set(Some(Instant::now() + drain.timeout));
    let finish = async {
        data.drain(drain.linger, drain.timeout).await;
        reloader.stop().await;
    };
    tokio::select! {
        () = finish => tracing::info!("done"),
        again = signals.end.next() => tracing::warn!("{again} again: ending at once"),
    }
    drop(stop_admin);
    Ok(())
}

/// Follows the files until a signal says to end; says which.
async fn follow(
    reloader: &mut Reloader,
    mut containers: Containers,
    (data, asking): (&Mailboxes, &watch::Sender<Arc<Wanted>>),
    signals: &mut Signals,
    ordered: &mut mpsc::Receiver<Order>,
    log: &Log,
) -> &'static str {
    let watched_now = |reloader: &Reloader| (reloader.watched().to_vec(), reloader.watched_all_in().to_vec());
    let mut watched = watched_now(reloader);
    let mut watcher = Watcher::new(watch_set(reloader));
    let mut old_pictures = false;
    let mut hours = tokio::time::interval_at(tokio::time::Instant::now() + TIME_GOES_ON, TIME_GOES_ON);
    let Signals { end: ends, hangup } = signals;
    loop {
        let (mut answer, mut edited) = (None, None);
        tokio::select! {
            ended = ends.next() => return ended,
            changed = watcher.next_change() => {
                tracing::debug!(paths = ?changed.paths, "the files have changed");
                edited = changed.is_all.then_some(changed.paths);
            }
            _ = hangup.recv() => {
                tracing::info!("SIGHUP: reading the config again");
                reloader.reopen_access_log();
            }
            Some(order) = ordered.recv() => match order {
                Order::Reload(to) => answer = Some(to),
                Order::Sleep(version, to) => {
                    let asleep = reloader.units().sleep(&version);
                    // Whoever asked may have left; it sleeps all the same.
                    tokio::task::spawn_local(async move { drop(to.send(asleep.await)) });
                    continue;
                }
                Order::Restart(version, to) => {
                    let stopped = reloader.units().stop_for_restart(&version);
                    tokio::task::spawn_local(async move { drop(to.send(stopped.await)) });
                    continue;
                }
                Order::TryAgain(version) => {
                    reloader.units().try_again(&version);
                    continue;
                }
            },
            () = containers.wait() => {
                containers.look(reloader);
                continue;
            }
            _ = hours.tick() => tracing::debug!("an hour has passed"),
            () = tokio::time::sleep(SWEEP), if old_pictures => {
                old_pictures = reloader.sweep();
                continue;
            }
        }
        let changed = reloader.reload(edited.as_ref());
        if changed {
            data.look();
            let wanted = wanted(reloader.published());
            asking.send_if_modified(|before| wanted != std::mem::replace(before, Arc::clone(&wanted)));
            containers.edited();
        }
        old_pictures = reloader.sweep();
        log.set_level(level(reloader.published().load().snapshot.settings.log_level));
        if (reloader.watched(), reloader.watched_all_in()) != (&*watched.0, &*watched.1) {
            watched = watched_now(reloader);
            watcher.set_paths(watch_set(reloader));
        }
        reloader.standing().borrow_mut().polls = watcher.polls();
        if let Some(to) = answer
            && to.send(changed).is_err()
        {
            tracing::debug!("whoever asked for a reload has left");
        }
    }
}

fn watch_set(reloader: &Reloader) -> WatchSet {
    let paths = reloader.watched().iter();
    let set = paths.fold(WatchSet::new(), |set, path| if path.is_dir() { set.folder(path) } else { set.file(path) });
    reloader.watched_all_in().iter().fold(set, WatchSet::all_in)
}

/// The names that want a certificate.
fn wanted(published: &Published) -> Arc<Wanted> {
    let live = published.load();
    Wanted::of(&live.snapshot, &live.certificates)
}

/// Which certificate a TLS client gets: of what is in force at that moment.
fn certificates(published: &Published) -> impl rustls::server::ResolvesServerCert + use<> {
    let published = published.clone();
    Resolver::new(move |name: Option<&str>, schemes: &[rustls::SignatureScheme]| {
        let live = published.load();
        let store = &live.certificates;
        let found = name.and_then(|name| store.find(name)).and_then(|choices| choices.pick(schemes));
        found.or_else(|| store.fallback()).map(|certificate| Arc::clone(&certificate.pair))
    })
}

fn log_settings(settings: &Settings) -> log::Settings {
    let format = match settings.log_format {
        LogFormat::Text => log::Format::Text,
        LogFormat::Json => log::Format::Json,
    };
    log::Settings { level: level(settings.log_level), format }
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

struct Signals {
    end: Ends,
    hangup: Signal,
}

/// The signals that end the server.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let end = Ends { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
        Ok(Self { end, hangup: signal(SignalKind::hangup())? })
    }
}

impl Ends {
    /// Waits to be told to end, and says by what.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
