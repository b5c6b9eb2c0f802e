//! Connections to backends: not more than they can take, and none kept that others need.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use crate::support::backend::{Backend, ok};
use crate::support::eventually;
use crate::support::front::get;
use crate::support::raw::Raw;
use crate::support::site::Site;

/// Serves one connection at a time, each to its end, as single-worker servers with keep-alive do.
struct OneAtATime {
    address: SocketAddr,
    served: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl OneAtATime {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("an address");
        let (served, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (served, ended) = (Arc::clone(&served), Arc::clone(&ended));
            move || {
                for stream in listener.incoming().flatten() {
                    if ended.load(Ordering::SeqCst) {
                        return;
                    }
                    let mut raw = Raw::new(stream);
                    while let Ok(Some(_)) = raw.try_head() {
                        served.fetch_add(1, Ordering::SeqCst);
                        if !raw.try_send(&ok("ok")) {
                            break;
                        }
                    }
                }
            }
        });
        Self { address, served, ended, thread: Some(thread) }
    }
}

impl Drop for OneAtATime {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let woken = std::net::TcpStream::connect(self.address).is_ok();
        if let (true, Some(thread)) = (woken, self.thread.take()) {
            thread.join().expect("the backend did not panic");
        }
    }
}

fn site(address: SocketAddr, yaml: &str) -> Site {
    let version = format!("versions: {{app-001: {{urls: [\"http://{address}\"]{yaml}}}}}\n");
    Site::new().service("app", &version).start()
}

/// With several data threads: no request waits until a connection that another thread keeps has idled for too long.
#[test]
fn a_single_worker_with_keep_alive_is_at_everybodys_disposal() {
    let backend = OneAtATime::start();
    let site = site(backend.address, ", max_concurrency: 1");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = site.connect();
                for n in 0..25 {
                    assert_eq!(client.ask(get("/", "")).status(), 200, "request {n}");
                }
            });
        }
    });
    assert_eq!(backend.served.load(Ordering::SeqCst), 200);
}

/// Sockets that wait for an answer to their SYN at this port (proc_net_tcp(5), state 2).
fn connecting(port: u16) -> usize {
    let peer = format!("0100007F:{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the table");
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields.filter(|fields| fields.get(2) == Some(&peer.as_str()) && fields.get(3) == Some(&"02")).count()
}

/// A backend that does not accept for a while, and whose queue is full.
#[test]
fn at_most_128_connects_are_in_progress_and_everybody_gets_a_turn() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
    socket.listen(1).expect("listen");
    let listener: TcpListener = socket.into();
    let address = listener.local_addr().expect("an address");
    let site = Site::new()
        .service(
            "app",
            &format!("timeouts: {{connect: 60s}}\nversions: {{app-001: {{urls: [\"http://{address}\"]}}}}\n"),
        )
        .start();
    let mut clients: Vec<Raw> = (0..200).map(|_| site.connect()).collect();
    for client in &mut clients {
        client.send(get("/", ""));
    }
    let mut most = 0;
    // A few are in the backend's queue already.
    eventually("all to have asked, and as many as may to connect", || {
        most = most.max(connecting(address.port()));
        (site.version("app-001")["in_flight"] == 200 && most >= 100).then_some(())
    });
    most = most.max(connecting(address.port()));
    assert!(most <= 128, "{most} connects at a time");
    // Room for all: what was not heard the first time comes again after a second.
    SockRef::from(&listener).listen(1024).expect("listen");
    let backend = Backend::answering_on(listener, |_| ok("ok"));
    for client in &mut clients {
        assert_eq!(client.response().status(), 200);
    }
    // Who waited took what came back, where that was sooner.
    assert!(backend.connections() <= 200);
}

/// Nobody accepts: a first and a second lot find that out by themselves, and the others never had their turn.
#[test]
fn a_turn_to_connect_that_does_not_come_is_no_connect_that_took_too_long() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
    socket.listen(1).expect("listen");
    let listener: TcpListener = socket.into();
    let address = listener.local_addr().expect("an address");
    let version = format!("timeouts: {{connect: 1s}}\nversions: {{app-001: {{urls: [\"http://{address}\"]}}}}\n");
    let site = Site::new().service("app", &version).start();
    let mut clients: Vec<Raw> = (0..500).map(|_| site.connect()).collect();
    let began = Instant::now();
    for client in &mut clients {
        client.send(get("/", ""));
    }
    let (mut tried, mut never) = (0, 0);
    let mut of = |client: &mut Raw| {
        let answer = client.response();
        let status = answer.header("proxy-status").unwrap_or_default().to_owned();
        match answer.status() {
            503 => {
                assert_eq!(status, "tidegate; error=connection_limit_reached; fault=upstream");
                assert!(answer.header("retry-after").is_some());
                never += 1;
            }
            504 => tried += 1,
            // One of those in the backend's queue, which is gone now.
            502 => {}
            other => panic!("{other}: {status}"),
        }
    };
    // But for those in the backend's queue, which wait for its answer.
    let in_flight = || site.version("app-001")["in_flight"].as_u64().expect("a number");
    eventually("the answers", || (in_flight() <= 2).then_some(()));
    let took = began.elapsed();
    drop(listener);
    clients.iter_mut().for_each(&mut of);
    assert!(never >= 100 && tried >= 128, "{tried} tried, {never} never had their turn");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// The time in line is not the instance's: whoever waited for as long as a connect may take has all of that for its own.
#[test]
fn whoever_has_waited_for_a_turn_still_has_the_time_to_connect() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
    socket.listen(1).expect("listen");
    let listener: TcpListener = socket.into();
    let address = listener.local_addr().expect("an address");
    let version = format!("timeouts: {{connect: 2s}}\nversions: {{app-001: {{urls: [\"http://{address}\"]}}}}\n");
    let site = Site::new().service("app", &version).start();
    let mut clients: Vec<Raw> = (0..200).map(|_| site.connect()).collect();
    let began = Instant::now();
    for client in &mut clients {
        client.send(get("/", ""));
    }
    // What was not heard the first time comes again after a second and after three, which is too late.
    eventually("the second try", || (began.elapsed() > Duration::from_millis(1500)).then_some(()));
    SockRef::from(&listener).listen(1024).expect("listen");
    let _backend = Backend::answering_on(listener, |_| ok("ok"));
    let statuses: Vec<u16> = clients.iter_mut().map(|client| client.response().status()).collect();
    let count = |status: u16| statuses.iter().filter(|it| **it == status).count();
    assert!(count(504) <= 128 && count(504) + count(200) == 200, "{statuses:?}");
}
