//! `tidegate versions`: the versions of a service.

use std::collections::HashMap;
use std::io::Write;

use super::home::{ConfigArg, Server};
use super::progress::note;
use super::{block_on, table};
use crate::config::home::Home;
use crate::control::containers;
use crate::control::edit::Desk;
use crate::control::versions::{VersionRow, list};
use crate::lifecycle::provider::docker::engine::Engine;
use crate::model::version::Backend;

/// Show the versions of a service: state, weight, instances, and what they are made of.
///
/// States: building, starting, normal, asleep, draining, failed, stopped; unknown without a running tidegate.
#[derive(Debug, clap::Args)]
pub struct VersionsArgs {
    /// Such as shop
    pub service: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "it has its own")]
    pub config: ConfigArg,
}

/// Shows them.
///
/// # Errors
/// There is no such service, its file has errors, or `out` cannot be written.
pub fn run(args: &VersionsArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let home = args.config.home()?;
    let desk = Desk::new(&home, &args.service)?;
    let server = Server::of(&home)?;
    let status = match &server {
        Some(server) => server.service(&args.service)?,
        None => None,
    };
    let created = created(&home, &desk);
    let rows = list(&desk, status.as_ref(), |version| created.get(version).cloned())?;
    if server.is_none() {
        note("no tidegate is running here: states and instances are not known");
    }
    if args.json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?);
    }
    let cells: Vec<_> = rows.iter().map(cells).collect();
    table::print(&["VERSION", "WEIGHT>", "STATE", "INSTANCES", "FROM", "CREATED", "PREVIEW", "REMARK"], &cells, out)?;
    for row in rows.iter().filter(|row| row.state == "failed") {
        let why = row.why.as_deref().unwrap_or_default();
        writeln!(out, "\n{} failed: {}", row.name, why.lines().map(table::plain).collect::<Vec<_>>().join("\n  "))?;
    }
    Ok(())
}

/// When containers were made, by version. The engine is asked only where there are some, and its silence costs no more than the answer.
fn created(home: &Home, desk: &Desk<'_>) -> HashMap<String, String> {
    let has_containers = desk.read().is_ok_and(|draft| {
        draft.service.versions.iter().any(|version| matches!(&*version.backend, Backend::Container(_)))
    });
    if !has_containers {
        return HashMap::new();
    }
    let engine = Engine::new(home.settings.docker.host.as_deref());
    let made = block_on(containers::of_service(&engine, &home.owner(), desk.name.as_str()));
    let mut first = HashMap::new();
    for container in made.ok().and_then(Result::ok).unwrap_or_default() {
        let Some(created) = container.created else { continue };
        first
            .entry(container.version)
            .and_modify(|first: &mut String| *first = first.clone().min(created.clone()))
            .or_insert(created);
    }
    first
}

fn cells(row: &VersionRow) -> Vec<String> {
    let or_dash =
        |text: Option<&String>| text.filter(|text| !text.is_empty()).cloned().unwrap_or_else(|| "-".to_owned());
    let addresses: Vec<_> = row.instances.iter().map(|instance| instance.address.clone()).collect();
    vec![
        row.name.clone(),
        table::percent(row.weight),
        row.state.clone(),
        or_dash(Some(&addresses.join(" "))),
        short(&row.from),
        or_dash(row.created.as_ref().map(|time| time.split('.').next().unwrap_or(time).to_owned()).as_ref()),
        or_dash(row.preview.as_ref()),
        row.remark.clone().unwrap_or_default(),
    ]
}

/// A digest in twelve digits, as engines show IDs; `--json` has all of it.
fn short(from: &str) -> String {
    match from.split_once("@sha256:") {
        Some((name, digest)) => format!("{name}@{}", digest.chars().take(12).collect::<String>()),
        None if from.chars().count() > 60 => format!("{}...", from.chars().take(57).collect::<String>()),
        None => from.to_owned(),
    }
}
