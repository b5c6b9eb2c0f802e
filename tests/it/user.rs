//! Processes that run as another user: what they are, what they see, and that they end like all others.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::unistd::{User, geteuid};
use tidegate::lifecycle::provider::error::StartError;
use tidegate::lifecycle::provider::user::UserError;
use tidegate::model::version::{ProcessSpec, Start, Stop};

use crate::process::{FAMILY, await_family, marked, nobody_left_in_a_second, shell, spec, start, try_start, within};
use crate::support::site::tidegate;
use crate::support::{eventually, skip};

/// The user that is on every host, and owns nothing.
fn nobody() -> Option<User> {
    if !geteuid().is_root() {
        skip("root", "run the tests as root");
        return None;
    }
    let nobody = User::from_name("nobody").expect("the user database");
    if nobody.is_none() {
        skip("nobody", "create the user `nobody`");
    }
    nobody
}

/// A folder that all may write to.
fn open_folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("chmod");
    dir
}

fn as_user(user: &str, spec: ProcessSpec) -> ProcessSpec {
    ProcessSpec { user: Some(user.into()), ..spec }
}

/// What a shell says of itself when it runs as `user`.
async fn said_by(user: &str, env: &[(&str, &str)]) -> Vec<String> {
    let dir = open_folder();
    let script =
        "{ id -u; id -g; id -G; echo $HOME; echo $USER; echo $LOGNAME; } > said; echo seen > /dev/stderr || exit 3";
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let spec = ProcessSpec { cwd: Some(dir.path().to_owned()), env, ..as_user(user, shell(script)) };
    let report = start(&spec).await.exited().await;
    assert_eq!((report.code, report.last_lines.as_slice()), (Some(0), ["seen".to_owned()].as_slice()), "{report}");
    let said = fs::read_to_string(dir.path().join("said")).expect("said");
    said.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_program_is_the_user_with_its_groups_and_its_home() {
    let Some(nobody) = nobody() else { return };
    let home = nobody.dir.to_str().expect("a path in UTF-8");
    let (uid, gid) = (nobody.uid.to_string(), nobody.gid.to_string());
    let groups = said_by_id("nobody");
    let all = [uid.as_str(), &gid, &groups, home, "nobody", "nobody"];
    assert_eq!(said_by("nobody", &[]).await, all);
    assert_eq!(said_by(&uid, &[]).await, all, "by number");
    let own = said_by("nobody", &[("HOME", "/srv")]).await;
    assert_eq!(own[3..5], ["/srv", "nobody"], "the version's own environment wins");
    let pair = said_by(&format!("{uid}:12345"), &[]).await;
    assert_eq!(pair[..3], [uid.as_str(), "12345", "12345"], "the group that was asked for and no other");
}

/// What a process was started with: its environment and its arguments, a variable or a word each.
fn started_with(pid: u32) -> (Vec<String>, Vec<String>) {
    let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).expect("alive");
    let split = |list: Vec<u8>| list.split(|byte| *byte == 0).map(|one| String::from_utf8_lossy(one).into()).collect();
    (split(read("environ")), split(read("cmdline")))
}

#[tokio::test]
async fn the_supervisor_that_stays_root_sees_nothing_of_the_versions_environment() {
    let Some(nobody) = nobody() else { return };
    let env = Box::new([("LD_PRELOAD".to_owned(), "/nowhere/evil.so".to_owned())]);
    let instance = start(&ProcessSpec { env, ..as_user("nobody", spec(&["sleep", "1000"])) }).await;
    let program = instance.pid().expect("a pid");
    let stat = fs::read_to_string(format!("/proc/{program}/stat")).expect("alive");
    let supervisor = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)).expect("a parent");
    let home = format!("HOME={}", nobody.dir.display());
    let port = format!("PORT={}", instance.address().port());
    let its_own =
        ["LD_PRELOAD=/nowhere/evil.so", &home, "USER=nobody", "LOGNAME=nobody", &port, "TIDEGATE_VERSION=shop-003"];
    let (environment, _) = started_with(program);
    let (supervisors, arguments) = started_with(supervisor.parse().expect("a pid"));
    for variable in its_own {
        assert!(environment.iter().any(|one| one == variable), "{variable} in {environment:?}");
        assert!(!supervisors.iter().any(|one| one == variable), "{variable} in {supervisors:?}");
        assert!(!arguments.iter().any(|one| one.contains(variable)), "{variable} in {arguments:?}");
    }
    assert!(arguments.contains(&"supervise".to_owned()), "{arguments:?}");
    instance.stop(&Stop::default()).await;
}

fn said_by_id(user: &str) -> String {
    let id = Command::new("id").args(["-G", user]).output().expect("id");
    String::from_utf8(id.stdout).expect("numbers").trim().to_owned()
}

#[tokio::test]
async fn a_listener_of_another_user_is_checked_and_stopped_like_any() {
    let Some(nobody) = nobody() else { return };
    // `tidegate` is the supervisor's own program, which need not lie where that user may go.
    let mut instance = start(&as_user("nobody", spec(&["tidegate", "demo"]))).await;
    instance.ready(&within(60_000)).await.expect("ready");
    let pid = instance.pid().expect("a pid");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("alive");
    let uids = format!("Uid:\t{0}\t{0}\t{0}\t{0}\n", nobody.uid);
    assert!(status.contains(&uids), "{status}");
    let report = instance.stop(&Stop::default()).await;
    assert_eq!((report.code, report.killed), (Some(0), false), "{report}");

    // That it listens elsewhere shows in what it holds open, which is another user's.
    let other = crate::support::ports::ports().take().expect("a port");
    let elsewhere = format!("PORT={} exec \"$0\" demo", other.port());
    let dir = open_folder();
    let program = dir.path().join("program");
    // By a process of its own, for what is open for writing in any other that starts just then cannot be executed.
    let copied = Command::new("cp").arg(crate::process::TIDEGATE).arg(&program).status().expect("cp");
    assert!(copied.success());
    let spec = spec(&["sh", "-c", &elsewhere, program.to_str().expect("UTF-8")]);
    let mut instance = start(&as_user("nobody", spec)).await;
    eventually("the program", || TcpStream::connect(("127.0.0.1", other.port())).ok());
    let error = instance.ready(&within(1_500)).await.expect_err("it listens elsewhere");
    assert!(matches!(error, StartError::OtherAddress { .. }), "{error}");
}

#[tokio::test]
async fn who_ignores_the_stop_signal_as_another_user_is_killed() {
    if nobody().is_none() {
        return;
    }
    let dir = open_folder();
    let spec = shell("trap '' TERM; touch up; while :; do sleep 0.02; done");
    let instance = start(&ProcessSpec { cwd: Some(dir.path().to_owned()), ..as_user("nobody", spec) }).await;
    eventually("the trap", || dir.path().join("up").exists().then_some(()));
    let report = instance.stop(&Stop { grace: Duration::from_millis(200), ..Stop::default() }).await;
    assert_eq!((report.code, report.killed), (Some(137), true), "{report}");
}

/// A supervisor alone, at the end of a pipe, whose program is `nobody`.
fn supervised(user: &User, dir: &std::path::Path, mark: &str, program: &[&str]) -> Child {
    let (name, value) = mark.split_once('=').expect("NAME=value");
    let mut command = tidegate();
    command.args(["supervise", "--grace-ms", "60000", "--signal", "TERM", "--user"]);
    command.arg(format!("{}:{}", user.uid, user.gid)).arg("--groups").arg(user.gid.to_string()).arg("--").args(program);
    command.env(name, value).current_dir(dir).stdin(Stdio::piped()).spawn().expect("spawn")
}

#[test]
fn the_end_of_tidegate_ends_another_users_whole_family_within_a_second() {
    let Some(nobody) = nobody() else { return };
    let dir = open_folder();
    let mark = format!("MARK=user-pipe-{}", std::process::id());
    let mut supervisor = supervised(&nobody, dir.path(), &mark, &["sh", "-c", FAMILY]);
    await_family(dir.path());
    eventually("eight processes", || (marked(&mark).len() == 8).then_some(()));
    drop(supervisor.stdin.take());
    nobody_left_in_a_second(&mark);
    supervisor.wait().expect("wait");
}

#[test]
fn kill_9_of_the_supervisor_ends_another_users_program_too() {
    let Some(nobody) = nobody() else { return };
    let dir = open_folder();
    let mark = format!("MARK=user-kill-{}", std::process::id());
    let mut supervisor = supervised(&nobody, dir.path(), &mark, &["sh", "-c", "touch up; exec sleep 1000"]);
    eventually("the program", || dir.path().join("up").exists().then_some(()));
    supervisor.kill().expect("alive");
    supervisor.wait().expect("wait");
    // Nobody is there to send it a signal but the kernel.
    nobody_left_in_a_second(&mark);
}

#[tokio::test]
async fn a_user_that_cannot_be_had_is_an_error_with_its_cure() {
    let error = try_start(&as_user("tidegate-nobody-has-this", spec(&["true"]))).await.expect_err("no such user");
    assert!(matches!(error, StartError::User(UserError::Unknown(_))), "{error}");
    assert!(error.to_string().contains("there is no user `tidegate-nobody-has-this`"), "{error}");
    if !geteuid().is_root() {
        let error = try_start(&as_user("root", spec(&["true"]))).await.expect_err("not root").to_string();
        assert!(error.contains("cannot run as `root`") && error.contains("as root"), "{error}");
        return;
    }
    if nobody().is_none() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).expect("chmod");
    let program = dir.path().join("program");
    fs::write(&program, "#!/bin/sh\n").expect("write");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("chmod");
    let hidden = spec(&[program.to_str().expect("UTF-8")]);
    let error = try_start(&as_user("nobody", hidden)).await.expect_err("the folder is root's own").to_string();
    assert!(error.contains("as `nobody`: Permission denied") && error.contains("enter its folder"), "{error}");
    // Readiness is what it is for others.
    let mut instance = start(&as_user("nobody", spec(&["sleep", "1000"]))).await;
    let error = instance.ready(&Start { timeout: Duration::from_millis(200), ..Start::default() }).await;
    assert!(matches!(error, Err(StartError::Timeout { .. })), "{error:?}");
}

#[tokio::test]
async fn variables_of_the_version_do_not_reach_the_supervisor() {
    // It stays root, and LD_PRELOAD of a file that somebody else may write to would make root of them.
    let env = Box::new([("LD_PRELOAD_OF_MINE".to_owned(), "/nowhere".to_owned())]);
    let instance = start(&ProcessSpec { env, ..shell("read x < /dev/zero") }).await;
    let pid = instance.pid().expect("it runs");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("alive");
    let supervisor =
        stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)).expect("a parent").to_owned();
    let has = |pid: &str| {
        let environment = fs::read(format!("/proc/{pid}/environ")).expect("ours to read");
        ["LD_PRELOAD_OF_MINE=", "PORT=", "TIDEGATE_VERSION="]
            .map(|name| environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(name.as_bytes())))
    };
    assert_eq!((has(&pid.to_string()), has(&supervisor)), ([true; 3], [false; 3]));
    instance.stop(&Stop { grace: Duration::from_secs(5), ..Stop::default() }).await;
}
