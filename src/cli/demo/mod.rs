//! `tidegate demo`: a small web server that says which version answered. Hidden; the shipped config and the tests run it.
//!
//! It listens on 127.0.0.1 at the variable PORT and takes its name from TIDEGATE_VERSION, as the process provider sets them.

mod app;
mod body;
mod query;
mod websocket;

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::select;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use self::app::App;
use crate::config::units;

/// How long requests and WebSockets may take to end after TERM.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after a failed accept, which mostly means that descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The arguments of `tidegate demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Waits so long before it listens: 500ms, 1s
    #[arg(long, value_parser = parse_delay, default_value = "0s")]
    start_delay: Duration,
    /// Exits with code 1 instead of listening
    #[arg(long)]
    fail_start: bool,
}

/// Serves until TERM or INT, and then ends what is under way.
pub fn run(args: &DemoArgs) -> ExitCode {
    match start(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to read a closed standard error.
            let _told = writeln!(io::stderr(), "demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: &DemoArgs) -> anyhow::Result<()> {
    let port = std::env::var("PORT").context("the variable PORT should say where to listen")?;
    let port: u16 = port.parse().with_context(|| format!("PORT is `{port}`, not a port"))?;
    let version = std::env::var("TIDEGATE_VERSION").unwrap_or_else(|_| "demo".to_owned());
    let app = Arc::new(App::new(&version).context("TIDEGATE_VERSION does not fit in a header")?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        sleep(args.start_delay).await;
        if args.fail_start {
            bail!("{version} was told to fail its start");
        }
        serve(app, port).await
    })
}

async fn serve(app: Arc<App>, port: u16) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let address = (Ipv4Addr::LOCALHOST, port);
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on 127.0.0.1:{port}"))?;
    // Nobody may be reading.
    let _told = writeln!(io::stdout(), "{} listens on 127.0.0.1:{port}", app.version());
    // Each connection and each WebSocket holds a receiver: none left means that all have ended.
    let (ending, watched) = watch::channel(false);
    loop {
        select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(tokio::spawn(serve_connection(stream, Arc::clone(&app), watched.clone()))),
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            _ = term.recv() => break,
            _ = int.recv() => break,
        }
    }
    drop(listener);
    drop(watched);
    ending.send_replace(true);
    // What is left after that ends with the process.
    let _all_ended = timeout(DRAIN_TIMEOUT, ending.closed()).await;
    Ok(())
}

async fn serve_connection(stream: TcpStream, app: Arc<App>, mut ending: watch::Receiver<bool>) {
    // A peer that is gone already shows below.
    let _gone = stream.set_nodelay(true);
    let for_tunnels = ending.clone();
    let service = service_fn(move |request| {
        let (app, ending) = (Arc::clone(&app), for_tunnels.clone());
        async move { Ok::<_, Infallible>(app.answer(request, ending).await) }
    });
    let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection.with_upgrades());
    // An error is a client that left, or /abort.
    select! {
        _ended = connection.as_mut() => {}
        () = told(&mut ending) => {
            connection.as_mut().graceful_shutdown();
            let _ended = connection.await;
        }
    }
}

/// Waits until `ending` is true, or can never become so.
async fn told(ending: &mut watch::Receiver<bool>) {
    let _told = ending.wait_for(|ending| *ending).await;
}

fn parse_delay(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(|error| format!("{error}; {}", error.help()))
}
