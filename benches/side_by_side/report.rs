//! The tables, in Markdown, to be pasted.

use crate::figures::Spread;
use crate::peers::{Contender, Peer};
use crate::round::{Measured, Sample};
use crate::rows::{Goal, Metric, Reference};

impl Measured {
    fn samples_of(&self, peer: Option<Peer>) -> Option<&[Sample]> {
        self.samples.iter().find(|(each, _)| *each == peer).map(|(_, samples)| &samples[..])
    }

    fn values(&self, peer: Peer) -> Option<Spread> {
        self.samples_of(Some(peer)).map(|samples| Spread::of(samples.iter().map(|sample| sample.value)))
    }

    /// The peer with the lowest median.
    fn best(&self) -> Option<Peer> {
        self.best_of(Peer::ALL.into_iter().filter(|peer| *peer != Peer::Tidegate))
    }

    fn best_of(&self, peers: impl IntoIterator<Item = Peer>) -> Option<Peer> {
        let medians = peers.into_iter().filter_map(|peer| Some((peer, self.values(peer)?.median)));
        medians.min_by(|one, other| one.1.total_cmp(&other.1)).map(|(peer, _)| peer)
    }

    /// The peer of the goal.
    fn reference(&self) -> Option<Peer> {
        match self.row.reference {
            Reference::First(peers) => peers.iter().copied().find(|peer| self.samples_of(Some(*peer)).is_some()),
            Reference::Best(peers) => self.best_of(peers.iter().copied()),
        }
    }

    /// tidegate's part of a peer's figure: the ratio of each round, since what disturbs one round disturbs both.
    fn ratio(&self, peer: Peer) -> Option<Spread> {
        let (ours, theirs) = (self.samples_of(Some(Peer::Tidegate))?, self.samples_of(Some(peer))?);
        Some(Spread::of(ours.iter().zip(theirs).map(|(ours, theirs)| ours.value / theirs.value)))
    }

    /// The ratio to the peer of the goal, where the goal is a ratio or there is none.
    fn to_reference(&self) -> String {
        let is_ratio = !matches!(self.row.goal, Some(Goal::Most(_)));
        self.against(self.reference().filter(|_| is_ratio))
    }

    fn against(&self, peer: Option<Peer>) -> String {
        let ratio = peer.and_then(|peer| Some((peer, self.ratio(peer)?)));
        ratio.map_or_else(|| "-".to_owned(), |(peer, ratio)| format!("{} ({})", spread(ratio), peer.name()))
    }

    /// The peer of the goal by name, and what has to be known about the choice.
    fn whose(&self, reference: Option<Peer>) -> String {
        let (peers, between) = match self.row.reference {
            Reference::First([first, ..]) if reference.is_some_and(|peer| peer != *first) => {
                let name = reference.map_or("", Peer::name);
                return format!("{name}, since {} is not there", first.name());
            }
            Reference::First(peers) => (&peers[..1], ""),
            Reference::Best(peers) => (peers, " or "),
        };
        peers.iter().map(|peer| peer.name()).collect::<Vec<_>>().join(between)
    }

    fn verdict(&self) -> String {
        let (bar, found) = match self.row.goal {
            None => return "-".to_owned(),
            Some(Goal::Ratio(most)) => {
                let reference = self.reference();
                let bar = format!("≤ {most:.2} of {}", self.whose(reference));
                (bar, reference.and_then(|peer| self.ratio(peer)).map(|ratio| ratio.median <= most))
            }
            Some(Goal::Most(most)) => {
                let bar = format!("≤ {most:.0} {}", self.row.metric.heading());
                (bar, self.values(Peer::Tidegate).map(|values| values.median <= most))
            }
        };
        let verdict = match found {
            Some(true) => "met",
            Some(false) => "**not met**",
            None => "cannot be told",
        };
        format!("{bar}: {verdict}")
    }
}

/// Prints a row's figures: medians, and the lowest and the highest round in brackets.
pub(crate) fn print(measured: &Measured) {
    let heading = measured.row.metric.heading();
    if measured.row.metric == Metric::Memory {
        println!("\n| | {heading} | errors |\n|---|---|---|");
    } else if measured.row.metric == Metric::Cpu {
        println!("\n| | {heading} | requests/s | p50 µs | p99 µs | errors |\n|---|---|---|---|---|---|");
    } else {
        println!(
            "\n| | {heading} | CPU µs/request | requests/s | p50 µs | p99 µs | errors |\n|---|---|---|---|---|---|---|"
        );
    }
    for (peer, samples) in &measured.samples {
        let name = peer.map_or("no proxy (CPU: the backend's)", Peer::name);
        let of = |part: fn(&Sample) -> f64| spread(Spread::of(samples.iter().map(part)));
        let errors: usize = samples.iter().map(|sample| sample.faults.len()).sum();
        print!("| {name} | {} |", of(|sample| sample.value));
        if measured.row.metric == Metric::AddedLatency {
            print!(" {} |", of(|sample| sample.cpu_us));
        }
        if measured.row.metric != Metric::Memory {
            print!(" {} | {} | {} |", of(|sample| sample.rps), of(|sample| sample.p50_us), of(|sample| sample.p99_us));
        }
        println!(" {errors} |");
    }
    println!(
        "\ntidegate to the best peer: {}; to the one of the goal: {}; goal {}",
        measured.against(measured.best()),
        measured.to_reference(),
        measured.verdict()
    );
}

/// Prints the table of all rows.
pub(crate) fn summary(rows: &[Measured], contenders: &[Contender]) {
    print!(
        "\n## All rows\n\nMedians; ratios are medians of the ratios of each round, with the lowest and the highest.\n\n| row |"
    );
    for contender in contenders {
        print!(" {} {} |", contender.peer.name(), contender.version);
    }
    println!(" to the best | to the goal's | goal |\n|---|{}---|---|---|", "---|".repeat(contenders.len()));
    for measured in rows {
        print!("| {}: {} |", measured.row.about, measured.row.metric.heading());
        for contender in contenders {
            print!(" {} |", measured.values(contender.peer).map_or_else(String::new, |values| number(values.median)));
        }
        let (best, reference) = (measured.against(measured.best()), measured.to_reference());
        println!(" {best} | {reference} | {} |", measured.verdict());
    }
}

/// Says once more what went wrong, and how often.
pub(crate) fn faults(rows: &[Measured]) -> usize {
    let mut count = 0;
    for measured in rows {
        for (peer, samples) in &measured.samples {
            let faults: Vec<&String> = samples.iter().flat_map(|sample| &sample.faults).collect();
            if let Some(first) = faults.first() {
                println!(
                    "{}: {}: {} errors, the first: {first}",
                    measured.row.name,
                    peer.map_or("direct", Peer::name),
                    faults.len()
                );
            }
            count += faults.len();
        }
        for fault in &measured.faults {
            println!("{}: {fault}", measured.row.name);
        }
        count += measured.faults.len();
    }
    count
}

fn spread(spread: Spread) -> String {
    if spread.median.is_nan() {
        return "-".to_owned();
    }
    format!("{} ({} to {})", number(spread.median), number(spread.low), number(spread.high))
}

/// Three digits, or all before the point.
fn number(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "-".to_owned(),
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
