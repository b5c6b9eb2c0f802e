//! hyper's client over a wire in memory. Nothing here ever waits for anything, so it is polled until it has no more to say.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::rt::{Read, ReadBufCursor, Write};

use super::{Answer, Asked, Case, Outcome, sorted};

/// As many headers as ours takes.
const MAX_HEADERS: usize = 256;

/// What hyper makes of a case.
pub(super) fn read(case: &Case) -> Outcome {
    let wire = Wire::default();
    wire.0.borrow_mut().reads = case.reads.iter().cloned().collect();
    let mut cx = Context::from_waker(Waker::noop());
    let mut builder = Builder::new();
    builder.max_headers(MAX_HEADERS);
    let handshake = pin!(builder.handshake::<_, Nothing>(wire.clone()));
    let Poll::Ready(Ok((mut sender, mut connection))) = handshake.poll(&mut cx) else {
        return refused("the handshake waits");
    };
    let outcome = exchange(case, &mut sender, &mut connection, &mut cx);
    let mut answer = match outcome {
        Ok(answer) => answer,
        Err(why) => return Outcome::Refused(why, None),
    };
    answer.left = connection.into_parts().read_buf.to_vec();
    answer.left.extend(wire.0.borrow().reads.iter().flatten());
    Outcome::Accepted(answer)
}

fn refused(why: &str) -> Outcome {
    Outcome::Refused(why.to_owned(), None)
}

fn exchange(
    case: &Case,
    sender: &mut SendRequest<Nothing>,
    connection: &mut Connection<Wire, Nothing>,
    cx: &mut Context<'_>,
) -> Result<Answer, String> {
    let mut request = Request::new(Nothing);
    if case.asked == Asked::Head {
        *request.method_mut() = Method::HEAD;
    }
    let mut response = pin!(sender.send_request(request));
    let mut body: Option<Incoming> = None;
    let mut answer = Answer::default();
    let mut open = true;
    let bytes: usize = case.reads.iter().map(Vec::len).sum();
    for _ in 0..100 + 4 * (bytes + case.reads.len()) {
        // How it ends for the connection is of no interest: bytes that are left over are an error there.
        open = open && connection.poll_without_shutdown(cx).is_pending();
        let Some(body) = &mut body else {
            let Poll::Ready(head) = response.as_mut().poll(cx) else { continue };
            let head = head.map_err(|error| format!("{error:?}"))?;
            (answer.status, answer.headers) = (head.status().as_u16(), sorted(head.headers()));
            if head.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(answer);
            }
            body = Some(head.into_body());
            continue;
        };
        match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Pending => {}
            Poll::Ready(None) => return Ok(answer),
            Poll::Ready(Some(Err(error))) => return Err(format!("{error:?}")),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => answer.body.extend_from_slice(&data),
                Err(frame) => answer.trailers = frame.into_trailers().map(|map| sorted(&map)).unwrap_or_default(),
            },
        }
    }
    Err("it waits for ever".to_owned())
}

/// The body of the request: none.
#[derive(Debug)]
struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

/// A wire: what is written is forgotten; once something was, there is something to read.
#[derive(Debug, Clone, Default)]
struct Wire(Rc<RefCell<Ends>>);

#[derive(Debug, Default)]
struct Ends {
    asked: bool,
    reads: VecDeque<Vec<u8>>,
}

impl Read for Wire {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, mut into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let mut ends = self.0.borrow_mut();
        if !ends.asked {
            return Poll::Pending;
        }
        if let Some(mut read) = ends.reads.pop_front() {
            let rest = read.split_off(read.len().min(into.remaining()));
            into.put_slice(&read);
            if !rest.is_empty() {
                ends.reads.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().asked = true;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
