//! The admin API, put together: what the paths answer.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::StatusCode;
use tokio::sync::{mpsc, oneshot, watch};

use super::AppError;
use super::orders::Order;
use super::ports::ListeningPorts;
use crate::admin::auth::{Guard, Token};
use crate::admin::router::{Request, Response, Router};
use crate::admin::server::{AdminPort, serve_port, serve_socket};
use crate::admin::socket::AdminSocket;
use crate::control::commands::WakeError;
use crate::control::status::{Rejected, StartsStatus, Status};
use crate::control::{certificates, commands, report};
use crate::lifecycle::keeper::CommandError;
use crate::lifecycle::provider::docker::{DockerProvider, EngineState};
use crate::lifecycle::turns::{Turns, TurnsReading};
use crate::lifecycle::unit::{State, Unit};
use crate::live::Live;
use crate::model::settings::Settings;
use crate::proxy::threads::Shared;
use crate::reload::standing::Standing;
use crate::telemetry::metrics::{self, ConfigReading, Reading, StartsReading};
use crate::telemetry::timestamp::Timestamp;
use crate::tls::acme::Troubles;

/// Socket and port, bound and not yet served.
pub(super) struct Doors {
    socket: AdminSocket,
    port: Option<(AdminPort, Rc<Guard>)>,
}

/// What the answers are made of.
#[derive(Clone)]
pub(super) struct Facts {
    pub(super) config: PathBuf,
    pub(super) started_at: SystemTime,
    pub(super) threads: usize,
    pub(super) turns: Turns,
    pub(super) docker: DockerProvider,
    pub(super) shared: Arc<Shared>,
    pub(super) listening: Rc<RefCell<ListeningPorts>>,
    pub(super) standing: Rc<RefCell<Standing>>,
    /// Certificates that could not be had.
    pub(super) troubles: Troubles,
    pub(super) orders: mpsc::Sender<Order>,
    /// Once tidegate was told to end: when what is not over then is cut.
    pub(super) cut_at: Rc<Cell<Option<Instant>>>,
}

impl Doors {
    pub(super) async fn open(settings: &Settings) -> Result<Self, AppError> {
        let token = settings.admin_token_file.as_deref().map(Token::read).transpose()?;
        let port = match settings.admin {
            Some(address) => Some((AdminPort::bind(address).await?, Rc::new(Guard::new(token)))),
            None => None,
        };
        Ok(Self { socket: AdminSocket::bind(&settings.socket)?, port })
    }

    /// Serves until the sender that is returned is dropped.
    pub(super) fn serve(self, facts: Facts) -> watch::Sender<()> {
        let (stop, stopped) = watch::channel(());
        let until = |mut stopped: watch::Receiver<()>| async move {
            // An error says that the sender is gone, which is the signal.
            while stopped.changed().await.is_ok() {}
        };
        let router = Rc::new(router(&facts));
        tokio::task::spawn_local(serve_socket(self.socket, Rc::clone(&router), until(stopped.clone())));
        if let Some((port, guard)) = self.port {
            tokio::task::spawn_local(serve_port(port, guard, router, until(stopped)));
        }
        stop
    }
}

fn router(facts: &Facts) -> Router {
    let [for_certificates, for_status, for_metrics, for_reload, for_identities, for_sleep, for_wake, for_restart] =
        std::array::from_fn(|_| facts.clone());
    Router::new()
        .get("/status", move |_| {
            let answer = Response::json(&for_status.status());
            async move { answer }
        })
        .get("/certificates", move |_| {
            let live = for_certificates.shared.published.load();
            let answer = Response::json(&certificates::all(&live.snapshot, SystemTime::now()));
            async move { answer }
        })
        .get("/metrics", move |_| {
            let answer = Response::text(metrics::CONTENT_TYPE, metrics::render(for_metrics.reading()));
            async move { answer }
        })
        // By POST although it changes nothing: fingerprints of environments are not for whoever can reach the port.
        .post("/identities", move |_: Request| {
            let answer = Response::json(&report::identities(&for_identities.shared.published.load()));
            async move { answer }
        })
        .post("/reload", move |_: Request| {
            let facts = for_reload.clone();
            async move { facts.reload().await }
        })
        .post("/sleep", move |request: Request| {
            let facts = for_sleep.clone();
            async move { facts.sleep(&request).await.unwrap_or_else(|refusal| refusal) }
        })
        .post("/restart", move |request: Request| {
            let facts = for_restart.clone();
            async move { facts.restart(&request).await.unwrap_or_else(|refusal| refusal) }
        })
        .post("/wake", move |request: Request| {
            let facts = for_wake.clone();
            async move { facts.wake(&request).await.unwrap_or_else(|refusal| refusal) }
        })
}

impl Facts {
    fn status(&self) -> Status {
        let live = self.shared.published.load();
        let standing = self.standing.borrow();
        let totals = self.shared.counters.total();
        let rejected = standing.diagnostics.iter().filter(|d| d.is_error()).map(|diagnostic| {
            let (line, column) = diagnostic.primary.line_column().unwrap_or_default();
            let cure = diagnostic.help.as_deref().map(|help| format!(" ({help})")).unwrap_or_default();
            Rejected {
                file: diagnostic.primary.source.path.display().to_string(),
                line,
                column,
                message: format!("{}{cure}", diagnostic.message),
            }
        });
        // Of containers that are not what the file says, the file's place is not known.
        let differs = self.docker.differences().into_iter().map(|difference| Rejected {
            file: difference.version.to_string(),
            message: difference.message,
            ..Rejected::default()
        });
        let engine = match self.docker.engine_state() {
            EngineState::Away { error } => {
                Some(format!("the Docker engine is away, and what runs is served on: {error}"))
            }
            EngineState::Unused | EngineState::Reachable => None,
        };
        let warnings = standing.diagnostics.iter().filter(|d| !d.is_error()).map(ToString::to_string);
        let waiting =
            standing.at_next_start.iter().map(|name| format!("`{name}` takes effect when tidegate starts anew"));
        let polls = standing.polls.then(|| "edits are noticed late, for lack of inotify watches".to_owned());
        Status {
            config: self.config.display().to_string(),
            in_force_since: Timestamp(standing.since).to_string(),
            rejected: rejected.chain(differs).collect(),
            listen: self.listening.borrow().urls(),
            ending: self.cut_at.get().is_some(),
            cut_in: self.cut_at.get().map(|at| at.saturating_duration_since(Instant::now()).as_secs() + 1),
            notices: self
                .troubles
                .borrow()
                .values()
                .cloned()
                .chain(warnings)
                .chain(waiting)
                .chain(polls)
                .chain(engine)
                .collect(),
            threads: self.threads,
            starts: {
                let TurnsReading { most: max, taken: now, waiting } = self.turns.reading();
                StartsStatus { max, now, waiting }
            },
            certificates: certificates::needing_care(&live.snapshot, SystemTime::now()),
            connections: totals.connections_open,
            http2_connections: totals.http2_open,
            tunnels: totals.tunnels_open,
            ..report::status(&live, self.started_at)
        }
    }

    fn reading(&self) -> Reading {
        let live = self.shared.published.load();
        let standing = self.standing.borrow();
        Reading {
            started_at: self.started_at,
            config: ConfigReading {
                generation: live.generation,
                accepted: standing.accepted,
                rejected: standing.rejected,
                held_back: standing.is_held_back() || !self.docker.differences().is_empty(),
                snapshots: Live::in_memory() as u64,
            },
            starts: {
                let TurnsReading { taken, waiting, .. } = self.turns.reading();
                StartsReading { now: taken.into(), waiting: waiting.into() }
            },
            proxy: self.shared.counters.total(),
            access_lines_dropped: live.access.as_ref().map_or(0, |access| access.dropped()),
            certificates: certificates::readings(&live.snapshot),
            services: report::services(&live),
            states: &State::NAMES,
        }
    }

    /// Reads the files again, as an edit would.
    async fn reload(&self) -> Response {
        let (sender, done) = oneshot::channel();
        if self.orders.send(Order::Reload(sender)).await.is_err() {
            return ending();
        }
        let Ok(changed) = done.await else { return ending() };
        let generation = self.shared.published.load().generation;
        let rejected = self.standing.borrow().is_held_back();
        Response::json(&serde_json::json!({"changed": changed, "generation": generation, "rejected": rejected}))
    }

    /// Puts a version to sleep.
    async fn sleep(&self, request: &Request) -> Result<Response, Response> {
        let unit = self.unit(request)?;
        let asleep = self.rest(&unit, Order::Sleep);
        commands::sleep(&unit, asleep).await.map(|slept| Response::json(&slept)).map_err(|error| refused(&error))
    }

    /// Has a version stop and come up again, and answers when it has. Requests that come meanwhile wait.
    async fn restart(&self, request: &Request) -> Result<Response, Response> {
        let unit = self.unit(request)?;
        let asleep = self.rest(&unit, Order::Restart);
        commands::sleep(&unit, asleep).await.map_err(|error| refused(&error))?;
        self.up(&unit).await
    }

    /// Gives an order to rest, and waits for the answer.
    async fn rest(
        &self,
        unit: &Unit,
        order: fn(String, oneshot::Sender<Result<(), CommandError>>) -> Order,
    ) -> Result<(), CommandError> {
        let (sender, done) = oneshot::channel();
        let gone = || Err(CommandError::Unknown(unit.name().to_string()));
        if self.orders.send(order(unit.name().to_string(), sender)).await.is_err() {
            return gone();
        }
        done.await.unwrap_or_else(|_| gone())
    }

    /// Wakes a version, and answers when it is up.
    async fn wake(&self, request: &Request) -> Result<Response, Response> {
        let unit = self.unit(request)?;
        self.up(&unit).await
    }

    async fn up(&self, unit: &Arc<Unit>) -> Result<Response, Response> {
        let try_again = async || {
            let order = Order::TryAgain(unit.name().to_string());
            if self.orders.send(order).await.is_err() {
                tracing::debug!("tidegate is about to end");
            }
        };
        commands::wake(unit, try_again).await.map(|woken| Response::json(&woken)).map_err(|error| {
            let (status, code) = match &error {
                WakeError::Failed { .. } => (StatusCode::SERVICE_UNAVAILABLE, "failed"),
                WakeError::Gone(_) => (StatusCode::NOT_FOUND, "unknown_version"),
            };
            Response::error(status, code, &error.to_string())
        })
    }

    /// The unit of the version that a request names.
    fn unit(&self, request: &Request) -> Result<Arc<Unit>, Response> {
        let Some(name) = request.parameter("version") else {
            let message = format!("which version? such as {}?version=shop-001", request.path);
            return Err(Response::error(StatusCode::BAD_REQUEST, "no_version", &message));
        };
        let live = self.shared.published.load();
        let unit = live.version(&name).map(|(_, unit)| Arc::clone(unit));
        unit.ok_or_else(|| Response::error(StatusCode::NOT_FOUND, "unknown_version", &commands::unknown(&live, &name)))
    }
}

fn refused(error: &CommandError) -> Response {
    let (status, code) = match error {
        CommandError::Unknown(_) => (StatusCode::NOT_FOUND, "unknown_version"),
        CommandError::NotOurs(_) => (StatusCode::CONFLICT, "not_ours"),
        CommandError::Held { .. } => (StatusCode::CONFLICT, "held"),
        CommandError::Awaited { .. } => (StatusCode::CONFLICT, "awaited"),
    };
    Response::error(status, code, &error.to_string())
}

fn ending() -> Response {
    Response::error(StatusCode::SERVICE_UNAVAILABLE, "ending", "tidegate is about to end")
}
