//! `tidegate restart`: a version stops and comes up again.

use std::io::Write;

use anyhow::bail;

use super::home::{ConfigArg, Server};
use crate::control::edit::Desk;

/// Restart a version: what is on its way finishes, it stops and comes up again. Requests that come meanwhile wait.
#[derive(Debug, clap::Args)]
pub struct RestartArgs {
    /// Such as shop-001
    pub version: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "it has its own")]
    pub config: ConfigArg,
}

/// Asks the server.
///
/// # Errors
/// None runs, there is no such version, or it does not come up.
pub fn run(args: &RestartArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let home = args.config.home()?;
    let Some(server) = Server::of(&home)? else {
        bail!("no tidegate is running here, so nothing runs that could be restarted: start one with `tidegate serve`");
    };
    // What the server knows may be more than what is in a file that was just broken.
    let version =
        Desk::of_version(&home, &args.version).map_or_else(|_| args.version.clone(), |(_, name)| name.to_string());
    let restarted = server.restart(&version)?;
    Ok(writeln!(out, "{version} is up again, after {:.2} s", restarted.took_ms as f64 / 1e3)?)
}
