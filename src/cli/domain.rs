//! `tidegate domain`: the domains of a service.

use std::io::Write;

use super::home::{ConfigArg, Server, in_force};
use crate::control::edit::Desk;
use crate::control::tuning;

/// Add a domain to a service, or remove one.
#[derive(Debug, clap::Args)]
pub struct DomainArgs {
    #[command(subcommand)]
    verb: DomainVerb,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, clap::Subcommand)]
enum DomainVerb {
    /// Serve one more domain
    Add(Which),
    /// Serve a domain no longer
    Remove(Which),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Such as shop
    service: String,
    /// Such as shop.example.com, or '*.shop.example.com' for all one label below
    domain: String,
}

/// Adds or removes.
///
/// # Errors
/// There is no such service or domain, another service has it, the file cannot be edited, or the server holds the edit back.
pub fn run(args: &DomainArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let (DomainVerb::Add(which) | DomainVerb::Remove(which)) = &args.verb;
    let Which { service, domain } = which;
    let home = args.config.home()?;
    let server = Server::of(&home)?;
    let said = match &args.verb {
        DomainVerb::Add(_) if tuning::add_domain(&home, service, domain)? => {
            format!("{service} has the domain {domain}")
        }
        DomainVerb::Add(_) => format!("{service} has the domain {domain} already"),
        DomainVerb::Remove(_) => {
            tuning::remove_domain(&home, service, domain)?;
            format!("{service} has the domain {domain} no longer")
        }
    };
    in_force(server.as_ref(), &Desk::new(&home, service)?.file())?;
    Ok(writeln!(out, "{said}")?)
}
