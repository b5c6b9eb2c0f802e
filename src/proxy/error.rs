//! Why a request could not be served, who is at fault, and what the client is told.

use std::fmt;
use std::time::Duration;

use http::StatusCode;

/// Who is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The client sent what cannot be served, or stopped sending.
    Client,
    /// The proxy, by its config.
    Proxy,
    /// The backend.
    Upstream,
    /// The backend could not be brought up.
    Wake,
}

impl Fault {
    /// One word for headers and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Proxy => "proxy",
            Self::Upstream => "upstream",
            Self::Wake => "wake",
        }
    }
}

/// Why a request could not be served. Texts are for clients: they say nothing of what is inside.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// No `Host`, several, or one that is none.
    #[error("the request has no valid host")]
    BadHost,
    /// A request target that is no path.
    #[error("the request's target is not a path")]
    BadTarget,
    /// There are no descriptors, ports or buffers left.
    #[error("the server is out of resources")]
    Exhausted,
    /// CONNECT is not for reverse proxies.
    #[error("this method is not served here")]
    Connect,
    /// A transfer coding other than `chunked`, or `chunked` twice.
    #[error("the request has a transfer coding that is not served here")]
    TransferCoding,
    /// An upgrade with a body, or of another method than GET.
    #[error("the request asks for an upgrade in a way that is not allowed")]
    BadUpgrade,
    /// Nobody has this host and path.
    #[error("there is no service at this address")]
    NoService,
    /// The connection was not made for this host.
    #[error("this connection is not for this host")]
    Misdirected,
    /// The client came without TLS, and so without a certificate.
    #[error("this service is for clients with a certificate")]
    NoCertificate,
    /// The client's address is not among those allowed.
    #[error("this service does not serve your address")]
    NotAllowed,
    /// The body is larger than `max_body`.
    #[error("the request body is larger than this service takes")]
    BodyTooLarge,
    /// The client stopped sending its body.
    #[error("the request body stopped coming")]
    BodyTimeout,
    /// The client's body broke off or was malformed.
    #[error("the request body is broken")]
    BodyBroken,
    /// The service says so.
    #[error("{message}")]
    Maintenance {
        /// What its file says.
        message: Box<str>,
        /// What its file says.
        retry_after: Option<Duration>,
    },
    /// All weights are 0.
    #[error("no version of this service has traffic: all weights are 0")]
    NoTraffic,
    /// The chosen version failed.
    #[error("version {version} of this service could not be started")]
    VersionFailed {
        /// Its name, as in its preview domain.
        version: Box<str>,
        /// When it is tried again.
        retry_after: Duration,
    },
    /// The chosen version did not come up in time.
    #[error("version {version} of this service did not start in time")]
    StartTimeout {
        /// Its name.
        version: Box<str>,
    },
    /// Too many wait for the version.
    #[error("too many requests wait for this service")]
    QueueFull {
        /// What a start takes.
        retry_after: Duration,
    },
    /// The version is up, and had no room for the request in time.
    #[error("the request waited too long for its turn at this service")]
    QueueTimeout {
        /// When it may be tried again.
        retry_after: Duration,
    },
    /// As many bytes of waiting requests are held as there may be.
    #[error("the server holds as much for waiting requests as it can")]
    HeldFull {
        /// What a start takes.
        retry_after: Duration,
    },
    /// The version sleeps, and this request is one of those that do not wake it.
    #[error("this service is asleep")]
    Asleep {
        /// What its file says.
        status: StatusCode,
    },
    /// No connection to the backend.
    #[error("the service cannot be reached")]
    Connection,
    /// No connection to the backend in time.
    #[error("the service could not be reached in time")]
    ConnectTimeout,
    /// The backend closed before it answered.
    #[error("the service closed the connection before it answered")]
    Closed,
    /// TLS could not be agreed upon with the backend.
    #[error("the service does not speak TLS as it should")]
    Tls,
    /// The backend's certificate is not to be trusted.
    #[error("the service's certificate is not to be trusted")]
    Certificate,
    /// The backend's answer could not be understood, or could be read two ways.
    #[error("the service gave an answer that is not valid")]
    BadResponse,
    /// The backend's answer did not begin in time.
    #[error("the service did not answer in time")]
    ResponseTimeout,
    /// The whole took too long.
    #[error("the request took too long")]
    TotalTimeout,
}

impl ProxyError {
    /// Status, who is at fault, and the error's type for `Proxy-Status` (RFC 9209, 2.3, where it has one).
    fn facts(&self) -> (StatusCode, Fault, &'static str) {
        use Fault::{Client, Proxy, Upstream, Wake};
        match self {
            Self::BadHost | Self::BadTarget => (StatusCode::BAD_REQUEST, Client, "http_request_error"),
            Self::Exhausted => (StatusCode::SERVICE_UNAVAILABLE, Proxy, "proxy_internal_error"),
            Self::Connect => (StatusCode::METHOD_NOT_ALLOWED, Client, "http_request_denied"),
            Self::TransferCoding => (StatusCode::NOT_IMPLEMENTED, Client, "http_request_error"),
            Self::BadUpgrade => (StatusCode::BAD_REQUEST, Client, "http_request_error"),
            Self::NoService => (StatusCode::NOT_FOUND, Client, "destination_not_found"),
            Self::Misdirected => (StatusCode::MISDIRECTED_REQUEST, Client, "http_request_denied"),
            Self::NoCertificate => (StatusCode::FORBIDDEN, Client, "http_request_denied"),
            Self::NotAllowed => (StatusCode::FORBIDDEN, Client, "http_request_denied"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, Client, "http_request_denied"),
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, Client, "http_request_error"),
            Self::BodyBroken => (StatusCode::BAD_REQUEST, Client, "http_request_error"),
            Self::Maintenance { .. } => (StatusCode::SERVICE_UNAVAILABLE, Proxy, "proxy_configuration_error"),
            Self::NoTraffic => (StatusCode::SERVICE_UNAVAILABLE, Proxy, "proxy_configuration_error"),
            Self::VersionFailed { .. } => (StatusCode::SERVICE_UNAVAILABLE, Wake, "destination_unavailable"),
            Self::StartTimeout { .. } => (StatusCode::GATEWAY_TIMEOUT, Wake, "destination_unavailable"),
            Self::QueueFull { .. } => (StatusCode::SERVICE_UNAVAILABLE, Wake, "destination_unavailable"),
            Self::QueueTimeout { .. } => (StatusCode::SERVICE_UNAVAILABLE, Upstream, "connection_limit_reached"),
            Self::HeldFull { .. } => (StatusCode::SERVICE_UNAVAILABLE, Proxy, "proxy_internal_error"),
            Self::Asleep { status } => (*status, Wake, "destination_unavailable"),
            Self::Connection => (StatusCode::BAD_GATEWAY, Upstream, "connection_refused"),
            Self::Tls => (StatusCode::BAD_GATEWAY, Upstream, "tls_protocol_error"),
            Self::Certificate => (StatusCode::BAD_GATEWAY, Upstream, "tls_certificate_error"),
            Self::ConnectTimeout => (StatusCode::GATEWAY_TIMEOUT, Upstream, "connection_timeout"),
            Self::Closed => (StatusCode::BAD_GATEWAY, Upstream, "connection_terminated"),
            Self::BadResponse => (StatusCode::BAD_GATEWAY, Upstream, "http_protocol_error"),
            Self::ResponseTimeout => (StatusCode::GATEWAY_TIMEOUT, Upstream, "http_response_timeout"),
            Self::TotalTimeout => (StatusCode::GATEWAY_TIMEOUT, Upstream, "http_response_timeout"),
        }
    }

    /// The status it is answered with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.facts().0
    }

    /// Who is at fault.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.facts().1
    }

    /// The type of error, for `Proxy-Status` and the access log.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.facts().2
    }

    /// The status of gRPC, from its list of codes: UNAVAILABLE where it may be tried again.
    #[must_use]
    pub fn grpc_status(&self) -> u16 {
        match self {
            Self::BodyTimeout => 1,
            Self::ResponseTimeout | Self::TotalTimeout => 4,
            Self::NotAllowed => 7,
            Self::BodyTooLarge => 8,
            Self::NoService | Self::Connect => 12,
            Self::BadResponse | Self::Tls | Self::Certificate => 13,
            _ if self.status().is_client_error() => 13,
            _ => 14,
        }
    }

    /// Whether it is in doubt where the next request begins, so that the connection has to end.
    #[must_use]
    pub fn ends_connection(&self) -> bool {
        matches!(self, Self::BadHost | Self::BadTarget | Self::Connect | Self::BadUpgrade | Self::TransferCoding)
    }

    /// What `Retry-After` should say, in whole seconds.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        let wait = match self {
            Self::Maintenance { retry_after, .. } => (*retry_after)?,
            Self::VersionFailed { retry_after, .. }
            | Self::QueueFull { retry_after }
            | Self::QueueTimeout { retry_after }
            | Self::HeldFull { retry_after } => *retry_after,
            Self::Exhausted => Duration::from_secs(1),
            _ => return None,
        };
        Some(wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
