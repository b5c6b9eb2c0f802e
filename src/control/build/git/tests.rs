use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use super::*;

mod server;

use self::server::Server;

/// Repositories, a place for checkouts, and an environment without this user's settings.
struct Story {
    folder: tempfile::TempDir,
    environment: BTreeMap<OsString, OsString>,
    said: Vec<String>,
}

impl Story {
    /// `None` where there is no git.
    fn new() -> Option<Self> {
        if Command::new("git").arg("--version").output().is_err() {
            let required = std::env::var("TIDEGATE_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|it| it == "git"), "git is required: `apt-get install git`");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("tmp")).expect("made");
        let path = std::env::var_os("PATH").expect("a PATH");
        let environment = [
            ("PATH", path),
            ("HOME", folder.path().into()),
            ("TMPDIR", folder.path().join("tmp").into()),
            ("GIT_CONFIG_NOSYSTEM", "1".into()),
        ];
        let environment = environment.map(|(name, value)| (name.into(), value)).into();
        Some(Self { folder, environment, said: Vec::new() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn git(&self, within: &str, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.current_dir(self.path(within)).env_clear().envs(&self.environment).env("GIT_ALLOW_PROTOCOL", "file");
        command.args(["-c", "user.name=me", "-c", "user.email=me@example.com", "-c", "init.defaultBranch=main"]);
        let output = command.args(arguments).output().expect("git");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn commit(&self, repository: &str, file: &str, text: &str) -> String {
        let path = self.path(repository).join(file);
        fs::create_dir_all(path.parent().expect("below")).expect("made");
        fs::write(path, text).expect("written");
        self.git(repository, &["add", "-A"]);
        self.git(repository, &["commit", "-qm", text]);
        self.git(repository, &["rev-parse", "HEAD"])
    }

    /// Says that a repository has another, at its last commit, as a submodule.
    fn submodule(&self, repository: &str, name: &str, url: &str, of: &str) {
        let text = format!("[submodule \"{name}\"]\n\tpath = {name}\n\turl = {url}\n");
        fs::write(self.path(repository).join(".gitmodules"), text).expect("written");
        let commit = self.git(of, &["rev-parse", "HEAD"]);
        self.git(repository, &["add", ".gitmodules"]);
        self.git(repository, &["update-index", "--add", "--cacheinfo", &format!("160000,{commit},{name}")]);
        self.git(repository, &["commit", "-qm", "with a submodule"]);
    }

    /// A repository with the tag `v1`, the branch `side`, and `main`.
    fn repository(&self, name: &str) -> [String; 3] {
        fs::create_dir_all(self.path(name)).expect("made");
        self.git(name, &["init", "-q"]);
        let first = self.commit(name, "file", "first");
        self.git(name, &["tag", "-am", "x", "v1"]);
        self.git(name, &["checkout", "-qb", "side"]);
        let side = self.commit(name, "file", "side");
        self.git(name, &["checkout", "-q", "main"]);
        let last = self.commit(name, "sub/folder/file", "last");
        [first, side, last]
    }

    fn source(&self, url: &str, reference: Option<&str>) -> GitSource {
        let local = !url.contains(':');
        GitSource { url: url.to_owned(), reference: reference.map(str::to_owned), folder: None, local }
    }

    async fn check_out(&mut self, source: &GitSource, token: Option<&Path>) -> Result<Checkout, GitError> {
        let said = &mut self.said;
        check_out(source, token, &self.environment, &mut |line| said.push(line.to_string())).await
    }

    fn left(&self) -> usize {
        fs::read_dir(self.path("tmp")).expect("a folder").count()
    }
}

fn file(checkout: &Checkout) -> String {
    fs::read_to_string(checkout.root().join("file")).expect("a file")
}

#[tokio::test]
async fn branches_tags_and_commits_are_fetched_and_the_folder_goes() {
    let Some(mut story) = Story::new() else { return };
    let [first, side, _] = story.repository("r");
    let url = story.path("r").to_string_lossy().into_owned();
    for (reference, text) in [
        (None, "first"),
        (Some("main"), "first"),
        (Some("side"), "side"),
        (Some("v1"), "first"),
        (Some(side.as_str()), "side"),
        (Some(&first[..8]), "first"),
        (Some("refs/heads/side"), "side"),
    ] {
        let checkout = story.check_out(&story.source(&url, reference), None).await.expect("fetched");
        assert_eq!(file(&checkout), text, "{reference:?}");
        assert!(!checkout.root().join(".git").exists());
        assert_eq!(story.left(), 1);
        drop(checkout);
        assert_eq!(story.left(), 0);
    }
    let error = story.check_out(&story.source(&url, Some("v2")), None).await.expect_err("no such tag").to_string();
    assert!(error.contains("no branch, tag or commit `v2`; there are: main, side, v1"), "{error}");
    let error = story.check_out(&story.source(&url, Some("abcdef12")), None).await.expect_err("no commit").to_string();
    assert!(error.contains("no branch, tag or commit `abcdef12`"), "{error}");
    assert_eq!(story.left(), 0);
}

#[tokio::test]
async fn a_folder_of_the_repository_can_be_the_root_and_leads_not_out() {
    let Some(mut story) = Story::new() else { return };
    story.repository("r");
    symlink("/etc", story.path("r/out")).expect("linked");
    story.commit("r", "x", "with a link");
    let mut source = story.source(&story.path("r").to_string_lossy(), None);
    source.folder = Some("sub/folder".into());
    assert_eq!(file(&story.check_out(&source, None).await.expect("fetched")), "last");
    for folder in ["none", "file", "out", ".git"] {
        source.folder = Some(folder.into());
        let error = story.check_out(&source, None).await.expect_err(folder).to_string();
        assert!(error.contains(&format!("no folder `{folder}`")), "{error}");
    }
}

#[tokio::test]
async fn a_private_repository_is_fetched_with_its_token_which_nobody_sees() {
    let Some(mut story) = Story::new() else { return };
    story.repository("r");
    story.repository("library");
    let server = Server::start(story.folder.path(), Some("oauth2:s3cret~token?"));
    // A submodule of the same host gets the token too.
    story.submodule("r", "library", &server.url("library"), "library");

    let source = story.source(&server.url("r"), Some("main"));
    let error = story.check_out(&source, None).await.expect_err("no token").to_string();
    assert!(error.contains("--git-token-file"), "{error}");

    // Whoever looks at the processes sees what git is told: a wrapper writes it down, as `ps` would show it.
    let (real, seen) = (which("git"), story.path("seen"));
    fs::create_dir(story.path("bin")).expect("made");
    let wrapper = format!("#!/bin/sh\necho \"$@\" >> '{}'\nexec '{}' \"$@\"\n", seen.display(), real.display());
    script(&story.path("bin/git"), &wrapper);
    let mut path = story.path("bin").into_os_string();
    path.push(":");
    path.push(&story.environment[OsStr::new("PATH")]);
    story.environment.insert("PATH".into(), path);
    // Traces show headers, so they are not passed on.
    story.environment.insert("GIT_TRACE_CURL".into(), "1".into());
    story.environment.insert("GIT_TRACE_REDACT".into(), "0".into());

    let token = story.path("token");
    fs::write(&token, "s3cret~token?\n").expect("written");
    let checkout = story.check_out(&source, Some(&token)).await.expect("fetched");
    assert_eq!(file(&checkout), "first");
    assert_eq!(fs::read_to_string(checkout.root().join("library/sub/folder/file")).expect("a submodule"), "last");

    fs::write(&token, "wr0ng~token").expect("written");
    let error = story.check_out(&source, Some(&token)).await.expect_err("a wrong token");
    assert!(matches!(error, GitError::Denied { .. }), "{error:?}");
    let shown = format!("{error} {error:?} {:?} {}", story.said, fs::read_to_string(seen).expect("seen"));
    assert!(shown.contains("fetch") && shown.contains("submodule"), "{shown}");
    for secret in ["s3cret", "wr0ng", "b2F1dGgyOn", "Basic"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
}

#[tokio::test]
async fn a_token_is_not_sent_in_clear_text_or_to_others() {
    let Some(mut story) = Story::new() else { return };
    story.repository("r");
    let token = story.path("token");
    fs::write(&token, "s3cret").expect("written");
    for url in ["http://git.example/x", "ssh://git@git.example/x", "git@git.example:x"] {
        let error = story.check_out(&story.source(url, None), Some(&token)).await.expect_err(url).to_string();
        assert!(error.contains("only sent over https") && error.contains(url), "{error}");
    }
    for text in ["", " \n", "two words", "two\nlines"] {
        fs::write(&token, text).expect("written");
        let error = story.check_out(&story.source("https://h/x", None), Some(&token)).await.expect_err(text);
        assert!(matches!(error, GitError::NoToken(_)), "{error:?}");
    }
    // A submodule at another server is asked for without it.
    let (own, other) = (Server::start(story.folder.path(), None), Server::start(story.folder.path(), Some("never:it")));
    story.submodule("r", "o", &other.url("r"), "r");
    fs::write(&token, "s3cret").expect("written");
    let error = story.check_out(&story.source(&own.url("r"), None), Some(&token)).await.expect_err("it is closed");
    assert!(matches!(error, GitError::Denied { .. }), "{error:?}");
    assert!(own.heard().iter().any(|authorization| !authorization.is_empty()), "{:?}", own.heard());
    assert!(other.heard().iter().all(String::is_empty) && !other.heard().is_empty(), "{:?}", other.heard());
}

#[tokio::test]
async fn a_repository_runs_nothing_and_reads_nothing_of_this_host() {
    let Some(mut story) = Story::new() else { return };
    story.repository("r");
    story.repository("victim");
    // Hooks of a template that this user has.
    fs::create_dir_all(story.path("template/hooks")).expect("made");
    let mark = story.path("mark");
    script(&story.path("template/hooks/post-checkout"), &format!("#!/bin/sh\ntouch '{}'\n", mark.display()));
    let settings =
        format!("[init]\n\ttemplateDir = {0}\n[core]\n\thooksPath = {0}/hooks\n", story.path("template").display());
    fs::write(story.path(".gitconfig"), settings).expect("written");
    let url = story.path("r").to_string_lossy().into_owned();
    story.check_out(&story.source(&url, None), None).await.expect("fetched");
    assert!(!mark.exists(), "a hook ran");
    fs::remove_file(story.path(".gitconfig")).expect("ours");

    for submodule in [story.path("victim").display().to_string(), format!("ext::touch {}", mark.display())] {
        story.submodule("r", "v", &submodule, "victim");
        let error = story.check_out(&story.source(&url, None), None).await.expect_err(&submodule);
        assert!(matches!(error, GitError::Transport { .. }), "{error:?}");
        assert!(!mark.exists());
    }
    assert_eq!(story.left(), 0);
}

/// A program in the place of `ssh` that runs what it is told on this host, and writes down how it was called.
#[tokio::test]
async fn ssh_uses_the_agent_and_asks_nobody() {
    let Some(mut story) = Story::new() else { return };
    story.repository("r");
    fs::create_dir(story.path("bin")).expect("made");
    let seen = story.path("seen");
    let ssh = format!(
        "#!/bin/sh\necho \"$@ agent=$SSH_AUTH_SOCK\" >> '{}'\nfor last; do :; done\nexec sh -c \"$last\"\n",
        seen.display()
    );
    script(&story.path("bin/ssh"), &ssh);
    let mut path = story.path("bin").into_os_string();
    path.push(":");
    path.push(&story.environment[OsStr::new("PATH")]);
    story.environment.insert("PATH".into(), path);
    story.environment.insert("SSH_AUTH_SOCK".into(), "/run/agent.sock".into());
    for url in [
        format!("ssh://git@git.example{}", story.path("r").display()),
        format!("git@git.example:{}", story.path("r").display()),
    ] {
        let checkout = story.check_out(&story.source(&url, Some("v1")), None).await.expect("fetched");
        assert_eq!(file(&checkout), "first");
    }
    let seen = fs::read_to_string(seen).expect("called");
    assert!(
        seen.lines().all(|line| line.contains("-oBatchMode=yes") && line.ends_with("agent=/run/agent.sock")),
        "{seen}"
    );

    for (words, said) in [
        ("git@h: Permission denied (publickey).", "`ssh-add` one"),
        ("Host key verification failed.", "known hosts"),
        ("ssh: Could not resolve hostname git.example: Name or service not known", "cannot be reached"),
    ] {
        script(&story.path("bin/ssh"), &format!("#!/bin/sh\necho '{words}' >&2\nexit 255\n"));
        let error = story.check_out(&story.source("git@git.example:x", None), None).await.expect_err(words).to_string();
        assert!(error.contains(said) && error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn dropped_it_leaves_neither_folder_nor_process() {
    let Some(mut story) = Story::new() else { return };
    fs::create_dir(story.path("bin")).expect("made");
    // It starts a process of its own, as git's helpers do, and both write on and on.
    let pids = story.path("pids");
    let ssh = format!(
        "#!/bin/sh\nsh -c 'echo $$ >> {0}; while :; do echo x > f-$$; done' &\necho $$ >> {0}\necho begun >&2\nwhile :; do echo x > f-$$; done\n",
        pids.display()
    );
    script(&story.path("bin/ssh"), &ssh);
    let mut path = story.path("bin").into_os_string();
    path.push(":");
    path.push(&story.environment[OsStr::new("PATH")]);
    story.environment.insert("PATH".into(), path);
    let source = story.source("git@git.example:x", None);
    let (begun, heard) = tokio::sync::oneshot::channel();
    let mut begun = Some(begun);
    let mut out = |line: BuildLine| {
        if line.to_string().contains("begun")
            && let Some(begun) = begun.take()
        {
            begun.send(()).expect("heard");
        }
    };
    tokio::select! {
        ended = check_out(&source, None, &story.environment, &mut out) => panic!("{:?}", ended.map(|_| ())),
        _ = heard => {}
    }
    assert_eq!(story.left(), 0);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let alive = || {
        let pids = fs::read_to_string(&pids).unwrap_or_default();
        pids.lines().filter(|pid| is_alive(pid)).count()
    };
    while alive() > 0 {
        assert!(std::time::Instant::now() < deadline, "a process is left");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn without_git_it_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let environment = [("PATH".into(), folder.path().into()), ("TMPDIR".into(), folder.path().into())].into();
    let source = GitSource { url: "https://h/x".to_owned(), reference: None, folder: None, local: false };
    let error = check_out(&source, None, &environment, &mut |_| ()).await.expect_err("no git").to_string();
    assert!(error.contains("`git` was not found") && error.contains("apt-get install git"), "{error}");
}

/// Whether a process runs; one that has ended and is not yet waited for does not.
fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn which(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").expect("a PATH");
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file()).expect("in PATH")
}

/// Written by a process of its own: a file that any process has open for writing cannot be executed.
fn script(path: &Path, text: &str) {
    let beside = path.with_extension("text");
    fs::write(&beside, text).expect("written");
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).expect("ours");
    assert!(Command::new("cp").args([&beside, path]).status().expect("cp").success());
}
