//! Repositories over HTTP on loopback, by `git http-backend`, open or behind a user and a password.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Serves until the test ends.
pub(super) struct Server {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(super) fn start(root: &Path, wanted: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let wanted = wanted.map(|wanted| format!("Basic {}", STANDARD.encode(wanted)));
        let (root, sink) = (root.to_owned(), Arc::clone(&heard));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (root, wanted, sink) = (root.clone(), wanted.clone(), Arc::clone(&sink));
                std::thread::spawn(move || answer(stream.expect("a connection"), &root, wanted.as_deref(), &sink));
            }
        });
        Self { address, heard }
    }

    pub(super) fn url(&self, repository: &str) -> String {
        format!("http://{}/{repository}", self.address)
    }

    /// `Authorization` of each request; empty for one without.
    pub(super) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn answer(mut stream: TcpStream, root: &PathBuf, wanted: Option<&str>, heard: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a connection"));
    let mut line = String::new();
    reader.read_line(&mut line).expect("a request");
    let mut words = line.split(' ');
    let (method, target) = (words.next().expect("a method").to_owned(), words.next().expect("a path").to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a header");
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
    let length = header("content-length").parse().unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    heard.lock().unwrap_or_else(PoisonError::into_inner).push(header("authorization"));
    if wanted.is_some_and(|wanted| header("authorization") != wanted) {
        let refusal = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(refusal.as_bytes()).expect("sent");
        return;
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut backend = Command::new("git");
    backend.arg("http-backend").env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1");
    backend.env("REQUEST_METHOD", method).env("PATH_INFO", path).env("QUERY_STRING", query);
    backend.env("CONTENT_TYPE", header("content-type")).env("CONTENT_LENGTH", length.to_string());
    backend.env("HTTP_CONTENT_ENCODING", header("content-encoding")).env("GIT_PROTOCOL", header("git-protocol"));
    backend.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "safe.directory").env("GIT_CONFIG_VALUE_0", "*");
    let mut child = backend.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git");
    child.stdin.take().expect("piped").write_all(&body).expect("taken");
    let output = child.wait_with_output().expect("ended").stdout;
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK").to_owned();
    let answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{head}\r\n\r\n");
    stream.write_all(answer.as_bytes()).and_then(|()| stream.write_all(&output[end + 4..])).expect("sent");
}
