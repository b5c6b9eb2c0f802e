//! The backend: fixed answers, with as little work as the system allows, so that it is not what is measured.

use std::env;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use memchr::memmem;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::process::{self, Process};

/// What has this program be the backend.
pub(crate) const WORD: &str = "backend";

/// The size of what `/small` answers.
pub(crate) const SMALL: usize = 1024;

/// The size of what `/large` answers.
pub(crate) const LARGE: usize = 1024 * 1024;

/// More than the head of any request.
const HEAD: usize = 16 * 1024;

/// The headers that `/forwarded` wants to see; all peers are to do that work.
const FORWARDED: [&str; 3] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];

const LENGTH_REQUIRED: &[u8] = b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\n\r\n";

/// A body of this size.
pub(crate) fn body(size: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(size).collect()
}

/// Starts a backend, on a free port or beside one that serves there already: the system deals connections to both.
pub(crate) fn start(beside: Option<SocketAddr>) -> io::Result<(Process, SocketAddr)> {
    let mut command = process::command(&env::current_exe()?);
    command.args([WORD, &beside.map_or(0, |address| address.port()).to_string()]).stdout(Stdio::piped());
    let mut backend = Process::start(&mut command, WORD, None)?;
    let output = backend.child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    Ok((backend, line.trim().parse().map_err(io::Error::other)?))
}

/// Serves until standard input ends, and says on standard output where.
pub(crate) fn serve(port: u16) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(4096)?;
    println!("{}", socket.local_addr()?.as_socket().expect("an IPv4 socket has one"));
    io::stdout().flush()?;
    thread::spawn(|| {
        let _end = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let mut workers = Vec::new();
    for _ in 0..crate::threads() {
        let (sender, receiver) = unbounded_channel();
        thread::spawn(move || work(receiver));
        workers.push(sender);
    }
    for worker in workers.iter().cycle() {
        let stream = loop {
            match socket.accept() {
                Ok((stream, _)) => break stream,
                // There are too many for now, or it was gone already.
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        };
        stream.set_tcp_nodelay(true)?;
        stream.set_nonblocking(true)?;
        worker.send(stream.into()).map_err(io::Error::other)?;
    }
    Ok(())
}

fn work(mut streams: UnboundedReceiver<std::net::TcpStream>) -> io::Result<()> {
    let answers: &'static Answers = Box::leak(Box::new(Answers::new()));
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
        while let Some(stream) = streams.recv().await {
            let stream = TcpStream::from_std(stream)?;
            // A connection that ends is no news here; the client counts what fails.
            tokio::spawn(async move { answers.serve(stream).await });
        }
        Ok(())
    })
}

struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
}

impl Answers {
    fn new() -> Self {
        let answer = |size: usize| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\r\n");
            [head.into_bytes(), body(size)].concat()
        };
        Self { small: answer(SMALL), large: answer(LARGE) }
    }

    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut buffer = vec![0; HEAD];
        let mut filled = 0;
        loop {
            let Some(end) = memmem::find(&buffer[..filled], b"\r\n\r\n").map(|at| at + 4) else {
                filled += read(&mut stream, &mut buffer[filled..]).await?;
                continue;
            };
            let head = &buffer[..end];
            let mut used = end;
            if head.starts_with(b"GET /small ") {
                stream.write_all(&self.small).await?;
            } else if head.starts_with(b"GET /large ") {
                stream.write_all(&self.large).await?;
            } else if head.starts_with(b"PUT /drain ") {
                let length: usize =
                    header(head, "content-length").and_then(|value| value.parse().ok()).unwrap_or_default();
                used = filled.min(end + length);
                drain(&mut stream, end + length - used).await?;
                stream.write_all(if length > 0 { &self.small } else { LENGTH_REQUIRED }).await?;
            } else {
                let missing = FORWARDED.into_iter().find(|name| header(head, name).is_none());
                let missing = missing.unwrap_or(if head.starts_with(b"GET /forwarded ") { "" } else { "no such path" });
                let status = if missing.is_empty() { "200 OK" } else { "400 Bad Request" };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{missing}", missing.len());
                stream.write_all(answer.as_bytes()).await?;
            }
            buffer.copy_within(used..filled, 0);
            filled -= used;
        }
    }
}

fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(head).ok()?;
    let found = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    str::from_utf8(found.value).ok()
}

/// Reads what there is; the end of the stream is an error.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> io::Result<usize> {
    let count = stream.read(buffer).await?;
    if count == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(count) }
}

/// Takes this many bytes off the stream without looking at them: with MSG_TRUNC, Linux counts them and copies nothing (tcp(7)).
pub(crate) async fn drain(stream: &mut TcpStream, mut left: usize) -> io::Result<()> {
    let mut nowhere: Vec<u8> = Vec::with_capacity(left.min(LARGE));
    while left > 0 {
        let most = left.min(LARGE);
        let count = stream
            .async_io(Interest::READABLE, || {
                SockRef::from(&*stream).recv_with_flags(&mut nowhere.spare_capacity_mut()[..most], libc::MSG_TRUNC)
            })
            .await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= count;
    }
    Ok(())
}
