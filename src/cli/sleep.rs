//! `tidegate sleep`: a version stops until it is asked for.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::COMMAND_PATIENCE;
use super::patience::telling;
use crate::admin::client::Client;
use crate::control::commands::Slept;

/// Put a version to sleep: what is on its way finishes, then it stops; the next request wakes it.
///
/// Requests that come in the meantime wait, and wake it at once. Exit code 1 if it may not sleep, with the cure.
#[derive(Debug, clap::Args)]
pub struct SleepArgs {
    /// Such as shop-001
    pub version: String,
    /// The tidegate.yaml that tidegate was started with
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Asks the tidegate that listens on `socket`, and prints what came of it.
///
/// # Errors
/// Where none runs, the version may not sleep, or `out` cannot be written.
pub fn run(args: &SleepArgs, socket: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let (client, version) = (Client::new(socket), &args.version);
    let patient = client.clone().with_patience(COMMAND_PATIENCE);
    let slept: Slept = telling(&client, version, || patient.command("/sleep", version))?;
    Ok(writeln!(out, "{}", said(&slept))?)
}

fn said(slept: &Slept) -> String {
    let Slept { version, already, took_ms, woken, waiting } = slept;
    let took = *took_ms as f64 / 1e3;
    match (woken, already) {
        (true, _) => {
            let by = match waiting {
                0 => "a request".to_owned(),
                1 => "a request that waits".to_owned(),
                more => format!("{more} requests that wait"),
            };
            format!("{version} was stopped within {took:.1} s, and woken at once by {by}")
        }
        (false, true) => format!("{version} sleeps already"),
        (false, false) => format!("{version} sleeps, after {took:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_came_of_it() {
        let slept = Slept { version: "shop-001".into(), took_ms: 1_234, ..Slept::default() };
        assert_eq!(said(&slept), "shop-001 sleeps, after 1.2 s");
        assert_eq!(said(&Slept { already: true, ..slept.clone() }), "shop-001 sleeps already");
        let woken = said(&Slept { woken: true, waiting: 3, ..slept });
        assert_eq!(woken, "shop-001 was stopped within 1.2 s, and woken at once by 3 requests that wait");
    }
}
