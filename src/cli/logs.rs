//! `tidegate logs`: what a version's containers write.

use std::io::Write;

use anyhow::bail;

use super::block_on;
use super::home::ConfigArg;
use crate::control::edit::Desk;
use crate::control::{containers, logs};
use crate::lifecycle::provider::docker::engine::Engine;
use crate::model::version::Backend;

/// Show what a version's containers have written.
///
/// Asks the engine, so that it works without a running tidegate. What processes write is in tidegate's own log.
#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    /// Such as shop-001
    pub version: String,
    /// Go on with what is written from now on
    #[arg(long, short)]
    pub follow: bool,
    /// Only so many of the last lines of each container
    #[arg(long, short = 'n', value_name = "LINES")]
    pub tail: Option<u32>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "it has its own")]
    pub config: ConfigArg,
}

/// Prints them. With several containers each line begins with the name of its own.
///
/// # Errors
/// There is no such version, it has no containers, the engine cannot be asked, or `out` cannot be written.
pub fn run(args: &LogsArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let home = args.config.home()?;
    let (desk, name) = Desk::of_version(&home, &args.version)?;
    let draft = desk.read()?;
    let version = &draft.service.versions[desk.version(&draft, name.as_str())?];
    let engine = Engine::new(home.settings.docker.host.as_deref());
    let owner = home.owner();
    let list = async || match &*version.backend {
        Backend::Found(spec) => containers::found(&engine, &spec.which).await,
        _ => {
            let all = containers::of_service(&engine, &owner, desk.name.as_str()).await?;
            Ok(all.into_iter().filter(|container| container.version == name.as_str()).collect())
        }
    };
    match &*version.backend {
        Backend::Container(_) | Backend::Found(_) => {}
        Backend::Process(_) | Backend::Hook(_) => bail!(
            "{name} is no container: what it writes is in tidegate's own log, in lines with version={name} (the last ones before a failure also in `tidegate status --json`)"
        ),
        Backend::Urls(_) => bail!("{name} has `urls`, which are not tidegate's: its log is where it runs"),
    }
    block_on(async {
        let there = list().await?;
        if there.is_empty() && !args.follow {
            bail!("{name} has no container yet: wake it with `tidegate wake {name}`");
        }
        let mut lines = Lines { several: there.len() > 1, begun: None };
        let wanted = logs::Wanted { follow: args.follow, tail: args.tail };
        logs::read(&engine, wanted, list, |container, piece| lines.write(container, piece, out)).await
    })?
}

/// Puts the containers' names in front of lines.
struct Lines {
    several: bool,
    /// Whose line has begun and not ended.
    begun: Option<String>,
}

impl Lines {
    fn write(&mut self, container: &str, piece: &[u8], out: &mut dyn Write) -> anyhow::Result<()> {
        if !self.several {
            out.write_all(piece)?;
            return Ok(out.flush()?);
        }
        for line in piece.split_inclusive(|byte| *byte == b'\n') {
            match self.begun.as_deref() {
                Some(begun) if begun == container => {}
                Some(_) => write!(out, "\n{container} | ")?,
                None => write!(out, "{container} | ")?,
            }
            out.write_all(line)?;
            self.begun = (!line.ends_with(b"\n")).then(|| container.to_owned());
        }
        Ok(out.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_several_containers_say_whose_they_are() {
        let mut out = Vec::new();
        let mut lines = Lines { several: true, begun: None };
        for (container, piece) in [("a-1", "one\ntwo"), ("a-1", " more\n"), ("a-2", "x"), ("a-1", "three\n")] {
            lines.write(container, piece.as_bytes(), &mut out).expect("written");
        }
        assert_eq!(String::from_utf8_lossy(&out), "a-1 | one\na-1 | two more\na-2 | x\na-1 | three\n");
    }
}
