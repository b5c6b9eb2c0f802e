//! What a person asks of a version: to sleep, to wake.

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::lifecycle::keeper::CommandError;
use crate::lifecycle::unit::{State, Unit};
use crate::live::Live;

/// A version that was put to sleep.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Slept {
    /// Its name.
    pub version: String,
    /// Whether it slept before.
    pub already: bool,
    /// How long it took: requests on their way finish first.
    pub took_ms: u64,
    /// Whether requests that came meanwhile have woken it at once.
    pub woken: bool,
    /// How many of them there are.
    pub waiting: u64,
}

/// A version that is up.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Woken {
    /// Its name.
    pub version: String,
    /// Whether it was up before.
    pub already: bool,
    /// How long it took.
    pub took_ms: u64,
}

/// Why a version is not up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WakeError {
    /// It could not be started, or ended at once.
    #[error("`{name}` did not come up: {why}")]
    Failed {
        /// The version.
        name: String,
        /// What went wrong; of several lines.
        why: Arc<str>,
    },
    /// An edit has removed or replaced it, or tidegate ends.
    #[error("`{0}` is going away: an edit has removed it, or tidegate ends")]
    Gone(String),
}

/// Waits for a unit that was told to sleep, by what `asleep` stands for.
///
/// # Errors
/// Why it does not sleep, with the cure.
pub async fn sleep(unit: &Unit, asleep: impl Future<Output = Result<(), CommandError>>) -> Result<Slept, CommandError> {
    let (version, began) = (unit.name().to_string(), Instant::now());
    let already = unit.state() == State::Asleep;
    asleep.await?;
    match unit.state() {
        State::Asleep => Ok(Slept { version, already, took_ms: since(began), ..Slept::default() }),
        State::Draining | State::Stopped => Err(CommandError::Unknown(version)),
        State::Starting | State::Normal | State::Failed { .. } => {
            let waiting = unit.waiting().into();
            Ok(Slept { version, already, took_ms: since(began), woken: true, waiting })
        }
    }
}

/// Wakes a unit and waits until it is up. One that has failed is tried again at once, by `try_again`.
///
/// # Errors
/// Why it is not up.
pub async fn wake(unit: &Arc<Unit>, try_again: impl AsyncFn()) -> Result<Woken, WakeError> {
    let (version, began) = (unit.name().to_string(), Instant::now());
    let mut states = unit.states();
    let mut already = true;
    loop {
        let state = states.borrow_and_update().clone();
        match state {
            State::Normal => return Ok(Woken { version, already, took_ms: since(began) }),
            State::Failed { .. } if already => try_again().await,
            State::Failed { why, .. } => return Err(WakeError::Failed { name: version, why }),
            State::Stopped => return Err(WakeError::Gone(version)),
            State::Asleep => unit.knock(),
            State::Starting | State::Draining => {}
        }
        already = false;
        if states.changed().await.is_err() {
            return Err(WakeError::Gone(version));
        }
    }
}

/// That there is no such version, and which there are: of the same service, if there is that.
#[must_use]
pub fn unknown(live: &Live, name: &str) -> String {
    let services = &live.snapshot.services;
    let of_same = services.iter().find(|service| {
        let own = service.name.as_str();
        name == own || name.rsplit_once('-').is_some_and(|(service, _)| service == own)
    });
    let versions = services
        .iter()
        .filter(|service| of_same.is_none_or(|same| Arc::ptr_eq(same, service)))
        .flat_map(|service| &service.versions)
        .map(|version| version.name.as_str())
        .collect::<Vec<_>>();
    let there_are = if versions.is_empty() { "none".to_owned() } else { versions.join(", ") };
    let of = of_same.map(|service| format!(" of `{}`", service.name)).unwrap_or_default();
    format!("there is no version `{name}`; those{of} are: {there_are}")
}

fn since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}
