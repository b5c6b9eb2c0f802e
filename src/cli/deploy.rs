//! `tidegate deploy`: a new version, from an image, a build or a command, that gets traffic when it is up.

mod arguments;
mod image;

use std::io::Write;

use anyhow::{Context as _, anyhow};
use serde_json::json;

pub use self::arguments::DeployArgs;
use super::block_on;
use super::home::{Server, held_back};
use super::progress::{Progress, note};
use super::traffic::{note_nobody, show};
use crate::config::home::Home;
use crate::control::containers;
use crate::control::deploy::{Deploying, Deployment, From};
use crate::control::traffic::Moved;
use crate::lifecycle::provider::docker::engine::Engine;
use crate::model::name::{ServiceName, VersionName};
use crate::telemetry::timestamp::Timestamp;

/// What shells say of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Deploys.
///
/// # Errors
/// What was asked for makes no sense, the image cannot be had, the version does not come up, or the file cannot be edited. The traffic is as
/// it was then.
pub fn run(args: &DeployArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let home = args.config.home()?;
    let deployment = args.deployment()?;
    let server = Server::of(&home)?;
    let mut progress = Progress::new();
    let engine = Engine::new(home.settings.docker.host.as_deref());
    let seen = highest(&home, &deployment, &engine)?;
    let mut deploying = deployment.clone().begin(&home, seen, Timestamp::now().to_string())?;
    let name = deploying.name.clone();
    if let Some(taken) = &deploying.taken_over {
        progress.line(&format!(
            "{name} takes over from {}: {} (`--fresh` takes nothing)",
            taken.from,
            taken.keys.join(", ")
        ));
    }
    let image = image::get(args, &deployment, &name, &engine, &mut progress).with_context(|| {
        // There is no file to remember it.
        let number = if deploying.is_new_service { "" } else { "; its number is not used again" };
        format!("`{name}` was not deployed, and nothing has changed{number}")
    })?;
    end_by_ctrl_c(&deployment.service);
    deploying.write(image.as_deref())?;
    let (moved, took_ms) = match &server {
        Some(server) => up(server, &deploying, &mut progress)?,
        None => {
            progress.line("no tidegate is running here: the version is written, and has not been tried out");
            (shift(&deploying)?, None)
        }
    };
    if args.json {
        let json = json!({
            "service": deployment.service, "version": name.as_str(), "image": image, "tried": server.is_some(),
            "took_ms": took_ms, "weights": moved,
        });
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&json)?)?);
    }
    match took_ms {
        Some(took) => writeln!(out, "{name} is up, after {:.2} s", took as f64 / 1e3)?,
        None => writeln!(out, "{name} is written")?,
    }
    show(&deployment.service, &moved, false, out)?;
    note_nobody(&deployment.service, &moved);
    Ok(())
}

/// Has Ctrl-C end the program again: who has listened for it once, as is done while an image is got, is not ended by it any more.
fn end_by_ctrl_c(service: &str) {
    let told = format!("interrupted; `tidegate versions {service}` says how far it came");
    std::thread::spawn(move || {
        if let Ok(Ok(())) = block_on(tokio::signal::ctrl_c()) {
            note(&told);
            std::process::exit(INTERRUPTED);
        }
    });
}

/// The highest number that containers have. Only a deploy of a container needs an engine.
fn highest(home: &Home, deployment: &Deployment, engine: &Engine) -> anyhow::Result<u32> {
    let service = ServiceName::new(&deployment.service)?;
    let made = block_on(containers::of_service(engine, &home.owner(), service.as_str()))?;
    let made = match made {
        Ok(made) => made,
        Err(_) if matches!(deployment.from, From::Command(_)) => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    let numbers = made.iter().filter_map(|container| VersionName::parse(&service, &container.version).ok());
    Ok(numbers.map(|version| version.number()).max().unwrap_or(0))
}

/// Has the server try the version out, and then moves the traffic.
fn up(
    server: &Server,
    deploying: &Deploying<'_>,
    progress: &mut Progress,
) -> anyhow::Result<(Vec<Moved>, Option<u64>)> {
    let name = &deploying.name;
    let cure =
        || format!("the traffic stays as it was; see `tidegate logs {name}`, remove it with `tidegate delete {name}`");
    let rejected = server.reload(&deploying.file())?;
    if !rejected.is_empty() {
        let why = held_back(&rejected);
        return Err(anyhow!("{name} is written, but the running tidegate holds the edit back:\n{why}\n{}", cure()));
    }
    progress.step(&format!("starting {name}"));
    let woken = server.wake(name.as_str()).map_err(|error| anyhow!("{error}\n{}", cure()))?;
    let moved = shift(deploying)?;
    let rejected = server.reload(&deploying.file())?;
    if !rejected.is_empty() {
        let why = held_back(&rejected);
        return Err(anyhow!("{name} is up, but the running tidegate holds the change of traffic back:\n{why}"));
    }
    Ok((moved, Some(woken.took_ms)))
}

fn shift(deploying: &Deploying<'_>) -> anyhow::Result<Vec<Moved>> {
    deploying.shift().with_context(|| {
        let (name, percent) = (&deploying.name, deploying.traffic);
        format!("{name} is deployed, but its traffic ({percent}%) could not be set; do so with `tidegate traffic`")
    })
}
