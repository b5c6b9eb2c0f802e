//! Requests for a service that nobody edits, and the backend of all services.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// Clients, each with a connection of its own.
const CLIENTS: usize = 16;
/// From one request of a client to its next: 2,000 per second over all, so that queues are not what is measured.
const EVERY: Duration = Duration::from_millis(8);

/// A thread that runs what is given to it until the program ends.
pub(crate) fn runtime() -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    Ok(handle)
}

/// Starts a backend that answers every read with an empty 200, on a free port.
pub(crate) async fn backend() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                // A request comes in one piece.
                while let Ok(1..) = stream.read(&mut request).await {
                    if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(address)
}

/// Clients that go on until they are stopped.
pub(crate) struct Traffic<'r> {
    runtime: &'r Handle,
    clients: JoinSet<io::Result<()>>,
    times: Arc<Mutex<Vec<Duration>>>,
}

impl<'r> Traffic<'r> {
    /// Begins to ask for `s0`.
    pub(crate) fn start(runtime: &'r Handle, address: SocketAddr) -> Self {
        let (mut clients, times) = (JoinSet::new(), Arc::default());
        for _ in 0..CLIENTS {
            clients.spawn_on(ask(address, Arc::clone(&times)), runtime);
        }
        Self { runtime, clients, times }
    }

    /// How long the requests since the last call took.
    pub(crate) fn take(&self) -> Vec<Duration> {
        std::mem::take(&mut self.times.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends it; fails where a client has.
    pub(crate) fn stop(mut self) -> io::Result<()> {
        while let Some(ended) = self.clients.try_join_next() {
            ended.map_err(io::Error::other)??;
        }
        self.runtime.block_on(self.clients.shutdown());
        Ok(())
    }
}

async fn ask(address: SocketAddr, times: Arc<Mutex<Vec<Duration>>>) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answer = vec![0; 4096];
    loop {
        ticks.tick().await;
        let began = Instant::now();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: s0.localhost\r\n\r\n").await?;
        let length = stream.read(&mut answer).await?;
        let took = began.elapsed();
        if !answer[..length].starts_with(b"HTTP/1.1 200 ") {
            return Err(io::Error::other(String::from_utf8_lossy(&answer[..length]).into_owned()));
        }
        times.lock().unwrap_or_else(PoisonError::into_inner).push(took);
    }
}
