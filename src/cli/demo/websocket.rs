//! A WebSocket (RFC 6455) that echoes each message.

use std::io;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use http::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
    copy_buf, sink,
};
use tokio::select;
use tokio::sync::watch;
use tokio::time::timeout;

use super::app::text;
use super::body::{Body, full};
use super::told;

/// What is appended to the key (RFC 6455, section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The longest message in bytes.
const LONGEST_MESSAGE: usize = 16 << 20;
/// How long the peer may take to close after our close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

const GOING_AWAY: u16 = 1001;
const PROTOCOL_ERROR: u16 = 1002;
const NOT_UTF8: u16 = 1007;
const TOO_BIG: u16 = 1009;

/// Answers a handshake; after a good one the echo runs as a task until the peer closes, or `ending` is true.
pub(super) fn accept(request: Request<Incoming>, ending: watch::Receiver<bool>) -> Response<Body> {
    let headers = request.headers();
    if request.method() != Method::GET
        || request.version() != Version::HTTP_11
        || !lists(headers, CONNECTION, "upgrade")
        || !lists(headers, UPGRADE, "websocket")
        || headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13")
    {
        let mut refusal = text(StatusCode::UPGRADE_REQUIRED, "this page speaks WebSocket, version 13\n");
        refusal.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        refusal.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        refusal.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return refusal;
    }
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY).filter(|key| is_key(key.as_bytes())) else {
        return text(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key should be 16 bytes in Base64\n");
    };
    let accept = accept_value(key.as_bytes());
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            // An error is a peer that left without closing.
            let _left = echo(BufReader::new(TokioIo::new(upgraded)), ending).await;
        }
    });
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// Whether a list header has a token, in any case.
fn lists(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let mut tokens =
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    tokens.any(|found| found.trim().eq_ignore_ascii_case(token))
}

/// 16 bytes are 22 characters of Base64 and two of padding.
fn is_key(key: &[u8]) -> bool {
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(|byte| BASE64.contains(byte))
}

fn accept_value(key: &[u8]) -> HeaderValue {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID.as_bytes()].concat());
    HeaderValue::from_str(&base64(hash.as_ref())).expect("Base64 fits in a header")
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - group.len()));
        for at in 0..4 {
            text.push(if at <= group.len() { char::from(BASE64[bits >> (18 - 6 * at) & 63]) } else { '=' });
        }
    }
    text
}

/// Why the echo ends.
enum End {
    /// With a close frame of this payload.
    Close(Vec<u8>),
    /// The connection broke.
    Broken(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

fn close(code: u16) -> End {
    End::Close(code.to_be_bytes().to_vec())
}

/// Echoes until the peer closes, breaks the rules or leaves, or until `ending`; then closes in turn.
async fn echo(mut peer: impl AsyncBufRead + AsyncWrite + Unpin, mut ending: watch::Receiver<bool>) -> io::Result<()> {
    let end = echo_messages(&mut peer, &mut ending).await;
    match end {
        End::Broken(error) => return Err(error),
        End::Close(payload) => write_frame(&mut peer, CLOSE, &payload).await?,
    }
    peer.shutdown().await?;
    // Closing over unread bytes would reset the connection, and the close frame could be lost.
    let _too_slow = timeout(CLOSE_TIMEOUT, copy_buf(&mut peer, &mut sink())).await;
    Ok(())
}

async fn echo_messages(peer: &mut (impl AsyncBufRead + AsyncWrite + Unpin), ending: &mut watch::Receiver<bool>) -> End {
    loop {
        // Between messages only, so that the close frame never falls into another one.
        let next = select! {
            bytes = peer.fill_buf() => bytes.map(|_| ()),
            () = told(ending) => return close(GOING_AWAY),
        };
        if let Err(error) = next {
            return End::Broken(error);
        }
        if let Err(end) = echo_message(peer).await {
            return end;
        }
    }
}

/// Reads one message, with the control frames in between, and sends it back as one frame.
async fn echo_message(peer: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<(), End> {
    let mut kind = None;
    let mut message = Vec::new();
    loop {
        let frame = read_frame(peer, LONGEST_MESSAGE - message.len()).await?;
        match (frame.opcode, kind) {
            (CLOSE, _) => return Err(answer_close(frame.payload)),
            (PING, _) => {
                write_frame(peer, PONG, &frame.payload).await?;
                continue;
            }
            (PONG, _) => continue,
            (TEXT | BINARY, None) => kind = Some(frame.opcode),
            (CONTINUATION, Some(_)) => {}
            _ => return Err(close(PROTOCOL_ERROR)),
        }
        message.extend_from_slice(&frame.payload);
        if let (true, Some(kind)) = (frame.last, kind) {
            if kind == TEXT && std::str::from_utf8(&message).is_err() {
                return Err(close(NOT_UTF8));
            }
            write_frame(peer, kind, &message).await?;
            return Ok(());
        }
    }
}

/// The close frame that answers one: the same code, where it is one that may be sent (section 7.4).
fn answer_close(payload: Vec<u8>) -> End {
    match payload.as_slice() {
        [] => End::Close(payload),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            match code {
                1000..=1003 | 1007..=1014 | 3000..=4999 if std::str::from_utf8(reason).is_ok() => close(code),
                1000..=1003 | 1007..=1014 | 3000..=4999 => close(NOT_UTF8),
                _ => close(PROTOCOL_ERROR),
            }
        }
        [_] => close(PROTOCOL_ERROR),
    }
}

struct Frame {
    last: bool,
    opcode: u8,
    payload: Vec<u8>,
}

/// Reads a client's frame (section 5.2), its payload at most `budget` bytes, and unmasks it.
async fn read_frame(peer: &mut (impl AsyncRead + Unpin), budget: usize) -> Result<Frame, End> {
    let [first, second] = [peer.read_u8().await?, peer.read_u8().await?];
    let (last, reserved, opcode) = (first & 0x80 != 0, first & 0x70, first & 0x0f);
    let (masked, short) = (second & 0x80 != 0, second & 0x7f);
    let control = opcode >= CLOSE;
    if reserved != 0
        || !masked
        || !matches!(opcode, CONTINUATION..=BINARY | CLOSE..=PONG)
        || control && (!last || short > 125)
    {
        return Err(close(PROTOCOL_ERROR));
    }
    let length = match short {
        126 => u64::from(peer.read_u16().await?),
        127 => peer.read_u64().await?,
        short => u64::from(short),
    };
    let length =
        usize::try_from(length).ok().filter(|length| control || *length <= budget).ok_or_else(|| close(TOO_BIG))?;
    let mut mask = [0; 4];
    peer.read_exact(&mut mask).await?;
    let mut payload = vec![0; length];
    peer.read_exact(&mut payload).await?;
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Ok(Frame { last, opcode, payload })
}

/// Writes a whole message as one unmasked frame.
async fn write_frame(peer: &mut (impl AsyncWrite + Unpin), opcode: u8, payload: &[u8]) -> io::Result<()> {
    let mut frame = vec![0x80 | opcode];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..=125), _) => frame.push(length),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    peer.write_all(&frame).await?;
    peer.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_value_is_that_of_the_rfc() {
        // RFC 6455, section 1.3.
        assert_eq!(accept_value(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(is_key(b"dGhlIHNhbXBsZSBub25jZQ==") && !is_key(b"dGhlIHNhbXBsZSBub25jZQ=") && !is_key(b""));
    }

    #[test]
    fn base64_pads_as_rfc_4648_does() {
        let encoded: Vec<String> = ["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes())).to_vec();
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }
}
