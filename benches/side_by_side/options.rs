//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::peers::Peer;
use crate::rows::{ROWS, Row};

/// tidegate and its peers, side by side.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// The rows to measure; all when none is named
    pub(crate) rows: Vec<String>,
    /// How often each contender is measured in each row
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// How long each round lasts per contender
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// The peers to measure, by name; all that are there when left out. tidegate always takes part
    #[arg(long, value_delimiter = ',')]
    pub(crate) peers: Vec<String>,
    /// A tidegate to measure instead of what `cargo build --release` makes
    #[arg(long)]
    pub(crate) tidegate: Option<PathBuf>,
    /// The folder where `pip install --target` has put Envoy and Traefik; target/peers when left out
    #[arg(long)]
    pub(crate) wheels: Option<PathBuf>,
    /// Cargo adds it
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// The rows that are asked for.
    pub(crate) fn chosen(&self) -> Result<Vec<&'static Row>, String> {
        let names = || ROWS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
        let unknown = self.rows.iter().find(|name| ROWS.iter().all(|row| row.name != name.as_str()));
        if let Some(unknown) = unknown {
            return Err(format!("no row is called `{unknown}`; there are {}", names()));
        }
        let peers = || Peer::ALL.iter().map(|peer| peer.name()).collect::<Vec<_>>().join(", ");
        if let Some(unknown) = self.peers.iter().find(|name| Peer::ALL.iter().all(|peer| peer.name() != name.as_str()))
        {
            return Err(format!("no peer is called `{unknown}`; there are {}", peers()));
        }
        Ok(ROWS.iter().filter(|row| self.rows.is_empty() || self.rows.iter().any(|name| name == row.name)).collect())
    }

    /// Whether a peer is to take part.
    pub(crate) fn wants(&self, peer: Peer) -> bool {
        peer == Peer::Tidegate || self.peers.is_empty() || self.peers.iter().any(|name| name == peer.name())
    }
}
