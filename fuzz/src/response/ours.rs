//! Our reader, as the proxy uses it.

use std::collections::VecDeque;

use bytes::BytesMut;
use tidegate::proxy::upstream::head::Head;
use tidegate::proxy::upstream::{Asks, Awaited, Received, Receiving, Taken};

use super::class::{of_body, of_head};
use super::{Answer, Asked, Case, Outcome, sorted};

/// What ours makes of a case.
pub(super) fn read(case: &Case) -> Outcome {
    let asks = match case.asked {
        Asked::Get => Asks::Body,
        Asked::Head => Asks::NoBody,
        Asked::Upgrade => Asks::Upgrade,
    };
    let mut reads: VecDeque<&[u8]> = case.reads.iter().map(Vec::as_slice).collect();
    let mut unread = BytesMut::new();
    let mut awaited = Awaited::new(asks);
    let head = loop {
        match awaited.take(&mut unread) {
            Err(error) => return Outcome::Refused(error.to_string(), of_head(&error)),
            Ok(Some(head)) => break head,
            Ok(None) => match reads.pop_front() {
                None => return Outcome::Short,
                Some(read) => unread.extend_from_slice(read),
            },
        }
    };
    body(&head, unread, reads)
}

fn body(head: &Head, mut unread: BytesMut, mut reads: VecDeque<&[u8]>) -> Outcome {
    let mut receiving = Receiving::new(head.length);
    let mut answer = Answer { status: head.status.as_u16(), headers: sorted(&head.headers), ..Answer::default() };
    loop {
        match receiving.take(&mut unread) {
            Err(error) => return Outcome::Refused(error.to_string(), of_body(error)),
            Ok(Taken::Piece(Received::Data(data))) => answer.body.extend_from_slice(&data),
            Ok(Taken::Piece(Received::Trailers(trailers))) => answer.trailers = sorted(&trailers),
            Ok(Taken::Piece(Received::End)) => break,
            Ok(Taken::More(_)) => match reads.pop_front() {
                Some(read) => unread.extend_from_slice(read),
                None if receiving.end().is_err() => return Outcome::Short,
                None => {}
            },
        }
    }
    answer.left = unread.into_iter().chain(reads.into_iter().flatten().copied()).collect();
    Outcome::Accepted(answer)
}
