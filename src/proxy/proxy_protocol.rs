//! What a load balancer in front says of the client, before the client's own first byte: the PROXY protocol, versions 1 and 2
//! (HAProxy's `proxy-protocol.txt`).
//!
//! Whoever may say it is named in `listen.proxy_protocol`, has to say it, and is refused otherwise: to guess would let a client say who
//! it is.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// The longest header of version 1, its line end included (section 2.1).
const MAX_V1: usize = 107;

/// What version 2 begins with (section 2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The signature, command, family, and the length of what follows.
const V2_HEAD: usize = 16;

/// Bytes looked at at a time.
const LOOK: usize = 256;

/// What there is of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// Not the whole; all bytes so far are part of it.
    More,
    /// All of it.
    Whole {
        /// How many bytes it takes.
        length: usize,
        /// The client; `None` where the connection is the balancer's own, or comes from where there are no addresses.
        client: Option<SocketAddr>,
    },
}

/// Why something is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Neither version begins so.
    #[error("the connection does not begin with a PROXY header")]
    None,
    /// Version 1 with something else than the one form that there is.
    #[error("the PROXY header is malformed")]
    Malformed,
    /// Version 1, and no line end within 107 bytes.
    #[error("the PROXY header has no end")]
    Endless,
    /// Version 2 with a version, command or family that does not exist, or not for TCP.
    #[error("the PROXY header has the command {0:#04x} and the family {1:#04x}, which are not for TCP")]
    Unknown(u8, u8),
    /// Version 2 with less than its addresses take.
    #[error("the PROXY header is too short for its addresses")]
    Short,
}

/// Why a client did not become known.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// No header came.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The connection failed, or ended.
    #[error("the connection ended before its PROXY header did: {0}")]
    Io(#[from] io::Error),
}

/// Reads a header and not a byte more; says who the client is, where it is told.
pub(super) async fn receive(stream: &mut TcpStream) -> Result<Option<SocketAddr>, ReceiveError> {
    let mut got = Vec::new();
    loop {
        let before = got.len();
        got.resize(before + LOOK, 0);
        let seen = stream.peek(&mut got[before..]).await?;
        if seen == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        got.truncate(before + seen);
        let (length, client) = match parse(&got)? {
            Parsed::More => (got.len(), None),
            Parsed::Whole { length, client } => (length, Some(client)),
        };
        stream.read_exact(&mut got[before..length]).await?;
        if let Some(client) = client {
            return Ok(client);
        }
    }
}

/// Reads a header at the beginning of `bytes`.
///
/// # Errors
/// What is there can never become one.
pub fn parse(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    if begins_as(bytes, SIGNATURE) {
        return v2(bytes);
    }
    if begins_as(bytes, b"PROXY ") {
        return v1(bytes);
    }
    Err(HeaderError::None)
}

/// Whether one is the beginning of the other.
fn begins_as(bytes: &[u8], with: &[u8]) -> bool {
    let common = bytes.len().min(with.len());
    bytes[..common] == with[..common]
}

fn v1(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    let within = &bytes[..bytes.len().min(MAX_V1)];
    let Some(at) = memchr::memchr(b'\n', within) else {
        return if bytes.len() >= MAX_V1 { Err(HeaderError::Endless) } else { Ok(Parsed::More) };
    };
    let line = within[..at].strip_suffix(b"\r").ok_or(HeaderError::Malformed)?;
    let line = std::str::from_utf8(line).map_err(|_| HeaderError::Malformed)?;
    let client = v1_client(line).ok_or(HeaderError::Malformed)?;
    Ok(Parsed::Whole { length: at + 1, client })
}

fn v1_client(line: &str) -> Option<Option<SocketAddr>> {
    let mut words = line.split(' ');
    if words.next() != Some("PROXY") {
        return None;
    }
    let (source, destination): (IpAddr, IpAddr) = match words.next()? {
        // What follows is not to be looked at.
        "UNKNOWN" => return Some(None),
        "TCP4" => (words.next()?.parse::<Ipv4Addr>().ok()?.into(), words.next()?.parse::<Ipv4Addr>().ok()?.into()),
        "TCP6" => (words.next()?.parse::<Ipv6Addr>().ok()?.into(), words.next()?.parse::<Ipv6Addr>().ok()?.into()),
        _ => return None,
    };
    debug_assert_eq!(source.is_ipv4(), destination.is_ipv4(), "of one family");
    let (port, _) = (v1_port(words.next()?)?, v1_port(words.next()?)?);
    words.next().is_none().then_some(Some(SocketAddr::new(source, port)))
}

/// Digits without a zero in front.
fn v1_port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn v2(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    let Some((head, rest)) = bytes.split_at_checked(V2_HEAD) else { return Ok(Parsed::More) };
    let (command, family) = (head[12], head[13]);
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    let unknown = Err(HeaderError::Unknown(command, family));
    // Of the addresses: how many bytes they take, those of the source first.
    let takes = match (command, family) {
        // The balancer itself, that looks whether we are there: whatever follows is not to be looked at.
        (0x20, _) => 0,
        // Nothing is known; TCP over IPv4, over IPv6; a unix socket.
        (0x21, 0x00) => 0,
        (0x21, 0x11) => 12,
        (0x21, 0x21) => 36,
        (0x21, 0x31) => 216,
        _ => return unknown,
    };
    if length < takes {
        return Err(HeaderError::Short);
    }
    // Behind the addresses there may be more of what the balancer knows (TLVs), for which we have no use.
    let Some(payload) = rest.get(..length) else { return Ok(Parsed::More) };
    let client = match takes {
        12 => payload.first_chunk::<4>().map(|ip| (IpAddr::from(*ip), [payload[8], payload[9]])),
        36 => payload.first_chunk::<16>().map(|ip| (IpAddr::from(*ip), [payload[32], payload[33]])),
        _ => None,
    };
    let client = client.map(|(ip, port)| SocketAddr::new(ip, u16::from_be_bytes(port)));
    Ok(Parsed::Whole { length: V2_HEAD + length, client })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Version 2 of this command and family.
    fn second(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).expect("small").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, payload].concat()
    }

    fn whole(bytes: &[u8], client: Option<&str>) -> Result<Parsed, HeaderError> {
        Ok(Parsed::Whole { length: bytes.len(), client: client.map(|client| client.parse().expect("an address")) })
    }

    #[test]
    fn version_1_has_one_form() {
        for (line, client) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", Some("192.0.2.1:56324")),
            ("PROXY TCP6 2001:db8::1 ::1 0 65535\r\n", Some("[2001:db8::1]:0")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
        ] {
            assert_eq!(parse(line.as_bytes()), whole(line.as_bytes(), client), "{line}");
            assert_eq!(parse(format!("{line}GET / HTTP/1.1\r\n").as_bytes()), whole(line.as_bytes(), client), "{line}");
        }
        for line in [
            "GET / HTTP/1.1\r\n",
            "proxy TCP4 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n",
            "PROXY TCP4  192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 \r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n",
            "PROXY TCP4 192.0.2.01 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 01 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 65536 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.1 1 2\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r",
        ] {
            assert!(!matches!(parse(line.as_bytes()), Ok(Parsed::Whole { .. })), "{line:?}");
        }
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(MAX_V1));
        assert_eq!(parse(endless.as_bytes()), Err(HeaderError::Endless));
    }

    #[test]
    fn version_2_says_who_and_more_that_is_passed_over() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 1, 187];
        let tlv = [0x04, 0, 3, b'x', b'y', b'z'];
        let v6 = [&Ipv6Addr::LOCALHOST.octets()[..], &Ipv6Addr::LOCALHOST.octets(), &[0, 80, 0, 81]].concat();
        for (header, client) in [
            (second(0x21, 0x11, &v4), Some("192.0.2.1:56324")),
            (second(0x21, 0x11, &[&v4[..], &tlv].concat()), Some("192.0.2.1:56324")),
            (second(0x21, 0x21, &v6), Some("[::1]:80")),
            (second(0x21, 0x31, &[7; 216]), None),
            (second(0x21, 0x00, &tlv), None),
            (second(0x20, 0x00, b""), None),
            (second(0x20, 0x11, &v4), None),
        ] {
            assert_eq!(parse(&header), whole(&header, client), "{header:?}");
            assert_eq!(parse(&[&header[..], b"PROXY "].concat()), whole(&header, client), "{header:?}");
        }
        assert_eq!(parse(&second(0x21, 0x11, &v4[..11])), Err(HeaderError::Short));
        for (command, family) in [(0x22, 0x11), (0x11, 0x11), (0x01, 0x11), (0x21, 0x12), (0x21, 0x22), (0x21, 0x41)] {
            let header = second(command, family, &[0; 216]);
            assert_eq!(parse(&header), Err(HeaderError::Unknown(command, family)));
        }
    }

    proptest! {
        /// However it is cut, it comes to the same; and what it says of the client is what was written.
        #[test]
        fn a_header_comes_in_any_pieces(
            ip in any::<[u8; 4]>(), port in any::<u16>(), tlvs in vec(any::<u8>(), 0..600), behind in vec(any::<u8>(), 0..40),
        ) {
            let payload = [&ip[..], &[127, 0, 0, 1], &port.to_be_bytes(), &[0, 80], &tlvs].concat();
            let client = SocketAddr::new(ip.into(), port);
            let v1 = format!("PROXY TCP4 {} 127.0.0.1 {port} 80\r\n", client.ip()).into_bytes();
            for header in [v1, second(0x21, 0x11, &payload)] {
                for cut in 0..header.len() {
                    prop_assert_eq!(parse(&header[..cut]), Ok(Parsed::More), "{}", cut);
                }
                let parsed = parse(&[&header[..], &behind].concat());
                prop_assert_eq!(parsed, Ok(Parsed::Whole { length: header.len(), client: Some(client) }));
            }
        }

        /// Nothing that comes later changes what was said, and nothing is longer than what there is.
        #[test]
        fn what_is_said_is_final(
            start in prop_oneof![Just(Vec::new()), Just(b"PROXY ".to_vec()), Just(SIGNATURE.to_vec())],
            rest in vec(any::<u8>(), 0..200), more in vec(any::<u8>(), 0..200),
        ) {
            let bytes = [start, rest].concat();
            let all = [&bytes[..], &more].concat();
            match parse(&bytes) {
                Ok(Parsed::More) => {}
                Ok(Parsed::Whole { length, client }) => {
                    prop_assert!(length <= bytes.len());
                    prop_assert_eq!(parse(&all), Ok(Parsed::Whole { length, client }));
                }
                Err(error) => prop_assert_eq!(parse(&all), Err(error)),
            }
        }
    }
}
