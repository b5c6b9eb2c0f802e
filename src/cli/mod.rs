//! The command line: one verb per file.

pub mod check;
pub mod schema;
pub mod supervise;

use std::process::ExitCode;

use clap::Parser;

#[derive(Debug, Parser)]
#[command(name = "tidegate")]
enum Verb {
    #[command(hide = true)]
    Supervise(supervise::SuperviseArgs),
}

/// Parses the arguments, runs the verb and says how it went.
pub fn run() -> ExitCode {
    match Verb::parse() {
        Verb::Supervise(args) => supervise::run(&args),
    }
}
