//! Versions that are processes: started, probed, stopped, and gone whatever happens to tidegate.

use std::collections::HashSet;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tidegate::lifecycle::provider::error::StartError;
use tidegate::lifecycle::provider::process::{ProcessInstance, ProcessProvider};
use tidegate::model::name::{ServiceName, VersionName};
use tidegate::model::version::{ProcessSpec, Readiness, Start, Stop, StopSignal};

use crate::support::ports::ports;
use crate::support::process::{is_alive, write_program};
use crate::support::raw::Raw;
use crate::support::site::{Site, tidegate};
use crate::support::{PATIENCE, eventually};

pub(crate) const TIDEGATE: &str = env!("CARGO_BIN_EXE_tidegate");

/// How long anybody may live once tidegate is gone, on a machine as busy as can be: it is a second where there is somebody to run.
const A_BUSY_SECOND: Duration = Duration::from_secs(20);
/// Far more than that.
const LONG: Stop = Stop { signal: StopSignal::Term, grace: Duration::from_secs(300) };

pub(crate) fn version() -> VersionName {
    VersionName::numbered(&ServiceName::new("shop").expect("a name"), 3)
}

pub(crate) fn spec(command: &[&str]) -> ProcessSpec {
    ProcessSpec { command: command.iter().map(ToString::to_string).collect(), env: Box::new([]), cwd: None, user: None }
}

pub(crate) fn shell(script: &str) -> ProcessSpec {
    spec(&["sh", "-c", script])
}

pub(crate) fn within(milliseconds: u64) -> Start {
    Start { timeout: Duration::from_millis(milliseconds), ready: Readiness::Port }
}

pub(crate) async fn try_start(spec: &ProcessSpec) -> Result<ProcessInstance, StartError> {
    let provider = ProcessProvider::with_supervisor(TIDEGATE.into(), ports());
    provider.start(&version(), spec, &Start::default(), &Stop::default()).await
}

pub(crate) async fn start(spec: &ProcessSpec) -> ProcessInstance {
    try_start(spec).await.expect("it can be started")
}

/// The processes that have `mark` in their environment, which all descendants inherit.
pub(crate) fn marked(mark: &str) -> HashSet<i32> {
    let entries =
        fs::read_dir("/proc").expect("/proc").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let has_mark = |pid: &i32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    entries.filter(has_mark).collect()
}

/// Asserts that nobody with `mark` lives when a grace that is far longer would not be over, and says so as soon as that is true.
pub(crate) fn nobody_left_in_a_second(mark: &str) {
    let deadline = Instant::now() + A_BUSY_SECOND;
    loop {
        let left = marked(mark);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "still alive: {left:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn becomes_ready_answers_and_stops() {
    let mut instance = start(&spec(&[TIDEGATE, "demo"])).await;
    let readiness = Readiness::Http("/healthz".into());
    instance.ready(&Start { timeout: PATIENCE, ready: readiness }).await.expect("ready");
    let mut raw = Raw::connect(instance.address());
    let answer = raw.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").response();
    assert_eq!(answer.text(), "hello from shop-003\n");
    let pid = instance.pid().expect("a pid");
    assert!(is_alive(pid));
    let report = instance.stop(&Stop::default()).await;
    assert_eq!((report.code, report.killed), (Some(0), false), "{report}");
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn an_exit_before_readiness_shows_code_and_last_lines() {
    let mut instance = start(&shell("echo connecting; echo 'no database' >&2; exit 3")).await;
    let error = instance.ready(&within(60_000)).await.expect_err("it exits").to_string();
    assert!(error.contains("exit code 3") && error.contains("no database") && error.contains("connecting"), "{error}");
    assert_eq!(instance.exited().await.code, Some(3), "asked again, it says the same");
}

#[tokio::test]
async fn a_program_that_goes_into_the_background_is_told_to_stay() {
    let mark = format!("MARK=background-{}", std::process::id());
    let script = format!("{mark} sleep 1000 & exit 0");
    let mut instance = start(&shell(&script)).await;
    let error = instance.ready(&within(60_000)).await.expect_err("it exits").to_string();
    assert!(error.contains("exit code 0") && error.contains("stay in the foreground"), "{error}");
    // What it left behind goes with it.
    nobody_left_in_a_second(&mark);
}

#[tokio::test]
async fn a_crash_is_noticed_at_once_and_what_is_left_behind_keeps_the_port_until_it_is_gone() {
    let dir = tempfile::tempdir().expect("a folder");
    let mark = format!("MARK=crash-{}", std::process::id());
    let script = format!(
        "{mark} sh -c 'trap \"\" TERM; touch up; while :; do sleep 0.02; done' & \
         while [ ! -e crash ]; do sleep 0.01; done; echo 'out of luck'; touch crashed; exit 7"
    );
    let provider = ProcessProvider::with_supervisor(TIDEGATE.into(), ports());
    let mut instance =
        provider.start(&version(), &in_folder(dir.path(), &script), &Start::default(), &LONG).await.expect("started");
    eventually("the child", || dir.path().join("up").exists().then_some(()));
    fs::write(dir.path().join("crash"), "").expect("write");
    eventually("the crash", || dir.path().join("crashed").exists().then_some(()));
    let began = Instant::now();
    let report = instance.exited().await;
    let took = began.elapsed();
    assert!(took < LONG.grace / 10, "{took:?}");
    assert_eq!((report.code, report.killed, report.last_lines), (Some(7), false, vec!["out of luck".to_owned()]));
    assert!(!marked(&mark).is_empty(), "its child takes no notice of TERM");
    let port = instance.address().port();
    drop(instance);
    let next = provider
        .start(&version(), &shell("exec sleep 1000"), &Start::default(), &Stop::default())
        .await
        .expect("started");
    assert_ne!(next.address().port(), port);
    nobody_left_in_a_second(&mark);
}

#[tokio::test]
async fn a_program_that_is_missing_or_cannot_run_is_named() {
    let error = try_start(&spec(&["tidegate-no-such-program"])).await.expect_err("missing");
    assert!(matches!(error, StartError::NotFound { .. }));
    assert!(
        error.to_string().contains("`tidegate-no-such-program` was not found in the directories of PATH"),
        "{error}"
    );
    let error = try_start(&spec(&["./nothing"])).await.expect_err("missing").to_string();
    assert!(error.contains("`./nothing` was not found") && error.contains("relative to the file"), "{error}");
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("plain"), "text").expect("write");
    let in_dir = |command: &[&str]| ProcessSpec { cwd: Some(dir.path().to_owned()), ..spec(command) };
    let error = try_start(&in_dir(&["./plain"])).await.expect_err("no x bit").to_string();
    assert!(error.contains("`./plain` cannot be executed") && error.contains("chmod +x"), "{error}");
    let nowhere = ProcessSpec { cwd: Some(dir.path().join("gone")), ..spec(&["true"]) };
    let error = try_start(&nowhere).await.expect_err("no folder").to_string();
    let said = format!("there is no folder `{}`", dir.path().join("gone").display());
    assert!(error.contains(&said) && error.contains("`cwd` should name one"), "{error}");
}

#[tokio::test]
async fn gets_its_environment_and_its_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    let script = dir.path().join("run");
    write_program(
        &script,
        "#!/bin/sh\necho \"$MODE $TIDEGATE_VERSION $PORT\" > said.tmp && mv said.tmp said; read x; exit 5\n",
    );
    let env = Box::new([("MODE".to_owned(), "production".to_owned()), ("PORT".to_owned(), "1".to_owned())]);
    let spec = ProcessSpec { env, cwd: Some(dir.path().to_owned()), ..spec(&["./run"]) };
    let mut instance = start(&spec).await;
    let port = instance.address().port();
    let report = instance.exited().await;
    assert_eq!(report.code, Some(5), "standard input is empty: {report}");
    assert_eq!(fs::read_to_string(dir.path().join("said")).expect("said"), format!("production shop-003 {port}\n"));
}

#[tokio::test]
async fn a_program_on_another_port_has_that_port_named() {
    let other = ports().take().expect("a port");
    let mut instance = start(&shell(&format!("PORT={} exec {TIDEGATE} demo", other.port()))).await;
    eventually("the program", || TcpStream::connect(("127.0.0.1", other.port())).ok());
    let error = instance.ready(&within(1_000)).await.expect_err("nothing on its port").to_string();
    let (found, wanted) = (format!("listens on 127.0.0.1:{}", other.port()), format!("not on {}", instance.address()));
    assert!(error.contains(&found) && error.contains(&wanted) && error.contains("PORT"), "{error}");
}

#[tokio::test]
async fn a_program_that_never_listens_runs_into_its_timeout() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut instance = start(&in_folder(dir.path(), "echo busy; touch up; read x < /dev/zero")).await;
    eventually("its word", || dir.path().join("up").exists().then_some(()));
    let began = Instant::now();
    let error = instance.ready(&within(400)).await.expect_err("nobody listens").to_string();
    assert!(error.contains("not ready within 400ms") && error.contains("busy"), "{error}");
    assert!(began.elapsed() < PATIENCE);
}

#[tokio::test]
async fn a_program_that_listens_late_is_ready_when_it_does() {
    let began = Instant::now();
    let mut instance = start(&shell(&format!("sleep 0.4; exec {TIDEGATE} demo"))).await;
    instance.ready(&within(60_000)).await.expect("it listens in the end");
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert!(TcpStream::connect(instance.address()).is_ok());
}

#[tokio::test]
async fn a_program_that_accepts_and_never_answers_runs_into_its_timeout() {
    // The kernel accepts for a program that is stopped.
    let mut instance = start(&spec(&[TIDEGATE, "demo"])).await;
    instance.ready(&within(60_000)).await.expect("its port is open");
    let pid = Pid::from_raw(instance.pid().expect("a pid").try_into().expect("positive"));
    kill(pid, Signal::SIGSTOP).expect("alive");
    let patience = Start { timeout: Duration::from_secs(4), ready: Readiness::Http("/healthz".into()) };
    let error = instance.ready(&patience).await.expect_err("no answer").to_string();
    assert!(error.contains("GET /healthz") && error.contains("got no HTTP/1 answer"), "{error}");
    let report = instance.stop(&Stop { grace: Duration::from_millis(300), ..Stop::default() }).await;
    assert!(report.killed, "{report}");
}

/// A program that waits for the file `taken` on its first start, and each time writes the port that it was told to `port-N`.
fn told_ports(dir: &Path, last: &str) -> ProcessSpec {
    let script = format!(
        "n=1; [ -e port-1 ] && n=2; echo $PORT > tmp && mv tmp port-$n; while [ ! -e taken ]; do sleep 0.01; done; {last}"
    );
    in_folder(dir, &script)
}

/// The port that the program was told by its `n`th start, once it was.
fn told_port(dir: &Path, n: u8) -> Option<u16> {
    fs::read_to_string(dir.join(format!("port-{n}"))).ok()?.trim().parse().ok()
}

#[tokio::test]
async fn a_program_that_exits_because_its_port_is_taken_is_started_on_another() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut instance = start(&told_ports(dir.path(), &format!("exec {TIDEGATE} demo"))).await;
    let stranger = TcpListener::bind(instance.address()).expect("the program does not listen yet");
    fs::write(dir.path().join("taken"), "").expect("write");
    let readiness = Readiness::Http("/healthz".into());
    instance.ready(&Start { timeout: PATIENCE, ready: readiness }).await.expect("ready");
    let ports = [1, 2].map(|n| told_port(dir.path(), n).expect("two starts"));
    assert_eq!(ports[0], stranger.local_addr().expect("bound").port());
    assert_eq!(ports[1], instance.address().port());
    assert_ne!(ports[0], ports[1]);
}

#[tokio::test]
async fn a_stranger_on_the_port_is_not_taken_for_the_program_which_gets_another_port() {
    let dir = tempfile::tempdir().expect("a folder");
    // The first start takes no notice of its port, as programs do that log the failure and go on.
    let last = format!("[ $n = 1 ] && exec sleep 1000; exec {TIDEGATE} demo");
    fs::write(dir.path().join("taken"), "").expect("write");
    let mut instance = start(&told_ports(dir.path(), &last)).await;
    let stranger = TcpListener::bind(instance.address()).expect("the program does not listen");
    eventually("the first start", || told_port(dir.path(), 1));
    let first = instance.pid().expect("a pid");
    instance.ready(&within(60_000)).await.expect("ready");
    assert_ne!(instance.address(), stranger.local_addr().expect("bound"));
    assert_eq!(told_port(dir.path(), 2), Some(instance.address().port()));
    assert!(!is_alive(first), "nothing is left of the first start");
}

#[tokio::test]
async fn a_second_port_that_is_taken_too_is_the_end() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("taken"), "").expect("write");
    // Both ports are accepted on by somebody else once the program says which they are.
    let last = "while [ ! -e listened-$n ]; do sleep 0.01; done; exec sleep 1000";
    let mut instance = start(&told_ports(dir.path(), last)).await;
    let folder = dir.path().to_owned();
    let strangers = tokio::task::spawn_blocking(move || {
        [1, 2].map(|n| {
            let port = eventually("a start", || told_port(&folder, n));
            let listener = TcpListener::bind(("127.0.0.1", port)).expect("the program does not listen");
            fs::write(folder.join(format!("listened-{n}")), "").expect("write");
            listener
        })
    });
    let error = instance.ready(&within(60_000)).await.expect_err("not ours");
    let strangers = strangers.await.expect("both ports were taken");
    let second = strangers[1].local_addr().expect("bound").port();
    assert!(matches!(error, StartError::PortTaken { port } if port == second), "{error}");
    assert!(error.to_string().contains(&second.to_string()) && error.to_string().contains("process.ports"), "{error}");
    assert_eq!(instance.address().port(), second);
}

#[tokio::test]
async fn a_listener_that_a_child_of_the_program_holds_is_ours() {
    let mut instance = start(&shell(&format!("setsid {TIDEGATE} demo; exit 1"))).await;
    instance.ready(&within(60_000)).await.expect("ready");
    let address = instance.address();
    instance.stop(&Stop::default()).await;
    assert!(TcpStream::connect(address).is_err(), "the child is stopped too");
}

#[tokio::test]
async fn who_ignores_the_stop_signal_is_killed_after_the_grace() {
    let dir = tempfile::tempdir().expect("a folder");
    let instance = start(&in_folder(dir.path(), "trap '' TERM; touch up; while :; do sleep 0.02; done")).await;
    eventually("the trap", || dir.path().join("up").exists().then_some(()));
    let stop = Stop { signal: StopSignal::Term, grace: Duration::from_millis(300) };
    let began = Instant::now();
    let report = instance.stop(&stop).await;
    assert_eq!((report.code, report.killed), (Some(137), true), "{report}");
    let took = began.elapsed();
    assert!(took >= stop.grace && took < stop.grace + A_BUSY_SECOND, "{took:?}");
}

#[tokio::test]
async fn the_stop_signal_is_the_one_asked_for_last_and_the_grace_is_used() {
    let dir = tempfile::tempdir().expect("a folder");
    // Not INT, which a shell cannot trap where the tests run in the background of another.
    let script = "trap 'sleep 0.7; exit 9' USR1; trap '' TERM; touch up; while :; do sleep 0.02; done";
    let instance = start(&in_folder(dir.path(), script)).await;
    eventually("the trap", || dir.path().join("up").exists().then_some(()));
    // Started with TERM; the file was edited since.
    let report = instance.stop(&Stop { signal: StopSignal::Usr1, grace: PATIENCE }).await;
    assert_eq!((report.code, report.killed), (Some(9), false), "{report}");
}

fn in_folder(path: &Path, script: &str) -> ProcessSpec {
    ProcessSpec { cwd: Some(path.to_owned()), ..shell(script) }
}

#[tokio::test]
async fn dropped_it_is_stopped_all_the_same() {
    let mut instance = start(&spec(&[TIDEGATE, "demo"])).await;
    instance.ready(&within(60_000)).await.expect("ready");
    let (pid, address) = (instance.pid().expect("a pid"), instance.address());
    drop(instance);
    eventually("the end", || (!is_alive(pid) && TcpStream::connect(address).is_err()).then_some(()));
}

#[tokio::test]
async fn kill_9_of_the_supervisor_ends_the_program_too() {
    let mut instance = start(&shell(&format!("{TIDEGATE} demo & wait"))).await;
    instance.ready(&within(60_000)).await.expect("ready");
    let stat = fs::read_to_string(format!("/proc/{}/stat", instance.pid().expect("a pid"))).expect("alive");
    let supervisor = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)).expect("a parent");
    kill(Pid::from_raw(supervisor.parse().expect("a pid")), Signal::SIGKILL).expect("alive");
    let report = instance.exited().await;
    assert_eq!(report.code, None, "{report}");
    let address = instance.address();
    eventually("the end of all", || TcpStream::connect(address).is_err().then_some(()));
}

/// A shell, its child, a grandchild in a session of its own and one whose parent has died; all but the first ignore TERM.
pub(crate) const FAMILY: &str = "\
    sh -c 'trap \"\" TERM; touch one; sleep 1000; sleep 1000' & \
    setsid sh -c 'trap \"\" TERM; touch two; sleep 1000; sleep 1000' & \
    (setsid sh -c '(trap \"\" TERM; touch three; sleep 1000; sleep 1000) & exit' &) ; \
    wait";

pub(crate) fn await_family(dir: &Path) {
    eventually("the family", || ["one", "two", "three"].iter().all(|name| dir.join(name).exists()).then_some(()));
}

/// The supervisor alone, at the end of a pipe, with the family below it.
fn supervised_family(dir: &Path, mark: &str) -> Child {
    let (name, value) = mark.split_once('=').expect("NAME=value");
    let mut command = tidegate();
    command.args(["supervise", "--grace-ms", "60000", "--signal", "TERM", "--", "sh", "-c", FAMILY]);
    command.env(name, value).current_dir(dir).stdin(Stdio::piped()).spawn().expect("spawn")
}

#[test]
fn the_end_of_the_pipe_ends_the_whole_family_within_a_second() {
    let dir = tempfile::tempdir().expect("a folder");
    let mark = format!("MARK=pipe-{}", std::process::id());
    let mut supervisor = supervised_family(dir.path(), &mark);
    await_family(dir.path());
    // The supervisor, the shell, and three times a shell with a sleep.
    eventually("eight processes", || (marked(&mark).len() == 8).then_some(()));
    drop(supervisor.stdin.take());
    // The supervisor itself is a zombie afterwards, until it is waited for below.
    nobody_left_in_a_second(&mark);
    assert!(supervisor.wait().expect("wait").code().is_some());
}

#[test]
fn kill_9_of_tidegate_leaves_nobody_a_second_later() {
    let mark = format!("MARK=serve-{}", std::process::id());
    let (name, value) = mark.split_once('=').expect("NAME=value");
    let script = format!("echo said by the version; {} exec {TIDEGATE} demo", FAMILY.replace("wait", ""));
    let service = format!(
        "versions:\n  shop-001:\n    command: [sh, -c, {}]\n    cwd: ..\n    env: {{{name}: {value}}}\n    \
         stop: {{grace: 300s}}\n",
        serde_json::to_string(&script).expect("JSON is YAML")
    );
    let mut site = Site::new().service("shop", &service).start();
    eventually("the version", || (site.get("shop.localhost", "/").status() == 200).then_some(()));
    await_family(site.path());
    assert!(site.log().contains("said by the version"), "{}", site.log());
    site.signal("KILL");
    nobody_left_in_a_second(&mark);
    assert_eq!(site.wait(), None);
}

#[test]
fn a_version_that_writes_too_much_has_lines_left_out_of_the_log() {
    let script = format!("seq -f 'line number %g' 20000; exec {TIDEGATE} demo");
    let command = serde_json::to_string(&script).expect("JSON is YAML");
    let service = format!("versions:\n  shop-001:\n    command: [sh, -c, {command}]\n");
    let mut site = Site::new().service("shop", &service).start();
    eventually("the version", || (site.get("shop.localhost", "/").status() == 200).then_some(()));
    eventually("the count", || site.log().contains("lines left out").then_some(()));
    let logged = site.log().matches("line number").count();
    assert!((1_000..60_000).contains(&logged), "{logged}");
    site.signal("TERM");
    site.wait();
}

#[test]
fn supervise_says_what_it_cannot_run_and_passes_exit_codes_on() {
    let supervise = |command: &[&str]| {
        let mut supervise = tidegate();
        supervise.args(["supervise", "--grace-ms", "1000", "--signal", "TERM", "--"]).args(command);
        // A pipe that stays open until the child has ended.
        let child = supervise.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("spawn");
        wait_with_pipe(child)
    };
    let (code, said) = supervise(&["tidegate-no-such-program"]);
    assert_eq!(code, Some(127));
    assert!(said.contains("cannot run `tidegate-no-such-program`: No such file or directory"), "{said}");
    assert_eq!(supervise(&["/"]).0, Some(126));
    assert_eq!(supervise(&["sh", "-c", "exit 42"]).0, Some(42));
    assert_eq!(supervise(&["sh", "-c", "kill -KILL $$"]).0, Some(137));
}

/// Waits without closing the child's standard input first, as `Child::wait` would.
fn wait_with_pipe(mut child: Child) -> (Option<i32>, String) {
    let pipe = child.stdin.take();
    let output = child.wait_with_output().expect("wait");
    drop(pipe);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}
