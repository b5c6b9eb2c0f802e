//! `tidegate explain`: which version a request would get, and why.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use http::Method;

use crate::config;
use crate::config::load::load;
use crate::control::explain::{Question, explain};

/// Say which version a request would get, and why.
///
/// Reads the files, asks no server and moves nothing. The choice is made by the code that the server runs; where weights decide, the
/// odds are shown.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Such as `http://hello.localhost:8080/path?preview=new`
    pub url: String,
    /// A header, such as 'x-beta: yes'; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// A cookie, such as tidegate=0123; may be repeated
    #[arg(long = "cookie", value_name = "NAME=VALUE")]
    pub cookies: Vec<String>,
    /// The method
    #[arg(short = 'X', long, default_value = "GET")]
    pub method: Method,
    /// The client's address
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub client: IpAddr,
    /// The server's file; without it, ./config/tidegate.yaml or /etc/tidegate/tidegate.yaml
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Prints the explanation. Exit code 1 where a file has errors, after explaining what there is.
pub fn run(args: &ExplainArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let question = Question::parse(&args.url, args.method.clone(), &args.headers, &args.cookies, args.client)?;
    let root = config::root_file(args.config.as_deref());
    let loaded = load(&root, None, &|_| None);
    let errors = loaded.diagnostics.iter().filter(|diagnostic| diagnostic.is_error());
    let snapshot = loaded.snapshot.as_ref().with_context(|| {
        let all: Vec<String> = errors.clone().map(ToString::to_string).collect();
        format!("the config has errors:\n{}", all.join("\n"))
    })?;
    write!(out, "{}", explain(snapshot, &question)?)?;
    for error in errors {
        writeln!(out, "left out  {error}")?;
    }
    Ok(if loaded.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
