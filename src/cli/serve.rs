//! `tidegate serve`: the server.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::app::{self, AppError};
use crate::config;

/// Serve what the config says, and follow its edits.
///
/// SIGTERM or Ctrl-C finishes what is on its way and stops the versions; a second one ends at once. SIGHUP reads the files again and
/// opens the access log anew.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The server's file; without it, ./config/tidegate.yaml or /etc/tidegate/tidegate.yaml
    pub file: Option<PathBuf>,
    /// The same, as the other verbs take it
    #[arg(long, short, value_name = "FILE", conflicts_with = "file")]
    pub config: Option<PathBuf>,
}

/// Serves until told to end.
#[must_use]
pub fn run(args: &ServeArgs) -> ExitCode {
    let root = config::root_file(args.config.as_deref().or(args.file.as_deref()));
    let Err(error) = app::serve(&root) else { return ExitCode::SUCCESS };
    let mut out = io::stderr().lock();
    // Nobody is left to read a closed standard error.
    let _told = match &error {
        AppError::Config(diagnostics) => {
            let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
            diagnostics.iter().try_for_each(|diagnostic| writeln!(out, "{}\n", diagnostic.render(colour)))
        }
        other => writeln!(out, "tidegate: {other}"),
    };
    ExitCode::FAILURE
}
