//! `tidegate check`: everything that the server would find wrong with its files, at once.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::admin::client::Client;
use crate::config;
use crate::config::compile::{Identity, InForce};
use crate::config::load::{Loaded, load};
use crate::control::status::Running;

/// Say everything that is wrong with the files: place, line and cure.
///
/// Asks a server that runs with them what its versions are, and changes nothing. Exit code 1 if there is an error.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The server's file; without it, ./config/tidegate.yaml or /etc/tidegate/tidegate.yaml
    pub file: Option<PathBuf>,
    /// The same, as the other verbs take it
    #[arg(long, short, value_name = "FILE", conflicts_with = "file")]
    pub config: Option<PathBuf>,
    /// Print what is found as a JSON list
    #[arg(long)]
    pub json: bool,
}

impl CheckArgs {
    /// The server's file.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        config::root_file(self.config.as_deref().or(self.file.as_deref()))
    }
}

/// What the server of this config says its versions are; `None` where none runs, or one of another release.
#[must_use]
pub fn running(socket: &Path) -> Option<Running> {
    let running: Running = Client::new(socket).post_json("/identities", &()).ok()?;
    (running.tidegate == env!("CARGO_PKG_VERSION")).then_some(running)
}

impl Running {
    /// What a version is, if it has run.
    #[must_use]
    pub fn identity(&self, version: &str) -> Option<Identity> {
        self.versions.get(version).copied().map(Identity::Fingerprint)
    }
}

/// Checks the files against themselves, and against `in_force` where versions run. Exit code 1 if there is an error.
///
/// # Errors
/// What is found cannot be written.
pub fn run(args: &CheckArgs, in_force: &InForce<'_>, out: &mut impl Write, colour: bool) -> io::Result<ExitCode> {
    let root = args.root();
    let loaded = load(&root, None, in_force);
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &loaded.diagnostics)?;
        writeln!(out)?;
    } else {
        for diagnostic in &loaded.diagnostics {
            writeln!(out, "{}\n", diagnostic.render(colour))?;
        }
        writeln!(out, "{}", summary(&root, &loaded))?;
    }
    Ok(if loaded.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// "config/tidegate.yaml: 2 errors and 1 warning", or what there is if all is well.
fn summary(root: &Path, loaded: &Loaded) -> String {
    let errors = loaded.diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count();
    let warnings = loaded.diagnostics.len() - errors;
    let root = root.display();
    let mut parts = Vec::new();
    if errors > 0 {
        parts.push(count(errors, "error"));
    }
    if warnings > 0 {
        parts.push(count(warnings, "warning"));
    }
    if let (Some(snapshot), 0) = (&loaded.snapshot, errors) {
        let versions = snapshot.services.iter().map(|service| service.versions.len()).sum();
        let found = format!("{} with {}", count(snapshot.services.len(), "service"), count(versions, "version"));
        parts.insert(0, format!("good, {found}"));
    }
    format!("{root}: {}", parts.join(", "))
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
