//! The client's side of a WebSocket, as bytes.

use std::io;
use std::net::SocketAddr;

use super::raw::Raw;

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Opens a WebSocket at `path`.
pub(crate) fn open(address: SocketAddr, host: &str, path: &str) -> Raw {
    let mut raw = Raw::connect(address);
    raw.send(handshake(host, path));
    let head = raw.head();
    assert_eq!(head.status(), 101, "{head:?}");
    // The answer to the key of RFC 6455, section 1.3.
    assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    raw
}

/// The request that opens one, with the key of RFC 6455, section 1.3.
pub(crate) fn handshake(host: &str, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A whole message or control frame, masked.
pub(crate) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame_with(0x80 | opcode, payload)
}

/// A frame with this first byte (FIN, RSV and opcode), masked.
pub(crate) fn frame_with(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        length @ ..=125 => frame.push(0x80 | u8::try_from(length).expect("small")),
        length @ ..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(length).expect("small").to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Reads one of the server's frames: its opcode and payload. It must be final and unmasked.
pub(crate) fn read(raw: &mut Raw) -> io::Result<(u8, Vec<u8>)> {
    let head = raw.take(2)?;
    assert_eq!(head[0] & 0xf0, 0x80, "final, without reserved bits");
    assert!(head[1] < 0x80, "a server does not mask");
    let length = match head[1] {
        126 => raw.take(2)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
        127 => raw.take(8)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
        short => short.into(),
    };
    Ok((head[0] & 0x0f, raw.take(length)?))
}
