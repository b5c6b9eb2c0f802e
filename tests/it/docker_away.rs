//! The engine goes away and comes back: what runs is served on, and what happened meanwhile is noticed.

use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use bollard::query_parameters::KillContainerOptionsBuilder;

use crate::support::docker::Containers;
use crate::support::site::Site;
use crate::support::{eventually, skip};

/// Stands between tidegate and the engine, and can be cut.
struct Wire {
    path: PathBuf,
    engine: PathBuf,
    open: Arc<Mutex<Vec<UnixStream>>>,
    cut: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Wire {
    fn new(path: PathBuf) -> Option<Self> {
        let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
        let Some(engine) = host.strip_prefix("unix://").map(PathBuf::from) else {
            skip("docker", "the engine should be at a unix socket");
            return None;
        };
        let mut wire = Self { path, engine, open: Arc::default(), cut: Arc::default(), accepting: None };
        wire.mend();
        Some(wire)
    }

    /// Lets connections through.
    fn mend(&mut self) {
        self.cut.store(false, Ordering::SeqCst);
        let listener = UnixListener::bind(&self.path).expect("a socket");
        let (engine, open, cut) = (self.engine.clone(), Arc::clone(&self.open), Arc::clone(&self.cut));
        self.accepting = Some(thread::spawn(move || {
            for client in listener.incoming() {
                if cut.load(Ordering::SeqCst) {
                    return;
                }
                let client = client.expect("a connection");
                through(client, &engine, &open).expect("the engine");
            }
        }));
    }

    /// Breaks all connections, and lets no more through.
    fn cut(&mut self) {
        self.cut.store(true, Ordering::SeqCst);
        // The last that is accepted, and then no more.
        drop(UnixStream::connect(&self.path));
        if let Some(accepting) = self.accepting.take() {
            accepting.join().expect("no panic");
        }
        fs::remove_file(&self.path).expect("the socket");
        for stream in self.open.lock().expect("no panic").drain(..) {
            // It may be over already.
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.accepting.is_some() {
            self.cut();
        }
    }
}

/// Passes on what comes on either side, until one of them ends.
fn through(client: UnixStream, engine: &Path, open: &Mutex<Vec<UnixStream>>) -> io::Result<()> {
    let engine = UnixStream::connect(engine)?;
    open.lock().expect("no panic").extend([client.try_clone()?, engine.try_clone()?]);
    for (mut from, mut to) in [(client.try_clone()?, engine.try_clone()?), (engine, client)] {
        thread::spawn(move || {
            drop(io::copy(&mut from, &mut to));
            drop(to.shutdown(Shutdown::Both));
        });
    }
    Ok(())
}

fn notices(site: &Site) -> String {
    site.status()["notices"].to_string()
}

#[test]
fn what_runs_is_served_on_while_the_engine_is_away_and_what_happened_meanwhile_is_noticed() {
    let Some(containers) = Containers::new() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let Some(mut wire) = Wire::new(folder.path().join("engine.sock")) else { return };
    let (version, host) = (containers.version(1), containers.host());
    let site = Site::new()
        .root(&format!("docker: {{host: \"unix://{}\"}}\n", wire.path.display()))
        .service(containers.name(), &format!("versions:\n  {version}: {{image: {}}}\n", containers.image()))
        .start();
    assert_eq!(site.get(&host, "/").status(), 200);

    wire.cut();
    eventually("the notice", || notices(&site).contains("the Docker engine is away").then_some(()));
    for _ in 0..100 {
        assert_eq!(site.get(&host, "/").status(), 200);
    }
    let name = format!("{version}-1");
    let options = KillContainerOptionsBuilder::new().signal("KILL").build();
    containers.ask(async |client| client.kill_container(&name, Some(options)).await).expect("killed");
    eventually("its end", || (containers.state(&name) == "exited").then_some(()));

    wire.mend();
    eventually("the engine again", || (!notices(&site).contains("is away")).then_some(()));
    let answer = eventually("a new start", || Some(site.get(&host, "/")).filter(|answer| answer.status() == 200));
    assert!(answer.text().contains(" 1 "), "it has been started anew: {}", answer.text());
    assert_eq!(containers.names(), [name]);
}

/// The engine is not there when tidegate starts, and comes later: what runs is taken over then.
#[test]
fn an_engine_that_comes_later_is_found_and_what_runs_on_it_is_taken_over() {
    let Some(containers) = Containers::new() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let Some(mut wire) = Wire::new(folder.path().join("engine.sock")) else { return };
    let (version, host) = (containers.version(1), containers.host());
    let root = format!("docker: {{host: \"unix://{}\", owner: {}}}\n", wire.path.display(), containers.name());
    let service = format!("versions:\n  {version}: {{image: {}, start: {{timeout: 2s}}}}\n", containers.image());
    let site = || Site::new().root(&root).service(containers.name(), &service).start();
    let first = site();
    assert_eq!(first.get(&host, "/").status(), 200);
    drop(first);
    let name = format!("{version}-1");
    let run = containers.run_of(&name);

    wire.cut();
    let second = site();
    let refused = second.get(&host, "/");
    assert!(matches!(refused.status(), 503 | 504), "{}", refused.text());
    wire.mend();
    eventually("it is taken over", || (second.version(&version)["state"] == "normal").then_some(()));
    assert_eq!(second.get(&host, "/").status(), 200);
    assert_eq!(containers.run_of(&name), run, "it runs on as it was");
}

/// A version is deleted while the engine is away: its container goes when the engine is back, without another edit.
#[test]
fn what_is_deleted_while_the_engine_is_away_is_removed_when_it_is_back() {
    let Some(containers) = Containers::new() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let Some(mut wire) = Wire::new(folder.path().join("engine.sock")) else { return };
    let (version, host) = (containers.version(1), containers.host());
    let entry = |number| format!("  {}: {{image: {}}}\n", containers.version(number), containers.image());
    let site = Site::new()
        .root(&format!("docker: {{host: \"unix://{}\"}}\n", wire.path.display()))
        .service(containers.name(), &format!("weights: {{{version}: 100}}\nversions:\n{}{}", entry(1), entry(2)))
        .start();
    assert_eq!(site.get(&host, "/").status(), 200);

    wire.cut();
    eventually("the notice", || notices(&site).contains("the Docker engine is away").then_some(()));
    site.edit_service(containers.name(), &format!("last_version: 2\nversions:\n{}", entry(2)));
    eventually("the edit", || site.log().contains("may still run").then_some(()));
    wire.mend();
    eventually("its end", || (containers.state(&format!("{version}-1")) == "gone").then_some(()));
}
