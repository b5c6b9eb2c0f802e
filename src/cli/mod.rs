//! The command line: one verb per file.

use std::process::ExitCode;

/// Parses the arguments, runs the verb and says how it went.
pub fn run() -> ExitCode {
    ExitCode::SUCCESS
}
