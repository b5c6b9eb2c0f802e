//! Socket addresses and networks.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::Check;
use crate::config::source::Span;
use crate::config::spanned::Spanned;

impl Check {
    /// `127.0.0.1:8080`, `[::1]:8080`.
    pub(super) fn socket_address(&mut self, text: &str, span: Span) -> Option<SocketAddr> {
        if let Ok(address) = text.parse() {
            return Some(address);
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        if digits && port.parse::<u16>().is_err() {
            self.error(span, format!("port {port} is out of range"), "ports go from 1 to 65535");
            return None;
        }
        let cure = match (host, digits) {
            ("", true) => format!("write `127.0.0.1:{port}` for this machine alone, `0.0.0.0:{port}` for everybody"),
            ("localhost", true) => format!("write `127.0.0.1:{port}`"),
            ("*", true) => format!("write `0.0.0.0:{port}`, or `[::]:{port}` for IPv6 too"),
            _ if text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4()) => format!("add a port: `{text}:8080`"),
            _ if text.parse::<IpAddr>().is_ok() => format!("add a port: `[{text}]:8080`"),
            _ => "write an IP address and a port, like `127.0.0.1:8080` or `[::1]:8080`".to_owned(),
        };
        self.error(span, format!("`{text}` is not an address with a port"), cure);
        None
    }

    /// `10.0.0.0/8`, or a single address.
    pub(super) fn network(&mut self, text: &Spanned<String>) -> Option<IpNet> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(IpNet::from(address));
        }
        match text.parse::<IpNet>() {
            Ok(network) if network.addr() == network.network() => Some(network),
            Ok(network) => {
                let cure = format!("write `{}`, or `{}` for that address alone", network.trunc(), network.addr());
                self.error(text.span, format!("`{network}` has bits set behind its prefix"), cure);
                None
            }
            Err(_) => {
                self.error(
                    text.span,
                    format!("`{}` is not a network", text.value),
                    "write a CIDR like `10.0.0.0/8` or `fd00::/8`, or a single address",
                );
                None
            }
        }
    }

    pub(super) fn networks(&mut self, texts: &[Spanned<String>]) -> Box<[IpNet]> {
        texts.iter().filter_map(|text| self.network(text)).collect()
    }
}
