//! `tidegate scale`: how many instances a version has.

use std::io::Write;

use super::home::{ConfigArg, Server, in_force};
use crate::control::edit::Desk;
use crate::control::tuning;

/// Set how many instances a version has at least and at most.
///
/// What is not given stays as it is. With `--min 0` it may sleep.
#[derive(Debug, clap::Args)]
#[group(id = "bounds", required = true, multiple = true, args = ["min", "max"])]
pub struct ScaleArgs {
    /// Such as shop-001
    pub version: String,
    /// At least so many while it has traffic to expect
    #[arg(long)]
    pub min: Option<u32>,
    /// At most so many, whatever the load
    #[arg(long)]
    pub max: Option<u32>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "it has its own")]
    pub config: ConfigArg,
}

/// Edits the file.
///
/// # Errors
/// There is no such version, the bounds cannot be, the file cannot be edited, or the server holds the edit back.
pub fn run(args: &ScaleArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let home = args.config.home()?;
    let server = Server::of(&home)?;
    let (version, replicas) = tuning::scale(&home, &args.version, args.min, args.max)?;
    in_force(server.as_ref(), &Desk::of_version(&home, &version)?.0.file())?;
    Ok(writeln!(out, "{version} has {} to {} instances", replicas.min, replicas.max)?)
}
