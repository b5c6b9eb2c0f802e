//! `tidegate traffic`: who gets how much.

use std::io::Write;

use anyhow::{Context as _, bail};
use serde_json::json;

use super::home::{ConfigArg, Server, in_force};
use super::progress::note;
use super::table;
use crate::config::home::Draft;
use crate::control::edit::{Desk, EditRefused};
use crate::control::traffic::{Moved, Plan, Share};

/// Show or set how much of a service's traffic each version gets.
///
/// Versions that are not named get 0; the percentages sum to 100, or are all 0. Versions that get more are woken first, and nothing
/// moves if one does not come up. What was before is kept for `tidegate rollback`. Without a running tidegate the file is edited all
/// the same.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tidegate traffic shop\n  tidegate traffic shop 2=10 1=90\n  tidegate traffic shop shop-002=100"
)]
pub struct TrafficArgs {
    /// Such as shop
    pub service: String,
    /// A version with its percentage, such as 3=10 or shop-003=33.33
    #[arg(value_name = "VERSION=PERCENT")]
    pub shares: Vec<Share>,
    /// Move the traffic without waking versions first
    #[arg(long)]
    pub no_wake: bool,
    /// Not supported yet: the traffic moves at once
    #[arg(long, value_name = "TIME", hide = true)]
    pub over: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "it has its own")]
    pub config: ConfigArg,
}

/// Return to the weights before the last change.
///
/// As `tidegate traffic` with what `previous_weights` says; doing it twice leads back.
#[derive(Debug, clap::Args)]
pub struct RollbackArgs {
    /// Such as shop
    pub service: String,
    /// Move the traffic without waking versions first
    #[arg(long)]
    pub no_wake: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "it has its own")]
    pub config: ConfigArg,
}

/// Shows or sets weights.
///
/// # Errors
/// What was asked for makes no sense, a version does not come up, the file cannot be edited, or the server holds the edit back.
pub fn run(args: &TrafficArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    if args.over.is_some() {
        bail!("`--over` is not supported yet: move the traffic in steps, such as 10, 50 and 100 per cent");
    }
    let home = args.config.home()?;
    let desk = Desk::open(&home, &args.service)?;
    if args.shares.is_empty() {
        let draft = desk.read()?;
        let now = draft.weights().map(|(name, weight)| {
            let percent = weight.percent();
            Moved { version: name.to_string(), before: percent, weight: percent }
        });
        return show(&args.service, &now.collect::<Vec<_>>(), args.json, out);
    }
    let moved = shift(&desk, args.no_wake, |desk, draft| Plan::of(desk, draft, &args.shares))?;
    show(&args.service, &moved, args.json, out)
}

/// Returns to what was before.
///
/// # Errors
/// Nothing is known of that, a version does not come up, the file cannot be edited, or the server holds the edit back.
pub fn roll_back(args: &RollbackArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let home = args.config.home()?;
    let desk = Desk::open(&home, &args.service)?;
    let moved = shift(&desk, args.no_wake, Plan::previous)?;
    show(&args.service, &moved, args.json, out)
}

fn shift(
    desk: &Desk<'_>,
    no_wake: bool,
    plan: impl Fn(&Desk<'_>, &Draft) -> Result<Plan, EditRefused>,
) -> anyhow::Result<Vec<Moved>> {
    let draft = desk.read()?;
    let gainers = plan(desk, &draft)?.gainers(&draft);
    let server = Server::of(desk.home)?;
    match &server {
        Some(server) if !no_wake => {
            for version in gainers {
                server.wake(&version).context("the traffic stays as it was")?;
            }
        }
        Some(_) | None => {}
    }
    let moved = desk.edit(|draft| {
        let plan = plan(desk, draft)?;
        Ok((plan.changes(draft), plan.moved(draft)))
    })?;
    match server {
        None if !no_wake => {
            note("no tidegate is running here: no version was woken first; this comes into force when one starts");
        }
        server => in_force(server.as_ref(), &desk.file())?,
    }
    Ok(moved)
}

/// Says so where no version of a service gets anything any more, or yet.
pub(super) fn note_nobody(service: &str, moved: &[Moved]) {
    let last = moved.last().map_or("VERSION", |moved| &moved.version);
    if moved.iter().all(|moved| moved.weight == 0.0) {
        note(&format!("no version of {service} has traffic: `tidegate traffic {service} {last}=100` gives it some"));
    }
}

/// The weights, and what they were where that is something else.
pub(super) fn show(service: &str, moved: &[Moved], json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&json!({"service": service, "weights": moved}))?)?);
    }
    let was = |moved: &Moved| {
        if moved.before == moved.weight { String::new() } else { format!("was {}", table::percent(moved.before)) }
    };
    let rows: Vec<_> =
        moved.iter().map(|moved| vec![moved.version.clone(), table::percent(moved.weight), was(moved)]).collect();
    Ok(table::print(&["VERSION", "WEIGHT>", ""], &rows, out)?)
}
