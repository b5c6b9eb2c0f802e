//! tidegate.yaml to the server's settings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use http::Uri;
use ipnet::IpNet;

use super::Check;
use crate::config::diagnostic::{Diagnostic, Label};
use crate::config::file::{
    AcmeFile, BytesOrOff, ChallengeFile, ClientFile, CountOrOff, DefaultsFile, DockerFile, DrainFile, FallbackFile,
    Http2File, ListenFile, LogFormatFile, LogLevelFile, MAX_STARTS, ReachFile, RootFile, Time, Word,
};
use crate::config::source::Span;
use crate::config::spanned::{OneOrMany, Spanned};
use crate::model::acme::{Acme, Challenge, LETS_ENCRYPT, LETS_ENCRYPT_STAGING};
use crate::model::host::HostPattern;
use crate::model::policy::{Timeouts, WaitingPage};
use crate::model::settings::{
    AccessLogTarget, ClientLimits, DEFAULT_MAX_HELD_BODIES, DEFAULT_MAX_STARTS, DEFAULT_PROCESS_PORTS, Docker, Drain,
    Http2Limits, LogFormat, LogLevel, Reach, Settings,
};
use crate::model::tls::Fallback;
use crate::model::version::{Preview, Queue, Replicas, Scale, Sleep, Start, Stop};

/// The longest path of a unix socket: `sun_path` has 108 bytes, one of them its end (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// Bounds of a request head's limit, in bytes.
const HEAD_BOUNDS: (u64, u64) = (8 * 1024, 1024 * 1024);

/// What services and versions have unless they say otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Defaults {
    /// Deadlines.
    pub timeouts: Timeouts,
    /// The largest request body in bytes; `None` is no limit.
    pub max_body: Option<u64>,
    /// Who sees preview domains.
    pub preview: Preview,
    /// How instances start.
    pub start: Start,
    /// How processes and hooks stop.
    pub stop: Stop,
    /// How many instances versions have.
    pub replicas: Replicas,
    /// When there are more or fewer of them.
    pub scale: Scale,
    /// Requests at a time that one instance gets; `None` is no limit.
    pub max_concurrency: Option<u32>,
    /// When versions sleep.
    pub sleep: Sleep,
    /// Bounds of the line of requests that wait for a version.
    pub queue: Queue,
    /// What browsers see while a version comes up.
    pub waiting_page: Option<WaitingPage>,
}

/// What tidegate.yaml comes to.
pub(crate) struct Compiled {
    pub(crate) settings: Settings,
    pub(crate) defaults: Defaults,
    /// The folder of the services, and where the file names it.
    pub(crate) services: PathBuf,
    pub(crate) services_at: Option<Span>,
    /// Where the file names the folder of certificates.
    pub(crate) certificates_at: Option<Span>,
    /// Where the file names each address to listen on.
    pub(crate) listeners_at: Vec<(SocketAddr, Span)>,
    /// Where it names the access log.
    pub(crate) access_log_at: Option<Span>,
    /// Whether the file itself names process ports.
    pub(crate) names_ports: bool,
}

pub(crate) fn settings(check: &mut Check, file: &RootFile) -> Compiled {
    let (http, https) = listeners(check, file);
    let https_port = https_port(check, file, &https);
    let admin = file.admin.as_ref().and_then(|admin| admin_address(check, admin));
    let settings = Settings {
        http,
        https,
        acme: acme(check, file.acme.as_ref()),
        certificates: file.tls.as_ref().and_then(|tls| tls.certificates.as_ref()).map(|folder| check.path(folder)),
        https_port,
        fallback: match file.tls.as_ref().and_then(|tls| tls.fallback) {
            Some(FallbackFile::SelfSigned) => Fallback::SelfSigned,
            Some(FallbackFile::Refuse) | None => Fallback::Refuse,
        },
        admin,
        admin_token_file: file.admin_token_file.as_ref().map(|path| check.path(path)),
        socket: socket(check, file.socket.as_ref()),
        base_domain: base_domain(check, file.base_domain.as_ref()),
        proxy_protocol: file
            .listen
            .as_ref()
            .and_then(|listen| listen.proxy_protocol.as_deref())
            .map(|list| check.networks(list))
            .unwrap_or_default(),
        trusted_proxies: file.trusted_proxies.as_deref().map(|list| check.networks(list)).unwrap_or_default(),
        preview_from: file.preview_from.as_deref().map_or_else(loopback, |list| check.networks(list)),
        threads: file.threads.as_ref().and_then(|threads| thread_count(check, threads)),
        max_connections: file.max_connections.and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0),
        client: client(check, file.client.as_ref()),
        drain: drain(check, file.drain.as_ref()),
        max_held_bodies: file
            .queue
            .as_ref()
            .and_then(|queue| queue.max_bodies)
            .map_or(DEFAULT_MAX_HELD_BODIES, |size| size.0),
        process_ports: process_ports(check, file),
        docker: docker(check, file.docker.as_ref()),
        max_starts: max_starts(check, file.max_starts.as_ref()),
        access_log: file.access_log.as_ref().map(|target| match target.as_str() {
            "-" => AccessLogTarget::Stdout,
            path => AccessLogTarget::File(check.path(path)),
        }),
        log_level: file.log.as_ref().and_then(|log| log.level).map(log_level).unwrap_or_default(),
        log_format: file.log.as_ref().and_then(|log| log.format).map(log_format).unwrap_or_default(),
    };
    same_address(check, file, &settings);
    let services = check.path(file.services.as_ref().map_or("services", |folder| folder.as_str()));
    Compiled {
        settings,
        defaults: defaults(check, file.defaults.as_ref()),
        services,
        services_at: file.services.as_ref().map(|folder| folder.span),
        certificates_at: file.tls.as_ref().and_then(|tls| tls.certificates.as_ref()).map(|folder| folder.span),
        listeners_at: listeners_at(file),
        access_log_at: file.access_log.as_ref().map(|target| target.span),
        names_ports: file.process.as_ref().is_some_and(|process| process.ports.is_some()),
    }
}

/// The ports from which the kernel picks for outgoing connections, where it says so.
pub(crate) fn ephemeral_ports() -> Option<(u16, u16)> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut numbers = text.split_whitespace().map(str::parse::<u16>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn listeners(check: &mut Check, file: &RootFile) -> (Box<[SocketAddr]>, Box<[SocketAddr]>) {
    let Some(listen) = &file.listen else {
        return (Box::new([SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))]), Box::default());
    };
    let all = |check: &mut Check, list: Option<&OneOrMany<Spanned<Word>>>| -> Box<[SocketAddr]> {
        let list = list.map(OneOrMany::as_slice).unwrap_or_default();
        list.iter().filter_map(|word| check.socket_address(word.as_str(), word.span)).collect()
    };
    let ListenFile { http, https, .. } = &listen.value;
    let (http, https) = (all(check, http.as_ref()), all(check, https.as_ref()));
    if http.is_empty() && https.is_empty() && !check.has_error_within(listen.span) {
        check.error(listen.span, "`listen` names no address", "write `listen: {http: \"127.0.0.1:8080\"}`");
    }
    (http, https)
}

/// Of whom certificates are had.
fn acme(check: &mut Check, file: Option<&AcmeFile>) -> Acme {
    let default = AcmeFile::default();
    let file = file.unwrap_or(&default);
    let contact = file.contact.as_ref().and_then(|contact| {
        let address = contact.strip_prefix("mailto:").unwrap_or(contact);
        let good = address.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.'));
        if !good || address.contains(char::is_whitespace) {
            let cure = "write one like `admin@example.com`, or take it out";
            check.error(contact.span, format!("`{}` is no mail address", contact.value), cure);
            return None;
        }
        Some(format!("mailto:{address}").into())
    });
    let directory = match file.directory.as_ref() {
        None => LETS_ENCRYPT.into(),
        Some(directory) => match directory.as_str() {
            "letsencrypt" => LETS_ENCRYPT.into(),
            "letsencrypt-staging" => LETS_ENCRYPT_STAGING.into(),
            url if url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty()) && url.parse::<Uri>().is_ok() => {
                url.into()
            }
            other => {
                let cure = "write `letsencrypt`, `letsencrypt-staging`, or the `https://` URL of its directory";
                check.error(directory.span, format!("`{other}` is no directory of an authority"), cure);
                LETS_ENCRYPT.into()
            }
        },
    };
    Acme {
        contact,
        directory,
        ca_root: file.ca_root.as_ref().map(|path| check.path(path)),
        folder: check.path(file.folder.as_ref().map_or("acme", |folder| folder.as_str())),
        challenge: file.challenge.map(|challenge| match challenge {
            ChallengeFile::Http01 => Challenge::Http01,
            ChallengeFile::TlsAlpn01 => Challenge::TlsAlpn01,
        }),
    }
}

/// Where clients are redirected to.
fn https_port(check: &mut Check, file: &RootFile, https: &[SocketAddr]) -> Option<u16> {
    let ports = || https.iter().map(SocketAddr::port);
    let Some(named) = file.tls.as_ref().and_then(|tls| tls.port.as_ref()) else {
        return ports().find(|port| *port == 443).or_else(|| ports().find(|port| *port != 0));
    };
    match u16::try_from(named.value) {
        Ok(port @ 1..) if !https.is_empty() => Some(port),
        Ok(1..) => None,
        _ => {
            check.error(named.span, format!("`port` is out of range: {}", named.value), "ports go from 1 to 65535");
            None
        }
    }
}

/// Two listeners cannot share a port on overlapping addresses.
fn listeners_at(file: &RootFile) -> Vec<(SocketAddr, Span)> {
    let lists = file.listen.iter().flat_map(|listen| [&listen.http, &listen.https]).flatten();
    lists.flat_map(OneOrMany::as_slice).filter_map(place).collect()
}

fn place(word: &Spanned<Word>) -> Option<(SocketAddr, Span)> {
    Some((word.as_str().parse().ok()?, word.span))
}

fn same_address(check: &mut Check, file: &RootFile, settings: &Settings) {
    let mut places = listeners_at(file);
    places.extend(file.admin.as_ref().and_then(place));
    if let (None, [address], Some(admin)) = (&file.listen, &*settings.http, &file.admin)
        && settings.admin.is_some_and(|admin| overlap(admin, *address))
    {
        let cure = "name another port, or set `listen` as well";
        check.error(admin.span, format!("`{address}` is where clients connect by default"), cure);
    }
    for (index, (address, span)) in places.iter().enumerate() {
        if let Some((earlier, first)) = places[..index].iter().find(|(earlier, _)| overlap(*earlier, *address)) {
            let message = if earlier == address {
                format!("two listeners on `{address}`")
            } else {
                format!("two listeners on one port: `{address}` and `{earlier}`")
            };
            let diagnostic = Diagnostic::error(message, Label::at(&check.source, *span).text("again here"))
                .also(Label::at(&check.source, *first).text("first here"))
                .help("give one of them another port");
            check.note(diagnostic);
        }
    }
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let wide = |a: SocketAddr, b: SocketAddr| a.ip().is_unspecified() && (a.is_ipv6() || b.is_ipv4());
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || wide(a, b) || wide(b, a))
}

fn admin_address(check: &mut Check, admin: &Spanned<Word>) -> Option<SocketAddr> {
    let address = check.socket_address(admin.as_str(), admin.span)?;
    if !address.ip().to_canonical().is_loopback() {
        let cure = format!(
            "write `127.0.0.1:{}`; reach it from elsewhere through ssh or a service with `allow`",
            address.port()
        );
        check.error(admin.span, format!("the admin port must be on loopback, not on `{}`", address.ip()), cure);
        return None;
    }
    Some(address)
}

fn socket(check: &mut Check, path: Option<&Spanned<String>>) -> PathBuf {
    let socket = check.path(path.map_or("tidegate.sock", |path| path.as_str()));
    let length = std::path::absolute(&socket).map_or(0, |path| path.as_os_str().len());
    if let Some(path) = path
        && length > MAX_SOCKET_PATH
    {
        let message =
            format!("the path of the socket has {length} bytes, and the system takes at most {MAX_SOCKET_PATH}");
        check.error(path.span, message, "name a shorter one, like `/run/tidegate.sock`");
    }
    socket
}

fn base_domain(check: &mut Check, domain: Option<&Spanned<String>>) -> Box<str> {
    let Some(domain) = domain else { return "localhost".into() };
    let cure = "write a domain like `localhost` or `apps.example.com`";
    match HostPattern::parse(domain) {
        Ok(HostPattern::Exact(host)) if !host.starts_with('[') => return host,
        Ok(_) => check.error(domain.span, format!("`{}` cannot be a base domain", domain.value), cure),
        Err(error) => check.error(domain.span, error.to_string(), cure),
    }
    "localhost".into()
}

fn loopback() -> Box<[IpNet]> {
    let v4 = IpNet::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8).expect("8 is a prefix length of IPv4");
    Box::new([v4, IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST))])
}

fn thread_count(check: &mut Check, threads: &Spanned<u64>) -> Option<usize> {
    if !(1..=256).contains(&threads.value) {
        let message = format!("`threads` is out of range: {}", threads.value);
        check.error(threads.span, message, "write 1 to 256, or take it out for one per core");
        return None;
    }
    usize::try_from(threads.value).ok()
}

fn client(check: &mut Check, file: Option<&ClientFile>) -> ClientLimits {
    let default = ClientLimits::default();
    let Some(file) = file else { return default };
    let max_head = file.max_head.as_ref().map_or(default.max_head, |size| {
        let (low, high) = HEAD_BOUNDS;
        if !(low..=high).contains(&size.value.0) {
            check.error(size.span, "`max_head` is out of range", "write a size from `8KiB` to `1MiB`");
        }
        usize::try_from(size.value.0).unwrap_or(default.max_head)
    });
    ClientLimits {
        request_head: not_zero(check, file.request_head.as_ref()).unwrap_or(default.request_head),
        keep_alive: not_zero(check, file.keep_alive.as_ref()).unwrap_or(default.keep_alive),
        max_head,
        http2: http2(check, file.http2.as_ref()),
    }
}

fn http2(check: &mut Check, file: Option<&Http2File>) -> Http2Limits {
    let default = Http2Limits::default();
    let Some(file) = file else { return default };
    let mut count = |name: &str, count: Option<&Spanned<u64>>, most: u32, default: u32| {
        let Some(count) = count else { return default };
        let number = u32::try_from(count.value).ok().filter(|number| (1..=most).contains(number));
        number.unwrap_or_else(|| {
            let message = format!("`{name}` is out of range: {}", count.value);
            check.error(count.span, message, format!("write 1 to {most}, or take it out for {default}"));
            default
        })
    };
    Http2Limits {
        max_streams: count("max_streams", file.max_streams.as_ref(), 10_000, default.max_streams),
        max_resets: count("max_resets", file.max_resets.as_ref(), 100_000, default.max_resets),
        max_age: file.max_age.map_or(default.max_age, |age| age.0),
        ping: file.ping.map_or(default.ping, |ping| ping.0),
    }
}

fn drain(check: &mut Check, file: Option<&DrainFile>) -> Drain {
    let default = Drain::default();
    let Some(file) = file else { return default };
    let timeout = file.timeout.as_ref().map_or(default.timeout, |time| time.value.0);
    let linger = file.linger.as_ref().map_or(default.linger.min(timeout), |time| time.value.0);
    if let Some(at) = &file.linger
        && linger > timeout
    {
        check.error(
            at.span,
            "`linger` is longer than `timeout`",
            "idle connections linger within the time for draining",
        );
    }
    Drain { timeout, linger }
}

/// A deadline that could never be met is a slip of the hand.
pub(super) fn not_zero(check: &mut Check, time: Option<&Spanned<Time>>) -> Option<std::time::Duration> {
    let time = time?;
    if time.value.0.is_zero() {
        check.error(time.span, "this time may not be 0", "write a duration like `30s`");
        return None;
    }
    Some(time.value.0)
}

fn process_ports(check: &mut Check, file: &RootFile) -> (u16, u16) {
    let Some(text) = file.process.as_ref().and_then(|process| process.ports.as_ref()) else {
        return DEFAULT_PROCESS_PORTS;
    };
    let (low, high) = text.split_once('-').unwrap_or((text.as_str(), ""));
    let (Ok(low), Ok(high)) = (low.trim().parse::<u32>(), high.trim().parse::<u32>()) else {
        check.error(
            text.span,
            format!("`{}` is not a range of ports", text.value),
            "write two ports like `20000-29999`",
        );
        return DEFAULT_PROCESS_PORTS;
    };
    let (Ok(low @ 1..), Ok(high)) = (u16::try_from(low), u16::try_from(high)) else {
        check.error(text.span, format!("the ports `{}` are out of range", text.value), "ports go from 1 to 65535");
        return DEFAULT_PROCESS_PORTS;
    };
    if low > high {
        check.error(text.span, format!("`{}` ends before it begins", text.value), format!("write `{high}-{low}`"));
    } else if let Some((first, last)) = ephemeral_ports()
        && low <= last
        && first <= high
    {
        let message = format!("these ports overlap the kernel's own for outgoing connections, {first}-{last}");
        let cure = "name ports outside of /proc/sys/net/ipv4/ip_local_port_range, like `20000-29999`";
        check.error(text.span, message, cure);
    }
    (low, high)
}

fn defaults(check: &mut Check, file: Option<&DefaultsFile>) -> Defaults {
    let base = Defaults::default();
    let Some(file) = file else { return base };
    Defaults {
        timeouts: super::policy::timeouts(file.timeouts.as_ref(), &base.timeouts),
        max_body: file.max_body.map_or(base.max_body, |BytesOrOff(size)| size),
        preview: file.preview.map_or(base.preview, super::version::preview),
        start: super::version::start(check, file.start.as_ref(), &base.start),
        stop: super::version::stop(file.stop.as_ref(), &base.stop),
        replicas: check.replicas(file.replicas.as_ref(), base.replicas),
        scale: check.scale(file.scale.as_ref(), base.scale),
        max_concurrency: file.max_concurrency.and_then(|CountOrOff(count)| count),
        sleep: check.sleep(file.sleep.as_ref(), &base.sleep),
        queue: check.queue(file.queue.as_ref(), base.queue),
        waiting_page: check.waiting_page(file.waiting_page.as_ref(), None),
    }
}

fn docker(check: &mut Check, file: Option<&DockerFile>) -> Docker {
    let default = Docker::default();
    let Some(file) = file else { return default };
    if let Some(host) = &file.host {
        let path = host.as_str().strip_prefix("unix://");
        let good = path.is_some_and(|path| path.starts_with('/'))
            || ["tcp://", "http://", "https://"].iter().any(|scheme| {
                host.as_str().strip_prefix(scheme).is_some_and(|rest| !rest.trim_end_matches('/').is_empty())
            });
        if host.as_str().starts_with("ssh://") {
            let cure = "forward its socket (`ssh -L /run/engine.sock:/var/run/docker.sock HOST`), and name that";
            check.error(host.span, "an engine over ssh is not supported yet", cure);
        } else if !good {
            let cure = "write `unix:///var/run/docker.sock` or `tcp://127.0.0.1:2375`";
            check.error(host.span, format!("`{}` is not where an engine can be", host.as_str().escape_debug()), cure);
        }
    }
    let network = file.network.as_ref().map_or(default.network, |network| {
        if !is_engine_name(network.as_str()) {
            let cure = "write the name of a network, as `docker network ls` shows it";
            check.error(network.span, format!("`{}` cannot be a network", network.as_str().escape_debug()), cure);
        }
        if matches!(network.as_str(), "host" | "none") {
            let cure = "name a bridge network: `docker network create tidegate`, then `network: tidegate`";
            check.error(network.span, "containers on this network have no address of their own", cure);
        }
        network.as_str().into()
    });
    let owner = file.owner.as_ref().map(|owner| {
        if owner.as_str().is_empty() {
            check.error(owner.span, "nobody's containers would be tidegate's", "write a name, like `shop-host`");
        }
        owner.as_str().into()
    });
    let reach = file.reach.map_or(default.reach, |reach| match reach {
        ReachFile::Auto => Reach::Auto,
        ReachFile::Network => Reach::Network,
        ReachFile::Published => Reach::Published,
    });
    Docker { host: file.host.as_ref().map(|host| host.as_str().into()), network, reach, owner }
}

/// Names of networks, volumes and containers, as the engine takes them.
pub(super) fn is_engine_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(inner)
}

fn max_starts(check: &mut Check, file: Option<&Spanned<u64>>) -> u32 {
    let Some(count) = file else { return DEFAULT_MAX_STARTS };
    match u32::try_from(count.value) {
        Ok(value @ 1..=MAX_STARTS) => value,
        _ => {
            let message = format!("`max_starts` is out of range: {}", count.value);
            check.error(count.span, message, format!("write a whole number from 1 to {MAX_STARTS}"));
            DEFAULT_MAX_STARTS
        }
    }
}

fn log_level(level: LogLevelFile) -> LogLevel {
    match level {
        LogLevelFile::Error => LogLevel::Error,
        LogLevelFile::Warn => LogLevel::Warn,
        LogLevelFile::Info => LogLevel::Info,
        LogLevelFile::Debug => LogLevel::Debug,
        LogLevelFile::Trace => LogLevel::Trace,
    }
}

fn log_format(format: LogFormatFile) -> LogFormat {
    match format {
        LogFormatFile::Text => LogFormat::Text,
        LogFormatFile::Json => LogFormat::Json,
    }
}

/// A path that is good from everywhere: processes may run in folders of their own.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
