//! The admin API, put together: what the paths answer.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot, watch};

use super::AppError;
use super::ports::ListeningPorts;
use crate::admin::auth::{Guard, Token};
use crate::admin::router::{Request, Response, Router};
use crate::admin::server::{AdminPort, serve_port, serve_socket};
use crate::admin::socket::AdminSocket;
use crate::control::report;
use crate::control::status::{Rejected, Status};
use crate::live::Live;
use crate::model::settings::Settings;
use crate::proxy::threads::Shared;
use crate::reload::standing::Standing;
use crate::telemetry::metrics::{self, ConfigReading, Reading};
use crate::telemetry::timestamp::Timestamp;

/// Asks for a reload; the answer says whether anything came into force.
pub(super) type ReloadOrder = oneshot::Sender<bool>;

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
    pub(super) shared: Arc<Shared>,
    pub(super) listening: Rc<RefCell<ListeningPorts>>,
    pub(super) standing: Rc<RefCell<Standing>>,
    pub(super) reload: mpsc::Sender<ReloadOrder>,
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
    let [for_status, for_metrics, for_reload, for_identities] = std::array::from_fn(|_| facts.clone());
    Router::new()
        .get("/status", move |_| {
            let answer = Response::json(&for_status.status());
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
        let warnings = standing.diagnostics.iter().filter(|d| !d.is_error()).map(ToString::to_string);
        let waiting =
            standing.at_next_start.iter().map(|name| format!("`{name}` takes effect when tidegate starts anew"));
        let polls = standing.polls.then(|| "edits are noticed late, for lack of inotify watches".to_owned());
        Status {
            config: self.config.display().to_string(),
            in_force_since: Timestamp(standing.since).to_string(),
            rejected: rejected.collect(),
            listen: self.listening.borrow().urls(),
            notices: warnings.chain(waiting).chain(polls).collect(),
            threads: self.threads,
            connections: totals.connections_open,
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
                held_back: standing.is_held_back(),
                snapshots: Live::in_memory() as u64,
            },
            proxy: self.shared.counters.total(),
            access_lines_dropped: live.access.as_ref().map_or(0, |access| access.dropped()),
            services: report::services(&live),
        }
    }

    /// Reads the files again, as an edit would.
    async fn reload(&self) -> Response {
        let (sender, done) = oneshot::channel();
        let asked = self.reload.send(sender).await.is_ok();
        match (asked, done.await) {
            (true, Ok(changed)) => {
                let generation = self.shared.published.load().generation;
                let rejected = self.standing.borrow().is_held_back();
                Response::json(&serde_json::json!({"changed": changed, "generation": generation, "rejected": rejected}))
            }
            _ => Response::error(http::StatusCode::SERVICE_UNAVAILABLE, "ending", "tidegate is about to end"),
        }
    }
}
