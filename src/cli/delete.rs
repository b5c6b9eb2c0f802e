//! `tidegate delete`: a version goes.

use std::io::Write;

use super::home::{ConfigArg, Server, in_force};
use super::progress::note;
use super::table;
use super::traffic::note_nobody;
use crate::control::edit::Desk;
use crate::control::remove;
use crate::model::version::Backend;

/// Delete a version: it finishes what is on its way and stops, and its containers are removed. Its number is never used again.
///
/// One that has traffic, or that a rule points at, is deleted only with --force.
#[derive(Debug, clap::Args)]
pub struct DeleteArgs {
    /// Such as shop-001
    pub version: String,
    /// Also if it has traffic (the others get its share) or a rule points at it (the rule goes)
    #[arg(long)]
    pub force: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "it has its own")]
    pub config: ConfigArg,
}

/// Edits the file; the server does the rest.
///
/// # Errors
/// There is no such version, it has traffic, the file cannot be edited, or the server holds the edit back.
pub fn run(args: &DeleteArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let home = args.config.home()?;
    let server = Server::of(&home)?;
    let (desk, name) = Desk::of_version(&home, &args.version)?;
    let draft = desk.read()?;
    let is_container = draft
        .service
        .version(name.as_str())
        .is_some_and(|index| matches!(&*draft.service.versions[index].backend, Backend::Container(_)));
    let deleted = remove::version(&home, name.as_str(), args.force)?;
    in_force(server.as_ref(), &desk.file())?;
    if is_container && server.is_none() {
        note(&format!("the containers of {name} are removed when tidegate starts"));
    }
    if args.json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&deleted)?)?);
    }
    writeln!(out, "{} is gone", deleted.version)?;
    if deleted.rules > 0 {
        writeln!(out, "rules that pointed at it, and are gone: {}", deleted.rules)?;
    }
    let others: Vec<_> = deleted.moved.iter().filter(|moved| moved.version != deleted.version).cloned().collect();
    for moved in others.iter().filter(|moved| moved.weight != moved.before) {
        writeln!(
            out,
            "{} has {} of the traffic, was {}",
            moved.version,
            table::percent(moved.weight),
            table::percent(moved.before)
        )?;
    }
    if !others.is_empty() {
        note_nobody(desk.name.as_str(), &others);
    }
    Ok(())
}
