//! One request and its answer, counted and logged when the last byte has gone.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::body::{BodyError, Upload};
use super::connection::Phase;
use super::error::ProxyError;
use super::worker::Worker;
use crate::lifecycle::unit::Unit;

/// Lives from the request's head to the response's end, wherever that is; tells what came of it when dropped.
#[derive(Debug)]
pub struct Exchange {
    worker: Rc<Worker>,
    phase: Rc<Phase>,
    began: Instant,
    status: u16,
    /// The version that it went to.
    unit: Option<Arc<Unit>>,
    choice: &'static str,
    upload: Option<Rc<Upload>>,
    bytes_out: u64,
    completed: bool,
    failure: Option<(&'static str, &'static str)>,
}

impl Exchange {
    /// Begins with the request's head.
    #[must_use]
    pub fn begin(worker: &Rc<Worker>, phase: &Rc<Phase>) -> Self {
        phase.begin_request();
        Self {
            worker: Rc::clone(worker),
            phase: Rc::clone(phase),
            began: Instant::now(),
            status: 0,
            unit: None,
            choice: "-",
            upload: None,
            bytes_out: 0,
            completed: false,
            failure: None,
        }
    }

    /// The version that it goes to, and why, in a word.
    pub fn goes_to(&mut self, unit: &Arc<Unit>, choice: &'static str) {
        self.unit = Some(Arc::clone(unit));
        self.choice = choice;
    }

    /// Whose bytes are counted as received.
    pub fn uploads(&mut self, upload: &Rc<Upload>) {
        self.upload = Some(Rc::clone(upload));
    }

    /// The answer's status.
    pub fn answered(&mut self, status: u16) {
        self.status = status;
    }

    /// The answer is ours, since something failed.
    pub fn failed(&mut self, error: &ProxyError) {
        self.failure = Some((error.fault().as_str(), error.kind()));
    }

    /// Bytes of the body handed over.
    pub fn sent(&mut self, bytes: u64) {
        self.bytes_out += bytes;
    }

    /// The body broke off.
    pub fn broken(&mut self, error: &BodyError) {
        self.failure = Some(match error {
            BodyError::Upload => ("client", "http_request_error"),
            BodyError::Download(_) => ("upstream", "http_response_incomplete"),
            BodyError::Timeout => ("upstream", "connection_read_timeout"),
        });
    }

    /// The last byte was handed over.
    pub fn complete(&mut self) {
        self.completed = true;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.phase.end_request();
        if !self.completed && self.failure.is_none() {
            self.failure = Some(("client", "connection_terminated"));
        }
    }
}
