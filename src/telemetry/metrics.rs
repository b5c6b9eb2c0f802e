//! What was counted, in the text that Prometheus scrapes (OpenMetrics 1.0).
//!
//! Nothing is kept here: each scrape reads the counters of the data plane into a [`Reading`], which is its own collector.

use std::{fmt, time::SystemTime};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use super::counters::{
    BOUNDS_US, Class, HELD_BOUNDS_US, HeldTotals, ProxyTotals, RequestTotals, Unrouted, WAKE_BOUNDS_MS, WakeOutcome,
    WakeTotals,
};

/// The `Content-Type` of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All that the metrics show, read at one moment.
#[derive(Debug, Clone)]
pub struct Reading {
    /// When the process started.
    pub started_at: SystemTime,
    /// The configuration.
    pub config: ConfigReading,
    /// What is counted whatever the service.
    pub proxy: ProxyTotals,
    /// Lines of the access log that were dropped because it could not be written fast enough, or at all.
    pub access_lines_dropped: u64,
    /// Instances that are coming up.
    pub starts: StartsReading,
    /// The certificates in force.
    pub certificates: Vec<CertificateReading>,
    /// The services.
    pub services: Vec<ServiceReading>,
    /// The states that a version can be in.
    pub states: &'static [&'static str],
}

/// One certificate.
#[derive(Debug, Clone)]
pub struct CertificateReading {
    /// The first of its names.
    pub name: String,
    /// Its file.
    pub source: String,
    /// When it ends.
    pub not_after: SystemTime,
}

/// What is in force, and what is not.
#[derive(Debug, Default, Clone, Copy)]
pub struct ConfigReading {
    /// Rises with each edit that came into force.
    pub generation: u64,
    /// Edits that came into force.
    pub accepted: u64,
    /// Edits that were refused, in whole or in part.
    pub rejected: u64,
    /// Whether an edit is held back now, since it is broken.
    pub held_back: bool,
    /// Snapshots in memory: one, and for a moment those that requests still refer to.
    pub snapshots: u64,
}

/// One service.
#[derive(Debug, Default, Clone)]
pub struct ServiceReading {
    /// Its name.
    pub name: String,
    /// Requests that it answered itself: redirects, maintenance, `allow`, all weights 0. Shown with an empty version.
    pub own: RequestTotals,
    /// Its versions.
    pub versions: Vec<VersionReading>,
}

/// One version.
#[derive(Debug, Default, Clone)]
pub struct VersionReading {
    /// Its name.
    pub name: String,
    /// Its share of the weighted choices, in percent.
    pub weight: f64,
    /// Requests that are over.
    pub totals: RequestTotals,
    /// Its state.
    pub state: &'static str,
    /// Requests at it now.
    pub in_flight: u64,
    /// Requests in line for it now.
    pub waiting: u64,
    /// Requests that were held, and for how long.
    pub held: HeldTotals,
    /// How many instances are in which state.
    pub instances: Vec<(&'static str, u64)>,
    /// What concerns only versions that tidegate starts and stops.
    pub scaling: Option<ScalingReading>,
}

/// How a version scales, and how it came up.
#[derive(Debug, Default, Clone, Copy)]
pub struct ScalingReading {
    /// At least so many instances now.
    pub min: u64,
    /// At most so many.
    pub max: u64,
    /// How many the load asks for.
    pub wanted: u64,
    /// The wakes that are over.
    pub wakes: WakeTotals,
}

/// The instances of all versions that are coming up.
#[derive(Debug, Default, Clone, Copy)]
pub struct StartsReading {
    /// Those that do.
    pub now: u64,
    /// Those that wait for their turn.
    pub waiting: u64,
}

/// The text of a scrape.
#[must_use]
pub fn render(reading: Reading) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(reading));
    let mut text = String::with_capacity(16 * 1024);
    text::encode(&mut text, &registry).expect("a String takes all that is written to it");
    text
}

/// Service and version.
type Labels<'a> = [(&'a str, &'a str); 2];

impl Collector for Reading {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut encoder;
        self.process(to)?;
        self.configuration(to)?;
        self.certificates(to)?;
        self.connections(to)?;
        self.requests(to)?;
        self.versions(to)?;
        self.scaling(to)
    }
}

impl Reading {
    fn process(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut build = to.encode_descriptor("tidegate_build", "The tidegate that runs", None, MetricType::Info)?;
        build.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        let started = self.started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut start =
            family(to, "tidegate_start_time_seconds", "When it started, in seconds since 1970", MetricType::Gauge)?;
        start.encode_gauge(&started)
    }

    fn configuration(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let config = &self.config;
        gauge(to, "tidegate_config_generation", "Rises with each edit that came into force", config.generation)?;
        gauge(to, "tidegate_config_rejected", "1 while a broken edit is held back", u64::from(config.held_back))?;
        gauge(to, "tidegate_config_snapshots", "Snapshots of the configuration in memory", config.snapshots)?;
        let mut reloads = family(to, "tidegate_config_reloads", "Edits by what became of them", MetricType::Counter)?;
        count(&mut reloads, &[("result", "accepted")], config.accepted)?;
        count(&mut reloads, &[("result", "rejected")], config.rejected)
    }

    fn certificates(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "When a certificate ends, in seconds since 1970";
        let mut ends = family(to, "tidegate_certificate_not_after_seconds", help, MetricType::Gauge)?;
        for certificate in &self.certificates {
            let labels = [("name", certificate.name.as_str()), ("source", certificate.source.as_str())];
            let at = certificate.not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            ends.encode_family(&labels)?.encode_gauge(&at)?;
        }
        Ok(())
    }

    fn connections(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let proxy = &self.proxy;
        gauge(to, "tidegate_connections_open", "Client connections now", proxy.connections_open)?;
        counter(to, "tidegate_connections", "Client connections accepted", proxy.connections_accepted)?;
        counter(to, "tidegate_connections_refused", "Client connections above the limit", proxy.connections_refused)?;
        gauge(to, "tidegate_http2_connections_open", "Client connections now that speak HTTP/2", proxy.http2_open)?;
        counter(to, "tidegate_http2_connections", "Client connections that spoke HTTP/2", proxy.http2_opened)?;
        let help = "Client connections of HTTP/2 closed because too many requests were cancelled";
        counter(to, "tidegate_http2_connections_abused", help, proxy.http2_abused)?;
        gauge(to, "tidegate_tunnels_open", "Tunnels (WebSocket) now", proxy.tunnels_open)?;
        counter(to, "tidegate_tunnels", "Tunnels (WebSocket) begun", proxy.tunnels_opened)?;
        counter(to, "tidegate_retries", "Requests sent again to another connection or instance", proxy.retries)?;
        counter(to, "tidegate_access_log_dropped", "Lines that the access log lost", self.access_lines_dropped)?;
        gauge(to, "tidegate_starts", "Instances that are coming up now", self.starts.now)?;
        gauge(to, "tidegate_starts_waiting", "Instances that wait for their turn to come up", self.starts.waiting)?;
        let help = "Requests answered without a service";
        let mut unrouted = family(to, "tidegate_unrouted_requests", help, MetricType::Counter)?;
        for (why, number) in Unrouted::ALL.iter().zip(proxy.unrouted) {
            count(&mut unrouted, &[("reason", why.name())], number)?;
        }
        Ok(())
    }

    fn requests(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests that are over, by the class of their status";
        let mut requests = family(to, "tidegate_requests", help, MetricType::Counter)?;
        self.each_total(|labels, totals| {
            for (class, number) in Class::ALL.iter().zip(totals.by_class) {
                count(&mut requests, &[labels[0], labels[1], ("class", class.name())], number)?;
            }
            Ok(())
        })?;

        let help = "From a request's head to its answer's last byte";
        let mut durations = family(to, "tidegate_request_duration_seconds", help, MetricType::Histogram)?;
        self.each_total(|labels, totals| {
            let bounds = BOUNDS_US.iter().map(|&us| us as f64 / 1e6);
            histogram(&mut durations, labels, bounds, &totals.buckets, totals.elapsed_us)
        })?;

        let mut received = family(to, "tidegate_request_body_bytes", "Bytes of requests' bodies", MetricType::Counter)?;
        self.each_total(|labels, totals| count(&mut received, labels, totals.bytes_in))?;
        let mut sent = family(to, "tidegate_response_body_bytes", "Bytes of answers' bodies", MetricType::Counter)?;
        self.each_total(|labels, totals| count(&mut sent, labels, totals.bytes_out))
    }

    fn versions(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut in_flight = family(to, "tidegate_requests_in_flight", "Requests at a version now", MetricType::Gauge)?;
        self.each_version(|labels, version| in_flight.encode_family(labels)?.encode_gauge(&version.in_flight))?;
        let mut waiting =
            family(to, "tidegate_requests_waiting", "Requests in line for a version now", MetricType::Gauge)?;
        self.each_version(|labels, version| waiting.encode_family(labels)?.encode_gauge(&version.waiting))?;
        let help = "1 for the state that a version is in, 0 for the others";
        let mut states = family(to, "tidegate_version_state", help, MetricType::Gauge)?;
        self.each_version(|labels, version| {
            for &state in self.states {
                let labels = [labels[0], labels[1], ("state", state)];
                states.encode_family(&labels)?.encode_gauge(&u64::from(state == version.state))?;
            }
            Ok(())
        })?;
        let help = "How long requests waited in line for a version; those that did not are not among them";
        let mut held = family(to, "tidegate_request_held_seconds", help, MetricType::Histogram)?;
        self.each_version(|labels, version| {
            let bounds = HELD_BOUNDS_US.iter().map(|&us| us as f64 / 1e6);
            histogram(&mut held, labels, bounds, &version.held.buckets, version.held.held_us)
        })?;
        let help = "A version's share of the weighted choices";
        let mut weights = family(to, "tidegate_version_weight_percent", help, MetricType::Gauge)?;
        self.each_version(|labels, version| weights.encode_family(labels)?.encode_gauge(&version.weight))?;
        let mut instances = family(to, "tidegate_instances", "Running copies of a version", MetricType::Gauge)?;
        self.each_version(|labels, version| {
            for &(state, number) in &version.instances {
                let labels = [labels[0], labels[1], ("state", state)];
                instances.encode_family(&labels)?.encode_gauge(&number)?;
            }
            Ok(())
        })
    }

    /// Only of versions that tidegate starts and stops.
    fn scaling(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Number = fn(&ScalingReading) -> u64;
        let gauges: [(&str, &str, Number); 3] = [
            ("tidegate_replicas_min", "Instances that a version has at least", |scaling| scaling.min),
            ("tidegate_replicas_max", "Instances that a version has at most", |scaling| scaling.max),
            ("tidegate_replicas_wanted", "Instances that the load asks for, also above the maximum", |scaling| {
                scaling.wanted
            }),
        ];
        for (name, help, number) in gauges {
            let mut gauge = family(to, name, help, MetricType::Gauge)?;
            self.each_scaling(|labels, scaling| gauge.encode_family(labels)?.encode_gauge(&number(scaling)))?;
        }
        let help = "Wakes of a version by how they ended";
        let mut wakes = family(to, "tidegate_wakes", help, MetricType::Counter)?;
        self.each_scaling(|labels, scaling| {
            for (outcome, number) in WakeOutcome::ALL.iter().zip(scaling.wakes.by_outcome) {
                count(&mut wakes, &[labels[0], labels[1], ("outcome", outcome.name())], number)?;
            }
            Ok(())
        })?;
        let help = "From the call that wakes a version to an instance that is ready";
        let mut durations = family(to, "tidegate_wake_duration_seconds", help, MetricType::Histogram)?;
        self.each_scaling(|labels, scaling| {
            let bounds = WAKE_BOUNDS_MS.iter().map(|&ms| ms as f64 / 1e3);
            histogram(&mut durations, labels, bounds, &scaling.wakes.buckets, scaling.wakes.elapsed_us)
        })
    }

    fn each_scaling(&self, mut show: impl FnMut(&Labels<'_>, &ScalingReading) -> fmt::Result) -> fmt::Result {
        self.each_version(|labels, version| version.scaling.as_ref().map_or(Ok(()), |scaling| show(labels, scaling)))
    }

    fn each_version(&self, mut show: impl FnMut(&Labels<'_>, &VersionReading) -> fmt::Result) -> fmt::Result {
        for service in &self.services {
            for version in &service.versions {
                show(&[("service", &service.name), ("version", &version.name)], version)?;
            }
        }
        Ok(())
    }

    fn each_total(&self, mut show: impl FnMut(&Labels<'_>, &RequestTotals) -> fmt::Result) -> fmt::Result {
        for service in &self.services {
            if service.own.requests() > 0 {
                show(&[("service", &service.name), ("version", "")], &service.own)?;
            }
        }
        self.each_version(|labels, version| show(labels, &version.totals))
    }
}

fn family<'a>(
    to: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
    kind: MetricType,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    to.encode_descriptor(name, help, None, kind)
}

fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    family(to, name, help, MetricType::Gauge)?.encode_gauge(&value)
}

fn counter(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    family(to, name, help, MetricType::Counter)?.encode_counter::<NoLabelSet, _, f64>(&value, None)
}

fn count(to: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
    to.encode_family(labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)
}

/// `numbers` has one more than `bounds`, which are in seconds: for what is above the last.
fn histogram(
    to: &mut MetricEncoder<'_>,
    labels: &impl EncodeLabelSet,
    bounds: impl Iterator<Item = f64>,
    numbers: &[u64],
    sum_us: u64,
) -> fmt::Result {
    let buckets: Vec<_> = bounds.chain([f64::INFINITY]).zip(numbers.iter().copied()).collect();
    let (sum, number) = (sum_us as f64 / 1e6, numbers.iter().sum());
    to.encode_family(labels)?.encode_histogram::<NoLabelSet>(sum, number, &buckets, None)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use std::time::Duration;

    use super::*;
    use crate::telemetry::counters::{RequestCounters, Sample};

    fn sample(class: Class, elapsed_us: u64) -> Sample {
        Sample { class, elapsed_us, bytes_in: 10, bytes_out: 1_000 }
    }

    fn reading() -> Reading {
        let counters = RequestCounters::new(2);
        counters.record(0, &sample(Class::Success, 400));
        counters.record(1, &sample(Class::Success, 700));
        counters.record(1, &sample(Class::Aborted, 90_000_000));
        let mut wakes = WakeTotals::default();
        wakes.count(WakeOutcome::Ready, Duration::from_millis(40));
        wakes.count(WakeOutcome::Timeout, Duration::from_secs(30));
        let version = VersionReading {
            name: "shop-001".into(),
            weight: 99.5,
            totals: counters.total(),
            state: "normal",
            in_flight: 3,
            waiting: 12,
            held: HeldTotals::default(),
            instances: vec![("normal", 2), ("failed", 1)],
            scaling: Some(ScalingReading { min: 1, max: 2, wanted: 5, wakes }),
        };
        let fixed = VersionReading { name: "shop-002".into(), state: "starting", ..VersionReading::default() };
        let config = ConfigReading { generation: 7, accepted: 6, rejected: 2, held_back: true, snapshots: 1 };
        Reading {
            started_at: SystemTime::UNIX_EPOCH,
            config,
            starts: StartsReading { now: 2, waiting: 3 },
            proxy: ProxyTotals { connections_open: 5, ..ProxyTotals::default() },
            access_lines_dropped: 4,
            certificates: Vec::new(),
            services: vec![ServiceReading {
                name: "shop".into(),
                versions: vec![version, fixed],
                ..ServiceReading::default()
            }],
            states: &["asleep", "normal", "starting"],
        }
    }

    /// As Prometheus reads it: sample lines are a name with labels, a space and a number; each family is declared once, before them.
    fn parse(text: &str) -> BTreeMap<String, f64> {
        let mut samples = BTreeMap::new();
        let mut families: Vec<&str> = Vec::new();
        let body = text.strip_suffix("# EOF\n").expect("the end is marked");
        for line in body.lines() {
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                let name = declared.split(' ').next().unwrap();
                assert!(!families.contains(&name), "{name} is declared twice");
                families.push(name);
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert!(name.starts_with(families.last().unwrap()), "{name} stands under {families:?}");
                assert!(samples.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{name} comes twice");
            }
        }
        samples
    }

    #[test]
    fn a_scrape_shows_what_was_counted() {
        let text = render(reading());
        let samples = parse(&text);
        let of = |name: &str| *samples.get(name).unwrap_or_else(|| panic!("no {name} in {text}"));
        let shop = r#"service="shop",version="shop-001""#;

        assert_eq!(of(&format!(r#"tidegate_requests_total{{{shop},class="2xx"}}"#)), 2.0);
        assert_eq!(of(&format!(r#"tidegate_requests_total{{{shop},class="aborted"}}"#)), 1.0);
        let duration = "tidegate_request_duration_seconds";
        assert_eq!(of(&format!(r#"{duration}_bucket{{le="0.0005",{shop}}}"#)), 1.0);
        assert_eq!(of(&format!(r#"{duration}_bucket{{le="0.001",{shop}}}"#)), 2.0);
        assert_eq!(of(&format!(r#"{duration}_bucket{{le="60.0",{shop}}}"#)), 2.0);
        assert_eq!(of(&format!(r#"{duration}_bucket{{le="+Inf",{shop}}}"#)), 3.0);
        assert_eq!(of(&format!("{duration}_count{{{shop}}}")), 3.0);
        assert!((of(&format!("{duration}_sum{{{shop}}}")) - 90.0011).abs() < 1e-9);
        assert_eq!(of(&format!("tidegate_request_body_bytes_total{{{shop}}}")), 30.0);
        assert_eq!(of(&format!("tidegate_requests_in_flight{{{shop}}}")), 3.0);
        assert_eq!(of(&format!("tidegate_version_weight_percent{{{shop}}}")), 99.5);
        assert_eq!(of(&format!(r#"tidegate_instances{{{shop},state="normal"}}"#)), 2.0);
        assert_eq!(of(&format!("tidegate_requests_waiting{{{shop}}}")), 12.0);
        for (state, value) in [("asleep", 0.0), ("normal", 1.0), ("starting", 0.0)] {
            assert_eq!(of(&format!(r#"tidegate_version_state{{{shop},state="{state}"}}"#)), value);
        }
        for (bound, value) in [("min", 1.0), ("max", 2.0), ("wanted", 5.0)] {
            assert_eq!(of(&format!("tidegate_replicas_{bound}{{{shop}}}")), value);
        }
        for (outcome, value) in [("ready", 1.0), ("failed", 0.0), ("timeout", 1.0)] {
            assert_eq!(of(&format!(r#"tidegate_wakes_total{{{shop},outcome="{outcome}"}}"#)), value);
        }
        let wake = "tidegate_wake_duration_seconds";
        assert_eq!(of(&format!(r#"{wake}_bucket{{le="0.025",{shop}}}"#)), 0.0);
        assert_eq!(of(&format!(r#"{wake}_bucket{{le="0.05",{shop}}}"#)), 1.0);
        assert_eq!(of(&format!("{wake}_sum{{{shop}}}")), 0.04);
        assert!(!text.contains(r#"replicas_min{service="shop",version="shop-002""#), "it has `urls`");
        assert_eq!(of(r#"tidegate_config_reloads_total{result="rejected"}"#), 2.0);
        assert_eq!(of("tidegate_config_generation"), 7.0);
        assert_eq!(of("tidegate_config_rejected"), 1.0);
        assert_eq!(of("tidegate_connections_open"), 5.0);
        assert_eq!((of("tidegate_starts"), of("tidegate_starts_waiting")), (2.0, 3.0));
        assert_eq!(of("tidegate_access_log_dropped_total"), 4.0);
        assert_eq!(of(r#"tidegate_unrouted_requests_total{reason="unknown_host"}"#), 0.0);
        assert_eq!(of(&format!(r#"tidegate_build_info{{version="{}"}}"#, env!("CARGO_PKG_VERSION"))), 1.0);
    }

    #[test]
    fn what_a_service_answers_itself_shows_once_there_is_any() {
        let mut reading = reading();
        assert!(!render(reading.clone()).contains(r#"version="""#));
        let own = RequestCounters::new(1);
        own.record(0, &sample(Class::Redirection, 1));
        reading.services[0].own = own.total();
        let samples = parse(&render(reading));
        assert_eq!(samples[r#"tidegate_requests_total{service="shop",version="",class="3xx"}"#], 1.0);
    }
}
