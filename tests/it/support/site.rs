//! The real binary with real files in a folder of its own.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate::admin::client::Client;

use super::eventually;
use super::raw::{Message, Raw};

/// What every tidegate.yaml begins with: a port that the system picks.
const BEGINNING: &str = "listen: {http: 127.0.0.1:0}\nthreads: 2\n";

/// A running tidegate; killed when dropped.
pub(crate) struct Site {
    dir: TempDir,
    child: Child,
    http: SocketAddr,
    env: Vec<(String, String)>,
}

/// A tidegate to be.
pub(crate) struct SiteBuilder {
    dir: TempDir,
    root: String,
    env: Vec<(String, String)>,
}

impl Site {
    /// With HTTPS as well.
    pub(crate) fn with_https() -> SiteBuilder {
        Self::with_https_at(SocketAddr::from(([127, 0, 0, 2], 0)))
    }

    /// With HTTPS at a place of its own.
    pub(crate) fn with_https_at(address: SocketAddr) -> SiteBuilder {
        let mut site = Self::new();
        site.root = format!("listen: {{http: 127.0.0.1:0, https: \"{address}\"}}\nthreads: 2\n");
        site
    }

    /// With tidegate.yaml listening on a port that the system picks.
    #[expect(clippy::new_ret_no_self, reason = "a site is built before it runs")]
    pub(crate) fn new() -> SiteBuilder {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("services")).expect("a folder");
        SiteBuilder { dir, root: BEGINNING.to_owned(), env: Vec::new() }
    }

    /// The folder of tidegate.yaml.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// tidegate.yaml.
    pub(crate) fn root(&self) -> PathBuf {
        self.path().join("tidegate.yaml")
    }

    /// The file of a service.
    pub(crate) fn service(&self, name: &str) -> PathBuf {
        self.path().join("services").join(format!("{name}.yaml"))
    }

    /// Where it listens for plain HTTP.
    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes a service's file beside it and moves it into place, as editors do.
    pub(crate) fn write_service(&self, name: &str, yaml: &str) {
        replace(&self.service(name), yaml);
    }

    /// Writes a service's file and waits until that edit is in force.
    pub(crate) fn edit_service(&self, name: &str, yaml: &str) {
        let before = self.generation();
        self.write_service(name, yaml);
        eventually("the edit in force", || (self.generation() > before).then_some(()));
    }

    /// Replaces tidegate.yaml, all of it.
    pub(crate) fn write_root(&self, yaml: &str) {
        replace(&self.root(), yaml);
    }

    /// Replaces tidegate.yaml's lines after `listen` and `threads`, and waits until that edit is in force.
    pub(crate) fn edit_root(&self, yaml: &str) {
        let before = self.generation();
        self.write_root(&format!("{BEGINNING}{yaml}"));
        eventually("the edit in force", || (self.generation() > before).then_some(()));
    }

    /// The admin API, over its socket.
    pub(crate) fn admin(&self) -> Client {
        Client::new(&self.path().join("tidegate.sock"))
    }

    /// Has the files read again, and says what came of it.
    pub(crate) fn reload(&self) -> Value {
        self.admin().post_json("/reload", &json!({})).expect("a reload")
    }

    /// What Prometheus would get.
    pub(crate) fn metrics(&self) -> Metrics {
        let text = self.admin().get("/metrics").expect("metrics");
        Metrics(String::from_utf8(text.to_vec()).expect("text"))
    }

    /// What is held back, as `file:line:column: message`.
    pub(crate) fn rejected(&self) -> Vec<String> {
        let status = self.status();
        let all = status["rejected"].as_array().expect("a list").iter();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        all.map(|one| format!("{}:{}:{}: {}", text(&one["file"]), one["line"], one["column"], text(&one["message"])))
            .collect()
    }

    /// Where it listens, as URLs.
    pub(crate) fn listen(&self) -> Vec<String> {
        let status = self.status();
        let urls = status["listen"].as_array().expect("a list").iter();
        urls.map(|url| url.as_str().expect("a URL").to_owned()).collect()
    }

    /// Where it listens for HTTPS.
    pub(crate) fn https(&self) -> SocketAddr {
        let urls = self.listen();
        let https = urls.iter().find_map(|url| url.strip_prefix("https://"));
        https.expect("an https listener").parse().expect("an address")
    }

    /// What `tidegate explain` prints for these arguments.
    pub(crate) fn explain(&self, arguments: &[&str]) -> String {
        let output = tidegate().arg("explain").args(arguments).arg("--config").arg(self.root()).output().expect("run");
        String::from_utf8(output.stdout).expect("text")
    }

    pub(crate) fn generation(&self) -> u64 {
        self.status()["generation"].as_u64().expect("a generation")
    }

    /// What `tidegate status --json` prints.
    pub(crate) fn status(&self) -> Value {
        self.try_status().expect("a status")
    }

    fn try_status(&self) -> Option<Value> {
        let output = tidegate().args(["status", "--json", "--config"]).arg(self.root()).output().expect("run");
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
    }

    /// One version's part of the status.
    pub(crate) fn version(&self, name: &str) -> Value {
        let status = self.status();
        let services = status["services"].as_array().expect("services").iter();
        services
            .flat_map(|service| service["versions"].as_array().expect("versions"))
            .find(|version| version["name"] == name)
            .cloned()
            .unwrap_or_else(|| panic!("no version {name} in {status}"))
    }

    /// A connection to it.
    pub(crate) fn connect(&self) -> Raw {
        Raw::connect(self.http)
    }

    /// A GET on a connection of its own.
    pub(crate) fn get(&self, host: &str, path: &str) -> Message {
        let mut raw = self.connect();
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        raw.response()
    }

    /// Sends a signal to the server.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status().expect("kill").success();
        assert!(sent, "cannot send {signal}");
    }

    /// Waits for the server to end by itself; its exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let status = eventually("the server's end", || self.child.try_wait().expect("wait"));
        status.code()
    }

    /// Ends it by a signal, and starts it again on the same files.
    pub(crate) fn restart_after(&mut self, signal: &str) {
        self.signal(signal);
        self.wait();
        self.start_again();
    }

    /// Starts it again on the same files, once it has ended.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(self.dir.path(), &self.env);
        self.wait_until_it_answers();
    }

    fn wait_until_it_answers(&mut self) {
        let status = eventually("the server's start", || {
            let ended = self.child.try_wait().expect("wait");
            assert!(ended.is_none(), "the server ended at once:\n{}", self.log());
            self.try_status()
        });
        let urls = status["listen"].as_array().expect("listen");
        let http = urls.iter().filter_map(Value::as_str).find_map(|url| url.strip_prefix("http://"));
        if let Some(http) = http {
            self.http = http.parse().expect("an address");
        }
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).expect("the log")
    }

    /// A figure of /proc/PID/status, such as `VmRSS`, in KiB.
    pub(crate) fn memory_kib(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a process");
        let line = status.lines().find(|line| line.starts_with(field)).expect("the field");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }
}

/// A scrape.
pub(crate) struct Metrics(String);

impl Metrics {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The value of a series, named as in the text: `tidegate_requests_total{service="shop",version="shop-001",class="2xx"}`.
    pub(crate) fn get(&self, series: &str) -> f64 {
        self.find(series).unwrap_or_else(|| panic!("no {series} in\n{}", self.0))
    }

    pub(crate) fn find(&self, series: &str) -> Option<f64> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(line.trim().parse().expect("a number"))
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl SiteBuilder {
    /// Adds lines to tidegate.yaml.
    pub(crate) fn root(mut self, yaml: &str) -> Self {
        self.root.push_str(yaml);
        self
    }

    /// Adds a service.
    pub(crate) fn service(self, name: &str, yaml: &str) -> Self {
        fs::write(self.dir.path().join("services").join(format!("{name}.yaml")), yaml).expect("write");
        self
    }

    /// Adds any file, by its path relative to tidegate.yaml.
    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("write");
        self
    }

    /// Changes anything in the folder of tidegate.yaml.
    pub(crate) fn arranged(self, arrange: impl FnOnce(&Path)) -> Self {
        arrange(self.dir.path());
        self
    }

    /// Sets a variable of the server's environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it and waits until it answers.
    pub(crate) fn start(self) -> Site {
        let Self { dir, root, env } = self;
        fs::write(dir.path().join("tidegate.yaml"), root).expect("write");
        fs::write(dir.path().join("log"), "").expect("a log");
        let child = spawn(dir.path(), &env);
        let mut site = Site { dir, child, http: SocketAddr::from(([0, 0, 0, 0], 0)), env };
        site.wait_until_it_answers();
        site
    }
}

/// Runs the server on the files of a folder.
fn spawn(dir: &Path, env: &[(String, String)]) -> Child {
    let log = fs::File::options().append(true).open(dir.join("log")).expect("a log");
    tidegate()
        .arg("serve")
        .arg(dir.join("tidegate.yaml"))
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("clone"))
        .stderr(log)
        .spawn()
        .expect("spawn")
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- the server's log\n{}", self.log());
        }
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("the server's end: {error}");
        }
    }
}

/// The real binary.
pub(crate) fn tidegate() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
}

/// Writes beside and moves into place.
pub(crate) fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    let mut file = fs::File::create(&beside).expect("create");
    file.write_all(text.as_bytes()).expect("write");
    fs::rename(&beside, path).expect("rename");
}
