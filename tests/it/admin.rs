//! The admin API on the wire: who is let in, by which door, to do what.

use std::{
    cell::Cell,
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    rc::Rc,
    thread,
};

use http::StatusCode;
use serde_json::{Value, json};
use tidegate::{
    admin::{
        auth::{Guard, Token},
        client::{Client, ClientError},
        router::{Response, Router},
        server::{self, AdminPort, PortError},
        socket::{AdminSocket, SocketError},
    },
    cli::status::{self, StatusArgs},
    control::status::{ServiceStatus, Status},
};
use tokio::{runtime, sync::oneshot, task::LocalSet};

const TOKEN: &str = "a-token-of-some-length";

/// A control thread with both doors open; ends when dropped.
struct Control {
    port: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Control {
    fn start(socket: &Path, token: Option<Token>) -> Self {
        let socket = socket.to_owned();
        let (ready, started) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, async move {
                let socket = AdminSocket::bind(&socket).unwrap();
                let port = AdminPort::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
                ready.send(port.address().unwrap()).unwrap();
                let router = Rc::new(router());
                let guard = Rc::new(Guard::new(token));
                let (also, port_stopped) = oneshot::channel::<()>();
                let port = tokio::task::spawn_local(server::serve_port(port, guard, Rc::clone(&router), async {
                    drop(port_stopped.await);
                }));
                server::serve_socket(socket, router, async { drop(stopped.await) }).await;
                drop(also);
                port.await.unwrap();
            });
        });
        let port = started.recv_timeout(crate::support::PATIENCE).expect("it starts");
        Self { port, stop: Some(stop), thread: Some(thread) }
    }

    /// The status line and the body of the answer to these bytes on the port.
    fn port(&self, request: &str) -> (String, String) {
        let stream = TcpStream::connect(self.port).unwrap();
        stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        let answer = exchange(stream, request);
        split(&answer)
    }

    fn end(mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

fn router() -> Router {
    let reloads = Rc::new(Cell::new(0));
    let status = Status {
        generation: 7,
        services: vec![ServiceStatus { name: "shop".into(), ..ServiceStatus::default() }],
        ..Status::default()
    };
    Router::new()
        .get("/status", move |_| {
            let status = status.clone();
            async move { Response::json(&status) }
        })
        .post("/reload", move |request| {
            reloads.set(reloads.get() + 1);
            let answer = json!({"reloads": reloads.get(), "bytes": request.body.len(), "query": request.query});
            async move { Response::json(&answer) }
        })
        .post("/fail", |_| async { Response::error(StatusCode::CONFLICT, "conflict", "an edit is held back") })
}

fn exchange(mut stream: impl std::io::Read + std::io::Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn split(answer: &str) -> (String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n")
}

fn post(path: &str, headers: &str) -> String {
    format!("POST {path} HTTP/1.1\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n")
}

fn token(folder: &Path) -> Token {
    let path = folder.join("token");
    fs::write(&path, TOKEN).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    Token::read(&path).unwrap()
}

#[test]
fn the_port_reads_for_this_machine_only() {
    let folder = tempfile::tempdir().unwrap();
    let control = Control::start(&folder.path().join("a.sock"), None);
    let own = format!("Host: {}\r\n", control.port);

    let (status, body) = control.port(&get("/status", &own));
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["generation"], 7);

    // DNS rebinding: a page's own name, resolved to 127.0.0.1.
    let (status, body) = control.port(&get("/status", "Host: evil.example\r\n"));
    assert_eq!(status, "HTTP/1.1 403 Forbidden");
    assert!(!body.contains("generation"), "{body}");
    // A page of another origin, or a sandboxed one.
    for origin in ["http://evil.example", "null"] {
        let (status, body) = control.port(&get("/status", &format!("{own}Origin: {origin}\r\n")));
        assert_eq!((status.as_str(), body.contains("origin")), ("HTTP/1.1 403 Forbidden", true), "{body}");
    }
    let (status, _) = control.port(&get("/status", &format!("{own}Origin: http://{}\r\n", control.port)));
    assert_eq!(status, "HTTP/1.1 200 OK");
    let (status, _) = control.port(&get("/status", ""));
    assert_eq!(status, "HTTP/1.1 403 Forbidden");
    let (status, _) = control.port(&get("http://evil.example/status", &own));
    assert_eq!(status, "HTTP/1.1 403 Forbidden");

    // No token is set, so nothing can be changed, whatever is shown.
    let (status, body) = control.port(&post("/reload", &format!("{own}Authorization: Bearer {TOKEN}\r\n")));
    assert_eq!(status, "HTTP/1.1 403 Forbidden");
    assert!(body.contains("admin_token_file"), "the cure is named: {body}");
    control.end();
}

#[test]
fn the_port_changes_things_with_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let control = Control::start(&folder.path().join("a.sock"), Some(token(folder.path())));
    let own = format!("Host: localhost:{}\r\n", control.port.port());

    for wrong in
        [String::new(), "Authorization: Bearer a-token-of-some-lengtH\r\n".into(), format!("X-Token: {TOKEN}\r\n")]
    {
        let (status, _) = control.port(&post("/reload", &format!("{own}{wrong}")));
        assert_eq!(status, "HTTP/1.1 401 Unauthorized", "{wrong}");
    }
    let right = format!("{own}Authorization: Bearer {TOKEN}\r\n");
    let (status, body) = control.port(&post("/reload?force=1", &right));
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), json!({"reloads": 1, "bytes": 0, "query": "force=1"}));
    // The token opens no door to other origins.
    let (status, _) = control.port(&post("/reload", &format!("{right}Origin: http://evil.example\r\n")));
    assert_eq!(status, "HTTP/1.1 403 Forbidden");
    control.end();
}

#[test]
fn a_refused_upload_is_answered_without_reading_it() {
    let folder = tempfile::tempdir().unwrap();
    let control = Control::start(&folder.path().join("a.sock"), None);
    let request = "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n";
    let (status, _) = control.port(request);
    assert_eq!(status, "HTTP/1.1 403 Forbidden");
    control.end();
}

#[test]
fn unknown_paths_and_methods_name_the_known_ones() {
    let folder = tempfile::tempdir().unwrap();
    let control = Control::start(&folder.path().join("a.sock"), None);
    let (status, body) = control.port(&get("/stats", "Host: localhost\r\n"));
    assert_eq!(status, "HTTP/1.1 404 Not Found");
    let error: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(error["error"]["code"], "not_found");
    assert!(error["error"]["message"].as_str().unwrap().contains("/reload, /status"), "{error}");
    let (status, body) = control.port(&get("/reload", "Host: localhost\r\n"));
    assert_eq!(status, "HTTP/1.1 405 Method Not Allowed");
    assert!(body.contains("POST"), "{body}");
    let head = "HEAD /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(control.port(head), ("HTTP/1.1 200 OK".to_owned(), String::new()));
    control.end();
}

#[test]
fn the_socket_is_its_owners_alone_and_does_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.sock");
    let control = Control::start(&path, None);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let (status, _) = split(&exchange(UnixStream::connect(&path).unwrap(), &post("/reload", "Host: anything\r\n")));
    assert_eq!(status, "HTTP/1.1 200 OK");
    let client = Client::new(&path);
    let answer: Value = client.post_json("/reload", &json!({"a": 1})).unwrap();
    assert_eq!(answer["reloads"], 2);
    let refused = client.post_json::<Value>("/fail", &Value::Null).unwrap_err();
    assert_eq!(refused.to_string(), "an edit is held back");
    assert!(matches!(refused, ClientError::Refused { status: StatusCode::CONFLICT, .. }));

    control.end();
    assert!(!path.exists(), "its file is removed");
}

#[test]
fn status_is_printed_from_the_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.sock");
    let print = |json| {
        let mut out = Vec::new();
        let args = StatusArgs { json, config: None };
        status::run(&args, &path, &mut out).map(|()| String::from_utf8(out).unwrap())
    };
    let error = print(false).unwrap_err().to_string();
    assert!(error.contains("no tidegate is running here") && error.contains("tidegate serve"), "{error}");

    let control = Control::start(&path, None);
    assert!(print(false).unwrap().contains("generation 7"));
    let json: Value = serde_json::from_str(&print(true).unwrap()).unwrap();
    assert_eq!(json["services"][0]["name"], "shop");
    control.end();
}

#[tokio::test]
async fn a_second_tidegate_does_not_take_the_socket_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.sock");
    let first = AdminSocket::bind(&path).unwrap();
    let error = AdminSocket::bind(&path).unwrap_err();
    assert!(matches!(error, SocketError::Running(_)), "{error}");
    assert!(UnixStream::connect(&path).is_ok(), "the first one still listens");
    drop(first);
    AdminSocket::bind(&path).unwrap();
}

#[tokio::test]
async fn a_socket_left_by_a_crash_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let socket = AdminSocket::bind(&path).unwrap();
    assert!(UnixStream::connect(socket.path()).is_ok());

    // One that was removed and replaced under a running tidegate is not its own to remove.
    fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    drop(socket);
    assert!(path.exists());
    drop(other);
}

#[tokio::test]
async fn of_many_that_start_at_once_one_gets_the_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.sock");
    drop(UnixListener::bind(&path).unwrap());
    let handle = runtime::Handle::current();
    let bound: Vec<_> = thread::scope(|scope| {
        let starts: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let _runtime = handle.enter();
                    AdminSocket::bind(&path)
                })
            })
            .collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert_eq!(bound.iter().filter(|bound| bound.is_ok()).count(), 1, "{bound:?}");
    assert!(UnixStream::connect(&path).is_ok());
}

#[tokio::test]
async fn what_cannot_be_a_socket_is_said_with_a_cure() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.txt");
    fs::write(&file, "important").unwrap();
    let error = AdminSocket::bind(&file).unwrap_err();
    assert!(matches!(error, SocketError::Occupied(_)) && error.to_string().contains("socket:"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "important");

    let long = folder.path().join("x".repeat(108));
    let error = AdminSocket::bind(&long).unwrap_err();
    assert!(matches!(error, SocketError::TooLong(_)) && error.to_string().contains("shorter"), "{error}");

    let nowhere = AdminSocket::bind(&folder.path().join("none/a.sock")).unwrap_err();
    assert!(matches!(nowhere, SocketError::Listen { .. }), "{nowhere}");
    let public = AdminPort::bind("0.0.0.0:0".parse().unwrap()).await.unwrap_err();
    assert!(matches!(public, PortError::NotLoopback(_)), "{public}");
}

#[test]
fn the_end_lets_answers_finish_and_idle_connections_go() {
    let folder = tempfile::tempdir().unwrap();
    let control = Control::start(&folder.path().join("a.sock"), None);
    let mut idle = TcpStream::connect(control.port).unwrap();
    idle.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    idle.write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut first = [0; 15];
    idle.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    control.end();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).unwrap();
    drop(idle.shutdown(Shutdown::Both));
}
