//! `tidegate cert`: the certificates, and what a client would meet.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context;
use clap::{Args, Subcommand};

use crate::admin::client::Client;
use crate::config;
use crate::config::load::load;
use crate::control::certificates::{all, check};
use crate::control::status::CertificateStatus;
use crate::model::host;

/// Show certificates, and check what a domain would be served with.
#[derive(Debug, Args)]
pub struct CertArgs {
    #[command(subcommand)]
    verb: CertVerb,
}

#[derive(Debug, Subcommand)]
enum CertVerb {
    /// List the certificates in force, those that end first before the others
    ///
    /// Asks the tidegate that runs; where none does, reads the files.
    List(Common),
    /// Show the certificates that are for a domain, with all that is written in them
    Show(OfDomain),
    /// Say what a client would meet that asks for a domain over HTTPS, and the cure where something is wrong
    ///
    /// Reads the files and asks no server. Exit code 1 if something is wrong.
    Check(OfDomain),
}

#[derive(Debug, Args)]
struct Common {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The server's file; without it, ./config/tidegate.yaml or /etc/tidegate/tidegate.yaml
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct OfDomain {
    /// Such as shop.example.com
    domain: String,
    #[command(flatten)]
    common: Common,
}

impl CertArgs {
    /// The server's file.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        let (CertVerb::List(common)
        | CertVerb::Show(OfDomain { common, .. })
        | CertVerb::Check(OfDomain { common, .. })) = &self.verb;
        config::root_file(common.config.as_deref())
    }
}

/// Prints what is asked for; `socket` is where the server answers, if one runs.
///
/// # Errors
/// The files have errors, or `out` cannot be written.
pub fn run(args: &CertArgs, socket: &Path, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match &args.verb {
        CertVerb::List(common) => {
            let certificates = in_force(&args.root(), socket)?;
            if common.json {
                json(&certificates, out)?;
            } else {
                table(&certificates, out)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        CertVerb::Show(OfDomain { domain, common }) => {
            let name = host::normalise(domain).with_context(|| format!("`{domain}` is not a host name"))?;
            let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
            let is_for = |it: &CertificateStatus| it.names.iter().any(|n| **n == *name || Some(n) == wildcard.as_ref());
            let certificates: Vec<_> = in_force(&args.root(), socket)?.into_iter().filter(is_for).collect();
            if common.json {
                json(&certificates, out)?;
            } else if certificates.is_empty() {
                anyhow::bail!("there is no certificate for {name}; `tidegate cert list` shows those that there are");
            } else {
                certificates.iter().try_for_each(|certificate| details(certificate, out))?;
            }
            Ok(if certificates.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        CertVerb::Check(OfDomain { domain, common }) => {
            let check = check(&*snapshot(&args.root())?, domain, SystemTime::now());
            if common.json {
                let (good, wrong) = (&check.good, &check.wrong);
                json(&serde_json::json!({"good": good, "wrong": wrong, "certificates": check.certificates}), out)?;
            } else {
                check.good.iter().try_for_each(|good| writeln!(out, "good   {good}"))?;
                check.wrong.iter().try_for_each(|wrong| writeln!(out, "wrong  {wrong}"))?;
            }
            Ok(if check.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

/// What the server has, or else what it would have.
fn in_force(root: &Path, socket: &Path) -> anyhow::Result<Vec<CertificateStatus>> {
    match Client::new(socket).get_json("/certificates") {
        Ok(certificates) => Ok(certificates),
        Err(_) => Ok(all(&*snapshot(root)?, SystemTime::now())),
    }
}

fn snapshot(root: &Path) -> anyhow::Result<std::sync::Arc<crate::model::snapshot::Snapshot>> {
    let loaded = load(root, None, &|_| None);
    loaded.snapshot.clone().with_context(|| {
        let errors = loaded.diagnostics.iter().filter(|diagnostic| diagnostic.is_error());
        let all: Vec<String> = errors.map(ToString::to_string).collect();
        format!("the config has errors:\n{}", all.join("\n"))
    })
}

fn json(value: &impl serde::Serialize, out: &mut dyn Write) -> anyhow::Result<()> {
    Ok(writeln!(out, "{}", serde_json::to_string_pretty(value)?)?)
}

fn table(certificates: &[CertificateStatus], out: &mut dyn Write) -> anyhow::Result<()> {
    if certificates.is_empty() {
        return Ok(writeln!(
            out,
            "No certificates. A service's file names one as `tls: {{certificate: PATH, key: PATH}}`."
        )?);
    }
    writeln!(out, "{:<20}  {:>4}  {:<13}  {:<7}  NAMES", "UNTIL", "DAYS", "STATE", "KEY")?;
    for certificate in certificates {
        let CertificateStatus { not_after, days_left, state, key, names, .. } = certificate;
        let until = not_after.get(..19).unwrap_or(not_after);
        writeln!(out, "{until:<20}  {days_left:>4}  {state:<13}  {key:<7}  {}", plain(&names.join(" ")))?;
    }
    Ok(())
}

fn details(certificate: &CertificateStatus, out: &mut dyn Write) -> anyhow::Result<()> {
    let CertificateStatus { names, state, days_left, not_before, not_after, key, issuer, serial, chain, source } =
        certificate;
    writeln!(out, "names   {}", plain(&names.join(" ")))?;
    writeln!(out, "state   {state}, {days_left} days left")?;
    writeln!(out, "valid   {not_before} to {not_after}")?;
    writeln!(out, "key     {key}")?;
    writeln!(out, "issuer  {}", plain(issuer))?;
    writeln!(out, "serial  {serial}")?;
    writeln!(out, "chain   {chain} sent")?;
    writeln!(out, "file    {}\n", plain(source))?;
    Ok(())
}

/// What others have written, without what would move a terminal's cursor.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
