//! `tidegate status`: what the tidegate that runs is doing.

pub(super) mod about;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{
    admin::client::Client,
    control::status::{InstanceStatus, Rejected, ServiceStatus, Status, VersionStatus},
};

/// Show services, versions, weights, state, instances and any edit that is held back.
///
/// Asks the tidegate that runs, over the unix socket beside its config.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// Print JSON, with everything there is
    #[arg(long)]
    pub json: bool,
    /// The tidegate.yaml that tidegate was started with
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Asks the tidegate that listens on `socket` and prints its answer.
///
/// # Errors
/// Where none runs, or `out` cannot be written.
pub fn run(args: &StatusArgs, socket: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let client = Client::new(socket);
    if args.json {
        // As it comes: a newer server's fields are not lost.
        let status: serde_json::Value = client.get_json("/status")?;
        writeln!(out, "{}", serde_json::to_string_pretty(&status)?)?;
    } else {
        render(&client.get_json("/status")?, out)?;
    }
    Ok(())
}

/// The text form: what is wrong first, then one line per version.
///
/// # Errors
/// Where `out` cannot be written.
pub fn render(status: &Status, out: &mut dyn Write) -> io::Result<()> {
    if !status.rejected.is_empty() {
        writeln!(out, "REJECTED: these edits are not in force.")?;
        for rejected in &status.rejected {
            writeln!(out, "  {}", place(rejected))?;
        }
        writeln!(out)?;
    }
    for notice in &status.notices {
        writeln!(out, "Note: {}", plain(notice))?;
    }
    for certificate in &status.certificates {
        let (names, source) = (plain(&certificate.names.join(", ")), plain(&certificate.source));
        writeln!(
            out,
            "Certificate: {} for {names}, until {} ({source})",
            plain(&certificate.state),
            certificate.not_after
        )?;
    }
    let (config, generation, up) = (plain(&status.config), status.generation, duration(status.uptime));
    writeln!(out, "tidegate {} with {config}, generation {generation}, up {up}", plain(&status.tidegate))?;
    if status.ending {
        writeln!(out, "ending: {}", ending(status))?;
    } else {
        let mut connections = number(status.connections, "connection");
        if status.http2_connections > 0 {
            connections.push_str(&format!(" ({} of HTTP/2)", status.http2_connections));
        }
        let (tunnels, threads) = (number(status.tunnels, "tunnel"), number(status.threads as u64, "thread"));
        writeln!(out, "{}: {connections}, {tunnels}, {threads}", plain(&status.listen.join(", ")))?;
    }
    if status.services.is_empty() {
        return writeln!(out, "\nNo services. A file `NAME.yaml` in the services folder makes one.");
    }
    table(&status.services, out)
}

/// What the end waits for.
fn ending(status: &Status) -> String {
    let versions = status.services.iter().flat_map(|service| &service.versions);
    let under_way: u64 = versions.map(|version| version.in_flight + version.waiting).sum();
    let requests = under_way.saturating_sub(status.tunnels);
    let counted = [(requests, "request"), (status.tunnels, "tunnel")];
    let mut parts: Vec<String> =
        counted.into_iter().filter(|(count, _)| *count > 0).map(|(count, of)| number(count, of)).collect();
    if parts.is_empty() && status.connections > 0 {
        parts.push(number(status.connections, "connection"));
    }
    if parts.is_empty() {
        return "waits for its versions to stop".to_owned();
    }
    let at_most = status.cut_in.map(|seconds| format!(" (at most {})", duration(seconds))).unwrap_or_default();
    format!("waits for {}{at_most}", parts.join(" and "))
}

const COLUMNS: usize = 8;
const HEADINGS: [&str; COLUMNS] =
    ["VERSION", "WEIGHT", "STATE", "INSTANCES", "IN FLIGHT", "WAITING", "REQUESTS", "5XX"];
/// Those with numbers, which are easier to compare when they end in the same column.
const FLUSH_RIGHT: [bool; COLUMNS] = [false, true, false, true, true, true, true, true];

fn table(services: &[ServiceStatus], out: &mut dyn Write) -> io::Result<()> {
    let mut widths = HEADINGS.map(str::len);
    for version in services.iter().flat_map(|service| &service.versions) {
        for (width, cell) in widths.iter_mut().zip(cells(version)) {
            *width = (*width).max(cell.chars().count());
        }
    }
    writeln!(out)?;
    row(&HEADINGS.map(str::to_owned), &widths, "REMARK", out)?;
    for service in services {
        let mut about = service.hosts.clone();
        about.extend(service.note.as_ref().map(|note| format!("({note})")));
        if service.requests > 0 {
            about.push(format!("({} answered by the service itself)", number(service.requests, "request")));
        }
        writeln!(out, "{}  {}", plain(&service.name), plain(&about.join(" ")))?;
        for version in &service.versions {
            row(&cells(version), &widths, &about::about(version), out)?;
        }
    }
    Ok(())
}

fn row(cells: &[String; COLUMNS], widths: &[usize; COLUMNS], remark: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut line = String::from(" ");
    for ((cell, &width), right) in cells.iter().zip(widths).zip(FLUSH_RIGHT) {
        let cell = if right { format!(" {cell:>width$} ") } else { format!(" {cell:<width$} ") };
        line.push_str(&cell);
    }
    line.push_str(&format!(" {remark}"));
    writeln!(out, "{}", line.trim_end())
}

fn cells(version: &VersionStatus) -> [String; COLUMNS] {
    [
        plain(&version.name),
        format!("{}%", (version.weight * 100.0).round() / 100.0),
        plain(&version.state),
        instances(&version.instances),
        version.in_flight.to_string(),
        version.waiting.to_string(),
        version.requests.to_string(),
        version.errors_5xx.to_string(),
    ]
}

/// `2`, or `1/2` where only one of two takes requests.
fn instances(instances: &[InstanceStatus]) -> String {
    let (all, normal) = (instances.len(), instances.iter().filter(|instance| instance.state == "normal").count());
    if all == normal { all.to_string() } else { format!("{normal}/{all}") }
}

fn place(rejected: &Rejected) -> String {
    let mut place = rejected.file.clone();
    for number in [rejected.line, rejected.column].into_iter().filter(|&number| number > 0) {
        place.push_str(&format!(":{number}"));
    }
    plain(&format!("{place}: {}", rejected.message))
}

fn number(number: u64, of: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {of}{plural}")
}

/// The two largest units: `3d 4h`, `12m 5s`.
fn duration(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|&(unit, _)| seconds >= unit).unwrap_or(units.len() - 1);
    let shown = units[first..].iter().take(2).enumerate().filter_map(|(n, &(unit, name))| {
        let number = if n == 0 { seconds / unit } else { seconds % units[first].0 / unit };
        (n == 0 || number > 0).then(|| format!("{number}{name}"))
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// Without control characters, which files and backends may have put into a text, and which a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(state: &str) -> InstanceStatus {
        InstanceStatus { address: "127.0.0.1:20000".into(), state: state.into(), in_flight: 1 }
    }

    fn status() -> Status {
        let versions = vec![
            VersionStatus {
                name: "shop-001".into(),
                weight: 99.95,
                state: "normal".into(),
                instances: vec![instance("normal"), instance("out")],
                in_flight: 12,
                waiting: 7,
                requests: 104_332,
                errors_5xx: 2,
                remark: Some("first\nrelease".into()),
                ..VersionStatus::default()
            },
            VersionStatus {
                name: "shop-003".into(),
                weight: 0.05,
                state: "failed".into(),
                why: Some("exited with status 1".into()),
                remark: Some("new \u{1b}[31mcart".into()),
                ..VersionStatus::default()
            },
        ];
        let rejected = Rejected {
            file: "config/services/blog.yaml".into(),
            line: 3,
            column: 10,
            message: "weights of service blog sum to 95, not 100".into(),
        };
        Status {
            tidegate: "0.1.0".into(),
            uptime: 93_784,
            config: "config/tidegate.yaml".into(),
            generation: 7,
            rejected: vec![rejected],
            listen: vec!["http://127.0.0.1:8080".into()],
            threads: 2,
            connections: 1,
            services: vec![
                ServiceStatus {
                    name: "old".into(),
                    hosts: vec!["old.localhost".into()],
                    note: Some("redirects to https://new.example".into()),
                    requests: 1,
                    ..ServiceStatus::default()
                },
                ServiceStatus {
                    name: "shop".into(),
                    hosts: vec!["shop.localhost".into(), "example.com/shop".into()],
                    versions,
                    ..ServiceStatus::default()
                },
            ],
            ..Status::default()
        }
    }

    fn rendered(status: &Status) -> String {
        let mut out = Vec::new();
        render(status, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn reads_like_this() {
        let expected = "\
REJECTED: these edits are not in force.
  config/services/blog.yaml:3:10: weights of service blog sum to 95, not 100

tidegate 0.1.0 with config/tidegate.yaml, generation 7, up 1d 2h
http://127.0.0.1:8080: 1 connection, 0 tunnels, 2 threads

  VERSION   WEIGHT  STATE   INSTANCES  IN FLIGHT  WAITING  REQUESTS  5XX  REMARK
old  old.localhost (redirects to https://new.example) (1 request answered by the service itself)
shop  shop.localhost example.com/shop
  shop-001  99.95%  normal        1/2         12        7    104332    2  first release
  shop-003   0.05%  failed          0          0        0         0    0  exited with status 1; new  [31mcart
";
        assert_eq!(rendered(&status()), expected);
    }

    #[test]
    fn an_end_says_what_it_waits_for() {
        let ends = |change: &dyn Fn(&mut Status)| {
            let mut status = Status { ending: true, cut_in: Some(28), listen: Vec::new(), ..status() };
            change(&mut status);
            rendered(&status).lines().find(|line| line.starts_with("ending: ")).expect("the line").to_owned()
        };
        assert_eq!(ends(&|_| {}), "ending: waits for 19 requests (at most 28s)");
        assert_eq!(ends(&|status| status.tunnels = 1), "ending: waits for 18 requests and 1 tunnel (at most 28s)");
        let quiet = |status: &mut Status| status.services.clear();
        assert_eq!(ends(&quiet), "ending: waits for 1 connection (at most 28s)");
        let over = |status: &mut Status| (status.services.clear(), status.connections = 0).0;
        assert_eq!(ends(&over), "ending: waits for its versions to stop");
    }

    #[test]
    fn says_how_to_make_a_first_service() {
        assert!(rendered(&Status::default()).contains("A file `NAME.yaml`"));
    }

    #[test]
    fn what_an_older_server_leaves_out_has_a_default() {
        let old: Status = serde_json::from_str(r#"{"generation": 3, "services": [{"name": "shop"}]}"#).unwrap();
        assert_eq!(old.generation, 3);
        assert_eq!(old.services[0].name, "shop");
        let there_and_back = serde_json::from_str(&serde_json::to_string(&status()).unwrap());
        assert_eq!(there_and_back.ok(), Some(status()));
    }

    #[test]
    fn durations_have_two_units() {
        let shown = [0, 59, 60, 61, 3_600, 7_325, 86_399, 90_000].map(duration);
        assert_eq!(shown, ["0s", "59s", "1m", "1m 1s", "1h", "2h 2m", "23h 59m", "1d 1h"]);
    }
}
