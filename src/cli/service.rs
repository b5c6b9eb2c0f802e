//! `tidegate service`: the services.

use std::io::Write;

use super::home::{ConfigArg, Server, in_force};
use super::table;
use crate::control::edit::Desk;
use crate::control::{remove, services};

/// List services, or delete one.
#[derive(Debug, clap::Args)]
pub struct ServiceArgs {
    #[command(subcommand)]
    verb: ServiceVerb,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, clap::Subcommand)]
enum ServiceVerb {
    /// Show the services, their hosts and their versions
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a service with its file; its versions finish what is on its way and stop
    Delete {
        /// Such as shop
        service: String,
        /// Also if it serves traffic
        #[arg(long)]
        force: bool,
    },
}

/// Lists or deletes.
///
/// # Errors
/// There is no such service, it serves traffic, or its file cannot be removed.
pub fn run(args: &ServiceArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    match &args.verb {
        ServiceVerb::List { json } => {
            let rows = services::list(&args.config.home()?);
            if *json {
                return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?);
            }
            let cells = rows.iter().map(|row| {
                let shares =
                    row.versions.iter().map(|version| format!("{}={}", version.name, table::percent(version.weight)));
                let error = row.error.as_deref().and_then(|error| error.lines().next());
                let about =
                    error.map_or_else(|| shares.collect::<Vec<_>>().join(" "), |error| format!("broken: {error}"));
                vec![row.name.clone(), row.hosts.join(" "), about]
            });
            Ok(table::print(&["SERVICE", "HOSTS", "VERSIONS"], &cells.collect::<Vec<_>>(), out)?)
        }
        ServiceVerb::Delete { service, force } => {
            let home = args.config.home()?;
            let server = Server::of(&home)?;
            let versions = remove::service(&home, service, *force)?;
            in_force(server.as_ref(), &Desk::new(&home, service)?.file())?;
            let gone = if versions.is_empty() { String::new() } else { format!(" with {}", versions.join(", ")) };
            Ok(writeln!(out, "{service} is gone{gone}")?)
        }
    }
}
