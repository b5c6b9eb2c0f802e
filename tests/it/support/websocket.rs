//! Both sides of a WebSocket, as bytes.

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

/// The answer that opens one for [`handshake`].
pub(crate) const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A whole message or control frame, masked.
pub(crate) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame_with(0x80 | opcode, payload)
}

/// A frame with this first byte (FIN, RSV and opcode), masked.
pub(crate) fn frame_with(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = header(first, 0x80, payload.len());
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A server's frame: a whole message or control frame, unmasked.
pub(crate) fn server_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(0x80 | opcode, 0, payload.len());
    frame.extend(payload);
    frame
}

/// A frame's first byte and its length, with the mask bit.
fn header(first: u8, mask: u8, length: usize) -> Vec<u8> {
    let mut header = vec![first];
    match length {
        0..=125 => header.push(mask | u8::try_from(length).expect("small")),
        126..=0xffff => {
            header.push(mask | 126);
            header.extend(u16::try_from(length).expect("small").to_be_bytes());
        }
        _ => {
            header.push(mask | 127);
            header.extend((length as u64).to_be_bytes());
        }
    }
    header
}

/// Reads one of the server's frames: its opcode and payload. It must be final and unmasked.
pub(crate) fn read(raw: &mut Raw) -> io::Result<(u8, Vec<u8>)> {
    read_frame(raw, false)
}

/// Reads one of the client's frames: its opcode and payload. It must be final and masked.
pub(crate) fn read_masked(raw: &mut Raw) -> io::Result<(u8, Vec<u8>)> {
    read_frame(raw, true)
}

fn read_frame(raw: &mut Raw, masked: bool) -> io::Result<(u8, Vec<u8>)> {
    let head = raw.take(2)?;
    assert_eq!(head[0] & 0xf0, 0x80, "final, without reserved bits");
    assert_eq!(head[1] >= 0x80, masked, "a client masks, a server does not");
    let length = match head[1] & 0x7f {
        126 => raw.take(2)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
        127 => raw.take(8)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
        short => short.into(),
    };
    let mask = if masked { raw.take(4)? } else { vec![0; 4] };
    let payload = raw.take(length)?;
    Ok((head[0] & 0x0f, payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()))
}
