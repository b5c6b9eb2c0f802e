//! The command line: one verb per file.

pub mod check;
pub mod demo;
pub mod explain;
pub mod schema;
pub mod serve;
pub mod status;
pub mod supervise;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config;
use crate::reload::reloader::FirstLoad;

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

Every verb has more to say: tidegate help serve";

#[derive(Debug, Subcommand)]
enum Verb {
    Serve(serve::ServeArgs),
    Check(check::CheckArgs),
    Explain(explain::ExplainArgs),
    Status(status::StatusArgs),
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
            let running = check::running(&socket(&config::root_file(args.file.as_deref())));
            let in_force = |version: &str| running.as_ref()?.identity(version);
            check::run(&args, &in_force, &mut out, colour).map_err(Into::into)
        }
        Verb::Explain(args) => explain::run(&args, &mut out),
        Verb::Status(args) => {
            let root = config::root_file(args.config.as_deref());
            status::run(&args, &socket(&root), &mut out).map(|()| ExitCode::SUCCESS)
        }
        Verb::Schema(args) => schema::run(&args, &mut out).map(|()| ExitCode::SUCCESS).map_err(Into::into),
    };
    outcome.unwrap_or_else(|error| complain(&error))
}

/// Where the server of this config answers; with a broken config, where it does by default.
fn socket(root: &Path) -> std::path::PathBuf {
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
