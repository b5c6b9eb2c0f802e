//! `tidegate wake`: a version comes up before it is asked for.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::COMMAND_PATIENCE;
use super::patience::telling;
use crate::admin::client::Client;
use crate::control::commands::Woken;

/// Wake a version, and say when it is up, or why it is not.
///
/// One that has failed is tried again at once. Exit code 1 if it does not come up.
#[derive(Debug, clap::Args)]
pub struct WakeArgs {
    /// Such as shop-001
    pub version: String,
    /// The tidegate.yaml that tidegate was started with
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Asks the tidegate that listens on `socket`, and prints what came of it.
///
/// # Errors
/// Where none runs, the version does not come up, or `out` cannot be written.
pub fn run(args: &WakeArgs, socket: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let (client, version) = (Client::new(socket), &args.version);
    let patient = client.clone().with_patience(COMMAND_PATIENCE);
    let woken: Woken = telling(&client, version, || patient.command("/wake", version))?;
    let (version, took) = (&woken.version, woken.took_ms as f64 / 1e3);
    if woken.already {
        writeln!(out, "{version} is up already")?;
    } else {
        writeln!(out, "{version} is up, after {took:.2} s")?;
    }
    Ok(())
}
