//! The command line: one verb per file.

pub mod cert;
pub mod check;
pub mod completions;
pub mod delete;
pub mod demo;
pub mod deploy;
pub mod domain;
pub mod explain;
pub mod home;
pub mod logs;
mod patience;
mod progress;
pub mod restart;
pub mod scale;
pub mod schema;
pub mod serve;
pub mod service;
pub mod sleep;
pub mod status;
pub mod supervise;
mod table;
pub mod traffic;
pub mod versions;
pub mod wake;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser, Subcommand};

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
  tidegate deploy shop --image shop:1.2        the next version of a service, tried out
  tidegate traffic shop 2=10 1=90              who gets how much of its traffic
  tidegate sleep hello-001                     stop a version until a request wakes it

Every verb has more to say: tidegate help serve";

#[derive(Debug, Subcommand)]
enum Verb {
    Serve(serve::ServeArgs),
    Check(check::CheckArgs),
    Cert(cert::CertArgs),
    Explain(explain::ExplainArgs),
    Status(status::StatusArgs),
    Deploy(Box<deploy::DeployArgs>),
    Traffic(traffic::TrafficArgs),
    Rollback(traffic::RollbackArgs),
    Versions(versions::VersionsArgs),
    Delete(delete::DeleteArgs),
    Logs(logs::LogsArgs),
    Restart(restart::RestartArgs),
    Scale(scale::ScaleArgs),
    Domain(domain::DomainArgs),
    Service(service::ServiceArgs),
    Sleep(sleep::SleepArgs),
    Wake(wake::WakeArgs),
    Schema(schema::SchemaArgs),
    Completions(completions::CompletionsArgs),
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
        Verb::Deploy(args) => deploy::run(&args, &mut out).map(|()| ExitCode::SUCCESS),
        Verb::Traffic(args) => traffic::run(&args, &mut out).map(|()| ExitCode::SUCCESS),
        Verb::Rollback(args) => traffic::roll_back(&args, &mut out).map(|()| ExitCode::SUCCESS),
        Verb::Versions(args) => versions::run(&args, &mut out).map(|()| ExitCode::SUCCESS),
        Verb::Delete(args) => delete::run(&args, &mut out).map(|()| ExitCode::SUCCESS),
        Verb::Logs(args) => logs::run(&args, &mut out).map(|()| ExitCode::SUCCESS),
        Verb::Restart(args) => restart::run(&args, &mut out).map(|()| ExitCode::SUCCESS),
        Verb::Scale(args) => scale::run(&args, &mut out).map(|()| ExitCode::SUCCESS),
        Verb::Domain(args) => domain::run(&args, &mut out).map(|()| ExitCode::SUCCESS),
        Verb::Service(args) => service::run(&args, &mut out).map(|()| ExitCode::SUCCESS),
        Verb::Completions(args) => {
            let written = completions::run(&args, Arguments::command(), &mut out);
            written.map(|()| ExitCode::SUCCESS).map_err(Into::into)
        }
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

/// Does asynchronous work on a small runtime of its own.
fn block_on<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(work))
}

fn complain(error: &anyhow::Error) -> ExitCode {
    // A reader that has left, as `| head` does, is no failure.
    let left = error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
    if left {
        return ExitCode::SUCCESS;
    }
    // Nobody is left to read a closed standard error.
    let _told = writeln!(io::stderr(), "tidegate: {}", in_full(error));
    ExitCode::FAILURE
}

/// An error with its causes, as far as it does not tell them itself.
fn in_full(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.is_empty() {
            told = cause;
        } else if !told.contains(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn what_an_error_tells_of_its_cause_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot write it: {source}; be root")]
        struct Wrapped {
            source: io::Error,
        }
        let wrapped = Wrapped { source: io::Error::other("denied") };
        let error = Err::<(), _>(wrapped).context("not deployed").expect_err("an error");
        assert_eq!(in_full(&error), "not deployed: cannot write it: denied; be root");
    }
}
