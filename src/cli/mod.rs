//! The command line: one verb per file.

pub mod cert;
pub mod check;
pub mod demo;
pub mod explain;
mod patience;
pub mod schema;
pub mod serve;
pub mod sleep;
pub mod status;
pub mod supervise;
pub mod wake;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::config;
use crate::reload::reloader::FirstLoad;

/// How long a version may take to sleep or to come up. The server's own limits (the drain's and the stop's, `start.timeout`) end it
/// long before, with an answer that says more.
const COMMAND_PATIENCE: Duration = Duration::from_secs(3600);

/// An HTTP reverse proxy that splits requests over the versions of a service.
///
/// Services are YAML files beside tidegate.yaml. Edit one while tidegate serves: what is right comes into force at once, on
/// connections that are open too; what is wrong changes nothing, and `tidegate status` and `tidegate check` say where it is.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  tidegate serve                               serve ./config/tidegate.yaml
  tidegate check                               say everything that is wrong with it
  tidegate explain http://hello.localhost/     which version would answer, and why
  tidegate status                              versions, weights, requests, rejected edits
  tidegate sleep hello-001                     stop a version until a request wakes it

Every verb has more to say: tidegate help serve";

#[derive(Debug, Subcommand)]
enum Verb {
    Serve(serve::ServeArgs),
    Check(check::CheckArgs),
    Cert(cert::CertArgs),
    Explain(explain::ExplainArgs),
    Status(status::StatusArgs),
    Sleep(sleep::SleepArgs),
    Wake(wake::WakeArgs),
    Schema(schema::SchemaArgs),
    #[command(hide = true)]
    Demo(demo::DemoArgs),
    #[command(hide = true)]
    Supervise(supervise::SuperviseArgs),
}

/// Parses the arguments, runs the verb and says how it went: 0 for success, 1 for a failure, 2 for arguments that make no sense.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let mut out = io::stdout().lock();
    let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let outcome = match arguments.verb {
        Verb::Supervise(args) => return supervise::run(&args),
        Verb::Demo(args) => return demo::run(&args),
        Verb::Serve(args) => {
            drop(out);
            return serve::run(&args);
        }
        Verb::Check(args) => {
            let running = check::running(&socket(&args.root()));
            let in_force = |version: &str| running.as_ref()?.identity(version);
            check::run(&args, &in_force, &mut out, colour).map_err(Into::into)
        }
        Verb::Cert(args) => cert::run(&args, &socket(&args.root()), &mut out),
        Verb::Explain(args) => explain::run(&args, &mut out),
        Verb::Status(args) => status::run(&args, &server(args.config.as_deref()), &mut out).map(|()| ExitCode::SUCCESS),
        Verb::Sleep(args) => sleep::run(&args, &server(args.config.as_deref()), &mut out).map(|()| ExitCode::SUCCESS),
        Verb::Wake(args) => wake::run(&args, &server(args.config.as_deref()), &mut out).map(|()| ExitCode::SUCCESS),
        Verb::Schema(args) => schema::run(&args, &mut out).map(|()| ExitCode::SUCCESS).map_err(Into::into),
    };
    outcome.unwrap_or_else(|error| complain(&error))
}

/// Where the server of this config, or else of the usual one, answers.
fn server(config: Option<&Path>) -> PathBuf {
    socket(&config::root_file(config))
}

/// Where the server of this config answers; with a broken config, where it does by default.
fn socket(root: &Path) -> PathBuf {
    FirstLoad::read(root).map_or_else(|_| root.with_file_name("tidegate.sock"), |first| first.settings().socket.clone())
}

fn complain(error: &anyhow::Error) -> ExitCode {
    // A reader that has left, as `| head` does, is no failure.
    let left = error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
    if left {
        return ExitCode::SUCCESS;
    }
    // Nobody is left to read a closed standard error.
    let _told = writeln!(io::stderr(), "tidegate: {error:#}");
    ExitCode::FAILURE
}
