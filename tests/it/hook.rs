//! Versions that commands start and stop.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tidegate::lifecycle::ports::PortGuard;
use tidegate::lifecycle::provider::error::StartError;
use tidegate::lifecycle::provider::hook::{HookInstance, HookProvider};
use tidegate::model::version::{Endpoint, HookSpec, Readiness, Start, Stop};

use crate::process::{TIDEGATE, version, within};
use crate::support::ports::ports;
use crate::support::process::{is_alive, write_program};
use crate::support::site::Site;
use crate::support::{PATIENCE, eventually};

/// Asked so often in tests.
const STATUS_EVERY: Duration = Duration::from_millis(50);

/// A version of scripts in a folder, which write what they did to the file `ledger` there.
struct Hook {
    dir: TempDir,
    port: PortGuard,
    spec: HookSpec,
}

impl Hook {
    /// Its start is this script. Its stop kills the process whose number is in the file `pid`. No status.
    fn new(start: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let port = ports().take().expect("a port");
        let urls = Box::new([Endpoint { host: "127.0.0.1".into(), port: port.port() }]);
        let spec = HookSpec { urls, start: Box::new([]), stop: Box::new([]), status: None };
        let mut hook = Self { dir, port, spec };
        hook.spec.start = hook.script("start", start);
        hook.spec.stop = hook.script("stop", "kill $(cat pid)");
        hook
    }

    /// A daemon that goes into the background with its output where the command's was, as careless ones do.
    fn daemon() -> Self {
        let mut hook = Self::new("");
        let port = hook.port.port();
        let start = format!("PORT={port} setsid {TIDEGATE} demo &\necho $! > pid\necho started");
        hook.spec.start = hook.script("start", &start);
        hook
    }

    /// Its status is whether the process in `pid` lives.
    fn with_status(self) -> Self {
        self.with_status_script("kill -0 $(cat pid)")
    }

    fn with_status_script(mut self, script: &str) -> Self {
        self.spec.status = Some(self.script("status", script));
        self
    }

    fn with_stop(mut self, script: &str) -> Self {
        self.spec.stop = self.script("stop", script);
        self
    }

    fn script(&self, name: &str, script: &str) -> Box<[String]> {
        let path = self.path().join(name);
        let text =
            format!("#!/bin/sh\ncd {}\necho {name} $TIDEGATE_VERSION >> ledger\n{script}\n", self.path().display());
        write_program(&path, &text);
        Box::new([path.to_str().expect("UTF-8").to_owned()])
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    async fn try_start(&self, timeout_ms: u64) -> Result<HookInstance, StartError> {
        let provider = HookProvider::default().with_status_every(STATUS_EVERY).with_open_files(Some(512));
        provider.start(&version(), &self.spec, &within(timeout_ms), &Stop::default()).await
    }

    async fn start(&self) -> HookInstance {
        self.try_start(60_000).await.expect("it can be started")
    }

    /// What the scripts did, each once.
    fn ledger(&self) -> Vec<String> {
        let ledger = fs::read_to_string(self.path().join("ledger")).unwrap_or_default();
        ledger.lines().map(str::to_owned).collect()
    }

    /// The process in the file `pid`.
    fn pid(&self) -> u32 {
        eventually("a process id", || fs::read_to_string(self.path().join("pid")).ok()?.trim().parse().ok())
    }
}

/// Nothing outlives a test, not even one that failed.
impl Drop for Hook {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.path().join("pid")).ok().and_then(|pid| pid.trim().parse().ok());
        if let Some(pid) = pid {
            let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

#[tokio::test]
async fn a_daemon_comes_up_without_holding_up_the_start_and_the_stop_command_ends_it() {
    let hook = Hook::daemon();
    let mut instance = hook.start().await;
    let readiness = Readiness::Http("/healthz".into());
    instance.ready(&Start { timeout: PATIENCE, ready: readiness }).await.expect("ready");
    let pid = hook.pid();
    assert!(is_alive(pid), "the command has ended, and its daemon has not");
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("alive");
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    assert_eq!(open_files.split_whitespace().nth(3), Some("512"), "not tidegate's own, which is raised");
    let report = instance.stop(&Stop::default()).await;
    assert_eq!((report.code, report.killed), (Some(0), false), "{report}");
    eventually("the end", || (!is_alive(pid)).then_some(()));
    assert_eq!(hook.ledger(), ["start shop-003", "stop shop-003"]);
}

#[tokio::test]
async fn what_runs_already_is_adopted() {
    let hook = Hook::daemon().with_status();
    let mut first = hook.start().await;
    first.ready(&within(60_000)).await.expect("ready");
    // As with a kill of tidegate: it goes on running.
    drop(first);
    assert!(is_alive(hook.pid()));
    let mut second = hook.start().await;
    second.ready(&within(60_000)).await.expect("ready");
    assert_eq!(hook.ledger(), ["status shop-003", "start shop-003", "status shop-003"]);
    second.stop(&Stop::default()).await;
}

#[tokio::test]
async fn a_start_that_fails_shows_its_code_and_its_last_lines() {
    let hook = Hook::new("echo pulling; echo 'no such image' >&2; exit 3");
    let error = hook.try_start(60_000).await.expect_err("it fails").to_string();
    assert!(error.contains("`hook.start` failed: exit code 3"), "{error}");
    assert!(error.contains("\n  pulling") && error.contains("\n  no such image"), "{error}");
    assert_eq!(hook.ledger(), ["start shop-003", "stop shop-003"], "what it had done is undone");
    assert!(error.contains("\n`hook.stop` failed too"), "there is no pid to kill: {error}");
}

#[tokio::test]
async fn a_start_that_fails_half_way_leaves_nothing_running() {
    let hook = Hook::new("setsid sleep 1000 > /dev/null 2>&1 &\necho $! > pid\nexit 3");
    let error = hook.try_start(60_000).await.expect_err("it fails").to_string();
    assert!(error.contains("`hook.start` failed: exit code 3") && !error.contains("hook.stop"), "{error}");
    let pid = hook.pid();
    eventually("the end", || (!is_alive(pid)).then_some(()));
}

#[tokio::test]
async fn a_command_that_is_missing_is_named() {
    let mut hook = Hook::new("");
    hook.spec.start = Box::new(["tidegate-no-such-program".to_owned()]);
    let error = hook.try_start(60_000).await.expect_err("missing");
    assert!(matches!(&error, StartError::NotFound { program } if program == "tidegate-no-such-program"), "{error}");
}

#[tokio::test]
async fn a_start_that_takes_too_long_is_killed_with_its_group() {
    let hook = Hook::new("echo waiting for the database\nsleep 1000 &\necho $! > pid\nwait");
    let began = Instant::now();
    let error = hook.try_start(3_000).await.expect_err("it hangs").to_string();
    assert!(began.elapsed() < PATIENCE, "far less than what it sleeps");
    assert!(error.contains("`hook.start` did not end within") && error.contains("waiting for the database"), "{error}");
    assert!(!is_alive(hook.pid()), "what it started is killed too");
    assert_eq!(hook.ledger(), ["start shop-003", "stop shop-003"]);
}

#[tokio::test]
async fn a_start_that_nobody_waits_for_any_more_is_killed_and_undone_before_the_next() {
    // Its first start leaves a container behind and waits; its second one is quick.
    let hook = Hook::new(
        "[ -e again ] && exit 0\ntouch again\nsetsid sleep 1000 > /dev/null 2>&1 &\necho $! > pid\necho $$ > own.tmp\n\
         mv own.tmp own\nexec sleep 1000",
    )
    .with_stop("sleep 0.3; kill $(cat pid); echo stopped >> ledger");
    let provider = HookProvider::default();
    let (version, start, stop) = (version(), within(60_000), Stop::default());
    let path = hook.path().join("own");
    let written = tokio::task::spawn_blocking(move || eventually("its start", || fs::metadata(&path).ok()));
    tokio::select! {
        started = provider.start(&version, &hook.spec, &start, &stop) => panic!("it hangs: {started:?}"),
        written = written => assert!(written.is_ok()),
    }
    let own = fs::read_to_string(hook.path().join("own")).expect("written").trim().parse().expect("a number");
    let second = provider.clone().start(&version, &hook.spec, &start, &stop).await;
    assert!(second.is_ok(), "{second:?}");
    assert_eq!(hook.ledger(), ["start shop-003", "stop shop-003", "stopped", "start shop-003"]);
    let pid = hook.pid();
    eventually("the end", || (!is_alive(pid) && !is_alive(own)).then_some(()));
}

#[tokio::test]
async fn who_never_listens_runs_into_the_timeout_with_the_last_lines() {
    let hook = Hook::new("echo no port published");
    let mut instance = hook.start().await;
    let error = instance.ready(&within(300)).await.expect_err("nobody listens").to_string();
    assert!(error.contains("not ready within 300ms") && error.contains("nothing accepts on"), "{error}");
    assert!(error.contains("no port published"), "{error}");
}

#[tokio::test]
async fn all_urls_have_to_answer() {
    let mut hook = Hook::daemon();
    let second = ports().take().expect("a port");
    hook.spec.urls = Box::new([
        Endpoint { host: "localhost".into(), port: hook.port.port() },
        Endpoint { host: "127.0.0.1".into(), port: second.port() },
    ]);
    let mut instance = hook.start().await;
    let first = ("127.0.0.1", hook.port.port());
    eventually("the first", || TcpStream::connect(first).ok());
    let error = instance.ready(&within(1_500)).await.expect_err("one does not listen").to_string();
    assert!(error.contains(&format!("nothing accepts on 127.0.0.1:{}", second.port())), "{error}");
    let _second = TcpListener::bind(("127.0.0.1", second.port())).expect("nobody listens there");
    instance.ready(&within(60_000)).await.expect("both do");
    assert_eq!(instance.urls().len(), 2);
    instance.stop(&Stop::default()).await;
}

#[tokio::test]
async fn status_notices_the_end_and_says_so() {
    let hook = Hook::daemon().with_status();
    let mut instance = hook.start().await;
    instance.ready(&within(60_000)).await.expect("ready");
    let pid = hook.pid();
    let early = tokio::time::timeout(STATUS_EVERY * 4, instance.exited()).await;
    assert!(early.is_err(), "it runs: {early:?}");
    kill(Pid::from_raw(pid.try_into().expect("positive")), Signal::SIGKILL).expect("alive");
    let report = tokio::time::timeout(PATIENCE, instance.exited()).await.expect("it is noticed");
    assert!(report.to_string().contains("`hook.status` says that it does not run"), "{report}");
    assert_eq!(instance.exited().await, report, "asked again, it says the same");
}

#[tokio::test]
async fn a_status_that_cannot_say_is_no_end() {
    let hook = Hook::daemon().with_status();
    let mut instance = hook.start().await;
    instance.ready(&within(60_000)).await.expect("ready");
    fs::remove_file(hook.path().join("status")).expect("a file");
    let early = tokio::time::timeout(STATUS_EVERY * 4, instance.exited()).await;
    assert!(early.is_err(), "nobody knows: {early:?}");
    instance.stop(&Stop::default()).await;
}

#[tokio::test]
async fn a_status_that_hangs_at_the_start_is_an_error() {
    let hook = Hook::daemon().with_status_script("echo asking; sleep 1000");
    let error = hook.try_start(3_000).await.expect_err("it hangs").to_string();
    assert!(error.contains("`hook.status` did not end within 3s") && error.contains("asking"), "{error}");
    assert_eq!(hook.ledger(), ["status shop-003"], "nothing was started, so nothing is stopped");
}

#[tokio::test]
async fn a_stop_that_fails_is_reported_with_its_last_lines() {
    let hook = Hook::daemon().with_stop("echo 'cannot reach the daemon' >&2; exit 4");
    let instance = hook.start().await;
    let report = instance.stop(&Stop::default()).await;
    assert_eq!((report.code, report.killed, report.stop_failed), (Some(4), false, true));
    assert_eq!(report.last_lines, ["cannot reach the daemon"]);
}

#[tokio::test]
async fn a_stop_that_hangs_is_killed_after_ten_seconds_at_least() {
    let hook = Hook::daemon().with_stop("echo stopping; sleep 1000");
    let instance = hook.start().await;
    let began = Instant::now();
    let report = instance.stop(&Stop { grace: Duration::from_millis(100), ..Stop::default() }).await;
    assert!(report.killed && report.stop_failed && report.last_lines == ["stopping"], "{report:?}");
    assert!(began.elapsed() >= Duration::from_secs(10));
}

impl Hook {
    /// A tidegate whose version this is, which never sleeps.
    fn site(&self) -> Site {
        let service = format!(
            "versions:\n  shop-003:\n    urls: [\"http://127.0.0.1:{}\"]\n    hook: {{start: [{}], stop: [{}]}}\n    keep: true\n",
            self.port.port(),
            self.spec.start[0],
            self.spec.stop[0]
        );
        Site::new().service("shop", &service).start()
    }
}

#[test]
fn kill_9_of_tidegate_ends_a_start_command_and_leaves_what_that_left_behind() {
    let hook = Hook::new(
        "setsid sleep 1000 > /dev/null 2>&1 &\necho $! > pid\necho $$ > own.tmp\nmv own.tmp own\nexec sleep 1000",
    );
    let mut site = hook.site();
    let own: u32 = eventually("its start", || fs::read_to_string(hook.path().join("own")).ok()?.trim().parse().ok());
    assert!(is_alive(own));
    site.signal("KILL");
    eventually("the end", || (!is_alive(own)).then_some(()));
    assert!(is_alive(hook.pid()), "it was left behind on purpose");
    assert_eq!(site.wait(), None);
}

#[test]
fn a_stop_that_fails_is_not_logged_as_a_stop() {
    let hook = Hook::daemon().with_stop("echo 'cannot reach the daemon' >&2; exit 4");
    let mut site = hook.site();
    eventually("the version", || (site.get("shop.localhost", "/").status() == 200).then_some(()));
    site.signal("TERM");
    site.wait();
    let log = site.log();
    assert!(log.contains("`hook.stop` failed, so the version may still run: exit code 4"), "{log}");
    assert!(!log.contains("the version is stopped"), "{log}");
}

#[test]
fn the_end_of_tidegate_in_the_middle_of_a_start_undoes_it_all_the_same() {
    let hook = Hook::new("touch began; exec sleep 1000").with_stop("sleep 0.3; echo to nobody; echo stopped >> ledger");
    let mut site = hook.site();
    eventually("its start", || hook.path().join("began").exists().then_some(()));
    site.signal("TERM");
    assert_eq!(site.wait(), Some(0));
    eventually("the stop", || hook.ledger().contains(&"stopped".to_owned()).then_some(()));
}
