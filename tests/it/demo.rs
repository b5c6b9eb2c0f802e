//! The demo app, by bytes on sockets.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tidegate::lifecycle::ports::PortGuard;

use crate::support::ports::ports;
use crate::support::raw::{Message, Raw};
use crate::support::site::tidegate;
use crate::support::websocket::{self, BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame, frame_with};
use crate::support::{PATIENCE, eventually};

/// A running demo named hello-007; killed when dropped.
struct Demo {
    child: Child,
    port: PortGuard,
}

impl Demo {
    fn start() -> Self {
        let demo = Self::spawn(&[]);
        eventually("the demo's port", || TcpStream::connect(demo.address()).ok());
        demo
    }

    fn spawn(args: &[&str]) -> Self {
        let port = ports().take().expect("a port");
        let mut command = tidegate();
        command.arg("demo").args(args).env("PORT", port.port().to_string()).env("TIDEGATE_VERSION", "hello-007");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("spawn");
        Self { child, port }
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port.port()))
    }

    fn connect(&self) -> Raw {
        Raw::connect(self.address())
    }

    fn ask(&self, request: &str) -> Message {
        self.connect().send(request).response()
    }

    fn get(&self, path: &str) -> Message {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
    }

    fn terminate(&self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().expect("a pid"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it runs");
    }

    fn exit_code(&mut self) -> Option<i32> {
        eventually("the demo's end", || self.child.try_wait().expect("wait")).code()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("the demo's end: {error}");
        }
    }
}

#[test]
fn says_which_version_answers_as_text_or_as_a_page() {
    let demo = Demo::start();
    let plain = demo.get("/");
    assert_eq!((plain.status(), plain.text().as_str()), (200, "hello from hello-007\n"));
    assert_eq!(plain.header("x-demo-version"), Some("hello-007"));
    let page = demo.ask("GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html,*/*;q=0.8\r\nConnection: close\r\n\r\n");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.text().contains("<strong>hello-007</strong>") && !page.text().contains("{{"), "{}", page.text());
    assert_eq!(demo.get("/healthz").text(), "ok\n");
    assert_eq!(demo.get("/nowhere").status(), 404);
}

#[test]
fn answers_slowly_and_streams_when_told_so() {
    let demo = Demo::start();
    let asked = Instant::now();
    assert_eq!(demo.get("/slow?ms=120").text(), "hello from hello-007 after 120 ms\n");
    assert!(asked.elapsed() >= Duration::from_millis(120));

    let mut raw = demo.connect();
    let mut message = raw.send("GET /stream?chunks=3&ms=1000 HTTP/1.1\r\nHost: a\r\n\r\n").head();
    assert_eq!(message.header("transfer-encoding"), Some("chunked"));
    assert_eq!(raw.line().expect("a size"), "D");
    assert_eq!(raw.line().expect("a chunk"), "chunk 1 of 3\n");
    let first = Instant::now();
    raw.body(&mut message, true).expect("the other chunks");
    assert_eq!(message.text(), "chunk 2 of 3\nchunk 3 of 3\n");
    assert!(first.elapsed() >= Duration::from_millis(500), "the first chunk does not wait for the others");
}

#[test]
fn sends_exactly_the_bytes_asked_for() {
    let demo = Demo::start();
    for length in [0, 1, 16_380, 16_381, 1_000_003] {
        let message = demo.get(&format!("/bytes?n={length}"));
        assert_eq!(message.header("content-length"), Some(length.to_string().as_str()));
        assert_eq!(message.body.len(), length);
        assert!(message.body.iter().enumerate().all(|(at, byte)| usize::from(*byte - b'a') == at % 26));
    }
    assert_eq!(demo.get("/bytes").body.len(), 1 << 20);
}

#[test]
fn echoes_the_head_or_the_body_as_it_comes() {
    let demo = Demo::start();
    let head = demo.ask("GET /echo?q=1 HTTP/1.1\r\nHost: a\r\nX-Two: 1\r\nX-Two: 2\r\nConnection: close\r\n\r\n");
    assert_eq!(head.text(), "GET /echo?q=1 HTTP/1.1\nhost: a\nx-two: 1\nx-two: 2\nconnection: close\n");

    let mut raw = demo.connect();
    raw.send("POST /echo?q=2 HTTP/1.1\r\nHost: a\r\nContent-Type: text/x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    let head = raw.head();
    assert_eq!((head.header("x-demo-method"), head.header("x-demo-path")), (Some("POST"), Some("/echo?q=2")));
    assert_eq!(head.header("content-type"), Some("text/x"));
    assert_eq!(raw.take(10).expect("back before the request's end"), b"5\r\nfirst\r\n");
    raw.send("6\r\nsecond\r\n0\r\n\r\n");
    assert_eq!(raw.take(16).expect("the rest"), b"6\r\nsecond\r\n0\r\n\r\n");
}

#[test]
fn shows_the_request_headers_as_json() {
    let demo = Demo::start();
    let message = demo.ask("GET /headers HTTP/1.1\r\nHost: a\r\nX-Two: 1\r\nX-Two: 2\r\nConnection: close\r\n\r\n");
    let json: serde_json::Value = serde_json::from_slice(&message.body).expect("JSON");
    assert_eq!(json, serde_json::json!({"connection": ["close"], "host": ["a"], "x-two": ["1", "2"]}));
}

#[test]
fn fails_aborts_and_exits_when_told_so() {
    let mut demo = Demo::start();
    assert_eq!(demo.get("/fail").status(), 500);
    assert_eq!(demo.get("/fail?status=503").status(), 503);
    for wrong in ["/fail?status=200", "/slow?ms=x", "/slow?ms=600001", "/exit?code=256", "/stream?chunks=-1"] {
        let refusal = demo.get(wrong);
        assert_eq!(refusal.status(), 400, "{wrong}");
        assert!(refusal.text().contains("should be a number from"), "{}", refusal.text());
    }
    for path in ["/abort", "/abort?chunked=1"] {
        let mut raw = demo.connect();
        let mut message = raw.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).head();
        assert_eq!(message.status(), 200);
        assert_eq!(message.header("content-length").is_some(), path == "/abort");
        assert!(raw.body(&mut message, true).is_err(), "{path}: cut");
    }
    let mut raw = demo.connect();
    raw.send("GET /exit?code=7 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(demo.exit_code(), Some(7));
    assert!(raw.is_closed_within(PATIENCE), "without an answer");
}

#[test]
fn a_websocket_echoes_every_kind_of_message() {
    let demo = Demo::start();
    let mut raw = websocket::open(demo.address(), "a", "/ws");
    for length in [0, 125, 126, 65_535, 65_536, 1 << 20] {
        let payload = vec![b'x'; length];
        raw.send(frame(BINARY, &payload));
        assert!(websocket::read(&mut raw).expect("an echo") == (BINARY, payload), "{length} bytes");
    }
    raw.send(frame(TEXT, "grüße".as_bytes()));
    assert_eq!(websocket::read(&mut raw).expect("an echo"), (TEXT, "grüße".as_bytes().to_vec()));
    // In two parts, cut within a character, with a ping in between.
    raw.send(frame_with(TEXT, b"gr\xc3")).send(frame(PING, b"there?")).send(frame(CONTINUATION, b"\xbc\xc3\x9fe"));
    assert_eq!(websocket::read(&mut raw).expect("a pong"), (PONG, b"there?".to_vec()));
    assert_eq!(websocket::read(&mut raw).expect("an echo"), (TEXT, "grüße".as_bytes().to_vec()));
    raw.send(frame(CLOSE, b"\x03\xe8bye"));
    assert_eq!(websocket::read(&mut raw).expect("a close"), (CLOSE, b"\x03\xe8".to_vec()));
    assert!(raw.is_closed_within(PATIENCE));
}

#[test]
fn a_websocket_that_breaks_the_rules_is_closed_with_the_right_code() {
    let demo = Demo::start();
    let cases: [(&str, Vec<u8>, u16); 10] = [
        ("unmasked", vec![0x81, 0x01, b'x'], 1002),
        ("reserved bit", frame_with(0xc1, b"x"), 1002),
        ("unknown opcode", frame(3, b"x"), 1002),
        ("nothing to continue", frame(CONTINUATION, b"x"), 1002),
        ("a new message within one", [frame_with(TEXT, b"x"), frame(TEXT, b"y")].concat(), 1002),
        ("a cut ping", frame_with(PING, b"x"), 1002),
        ("a long ping", frame(PING, &[0; 126]), 1002),
        ("a close code that may not be sent", frame(CLOSE, &1005_u16.to_be_bytes()), 1002),
        ("not UTF-8", frame(TEXT, b"\xff"), 1007),
        ("too big", [vec![0x82, 0x80 | 127], (1_u64 << 62).to_be_bytes().to_vec()].concat(), 1009),
    ];
    for (name, bytes, code) in cases {
        let mut raw = websocket::open(demo.address(), "a", "/ws");
        raw.send(bytes);
        assert_eq!(websocket::read(&mut raw).expect(name), (CLOSE, code.to_be_bytes().to_vec()), "{name}");
    }
}

#[test]
fn a_websocket_needs_a_handshake() {
    let demo = Demo::start();
    let refusal = demo.get("/ws");
    assert_eq!((refusal.status(), refusal.header("sec-websocket-version")), (426, Some("13")));
    let bad_key = websocket::handshake("a", "/ws").replace("dGhl", "");
    assert_eq!(demo.ask(&bad_key.replace("Upgrade\r\n", "Upgrade, close\r\n")).status(), 400);
}

#[test]
fn on_term_it_finishes_what_is_under_way_and_takes_leave_of_websockets() {
    let mut demo = Demo::start();
    let mut tunnel = websocket::open(demo.address(), "a", "/ws");
    tunnel.send(frame(TEXT, b"x"));
    websocket::read(&mut tunnel).expect("it works");
    let mut streaming = demo.connect();
    let mut message = streaming.send("GET /stream?chunks=4&ms=50 HTTP/1.1\r\nHost: a\r\n\r\n").head();
    demo.terminate();
    assert_eq!(websocket::read(&mut tunnel).expect("a close"), (CLOSE, 1001_u16.to_be_bytes().to_vec()));
    drop(tunnel);
    streaming.body(&mut message, true).expect("the whole stream");
    assert!(message.text().ends_with("chunk 4 of 4\n"));
    assert_eq!(demo.exit_code(), Some(0));
    assert!(TcpStream::connect(demo.address()).is_err());
}

#[test]
fn starts_late_or_not_at_all_when_told_so() {
    let began = Instant::now();
    let late = Demo::spawn(&["--start-delay", "300ms"]);
    eventually("the demo's port", || TcpStream::connect(late.address()).ok());
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(Demo::spawn(&["--fail-start"]).exit_code(), Some(1));
}
