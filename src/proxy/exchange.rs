//! One request and its answer, counted and logged when the last byte has gone.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::Version;
use http::header::{HOST, USER_AGENT};
use http::request::Parts;

use super::body::{BodyError, Upload};
use super::error::ProxyError;
use super::phase::Phase;
use super::waiting::Waited;
use super::worker::Worker;
use crate::lifecycle::lease::Lease;
use crate::lifecycle::unit::Unit;
use crate::live::{self, ServiceState};
use crate::model::{host, path};
use crate::telemetry::access::{AccessLog, Entry, Failure};
use crate::telemetry::counters::{Class, Sample, Unrouted};

/// Lives from the request's head to the response's end, wherever that is; tells what came of it when dropped.
#[derive(Debug)]
pub struct Exchange {
    worker: Rc<Worker>,
    phase: Rc<Phase>,
    began: Instant,
    status: u16,
    party: Party,
    upload: Option<Rc<Upload>>,
    bytes_out: u64,
    completed: bool,
    failure: Option<(&'static str, &'static str)>,
    /// Whether it does not count as traffic.
    ignored: bool,
    /// Only where it was held.
    waited: Option<Box<Waited>>,
    /// Only where there is an access log.
    logged: Option<Box<Logged>>,
}

/// Who answers.
#[derive(Debug)]
enum Party {
    /// The proxy, before any service was found.
    Nobody(Unrouted),
    /// The service itself: a redirect, a refusal.
    Service(Arc<ServiceState>),
    /// A version that has not answered: of a service of what is in force, by their indices.
    Chosen(Rc<live::Shared>, usize, usize),
    /// A version whose answer is on its way. The lease ends with it.
    Leased(Lease),
}

impl Party {
    /// The version.
    fn unit(&self) -> Option<&Unit> {
        match self {
            Self::Nobody(_) | Self::Service(_) => None,
            Self::Chosen(live, service, version) => Some(&live.services[*service].units[*version]),
            Self::Leased(lease) => Some(lease.unit()),
        }
    }
}

/// What the access log says of a request besides the numbers.
#[derive(Debug)]
struct Logged {
    log: Arc<AccessLog>,
    client: IpAddr,
    protocol: &'static str,
    method: String,
    host: String,
    path: String,
    query: Option<String>,
    user_agent: Option<Vec<u8>>,
    choice: &'static str,
    service: Option<String>,
    instance: Option<String>,
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
            party: Party::Nobody(Unrouted::BadRequest),
            upload: None,
            bytes_out: 0,
            completed: false,
            failure: None,
            ignored: false,
            waited: None,
            logged: None,
        }
    }

    /// Has the request in this log when it is over.
    pub fn log_to(&mut self, log: &Arc<AccessLog>, parts: &Parts, client: IpAddr) {
        let named = || parts.headers.get(HOST).and_then(|value| value.to_str().ok());
        let authority = parts.uri.authority().map(http::uri::Authority::as_str).or_else(named).unwrap_or_default();
        self.logged = Some(Box::new(Logged {
            log: Arc::clone(log),
            client,
            protocol: match parts.version {
                Version::HTTP_2 => "HTTP/2",
                Version::HTTP_10 => "HTTP/1.0",
                _ => "HTTP/1.1",
            },
            method: parts.method.to_string(),
            host: host::normalise(authority).map_or_else(|| authority.to_owned(), |host| host.into_owned()),
            path: path::normalise(parts.uri.path()).into_owned(),
            query: parts.uri.query().map(str::to_owned),
            user_agent: parts.headers.get(USER_AGENT).map(|value| value.as_bytes().to_owned()),
            choice: "-",
            service: None,
            instance: None,
        }));
    }

    /// Nobody is at the request's address.
    pub fn unrouted(&mut self, why: Unrouted) {
        self.party = Party::Nobody(why);
    }

    /// The service that was found; it answers itself unless [`Self::goes_to`] follows.
    pub fn belongs_to(&mut self, service: &Arc<ServiceState>, name: &str) {
        self.party = Party::Service(Arc::clone(service));
        if let Some(logged) = &mut self.logged {
            logged.service = Some(name.to_owned());
        }
    }

    /// The version that it goes to, by the indices of its service and in that, and why, in a word.
    pub fn goes_to(&mut self, live: &Rc<live::Shared>, service: usize, version: usize, choice: &'static str) {
        self.party = Party::Chosen(Rc::clone(live), service, version);
        if let Some(logged) = &mut self.logged {
            logged.service = Some(live.snapshot.services[service].name.as_str().to_owned());
            logged.choice = choice;
        }
    }

    /// It neither wakes its version nor keeps it awake.
    pub fn ignore(&mut self) {
        self.ignored = true;
    }

    /// What it waited for, to be filled in by whoever has it wait.
    pub fn waited(&mut self) -> &mut Option<Box<Waited>> {
        &mut self.waited
    }

    /// The instance that answered.
    pub fn answered_by(&mut self, instance: &impl ToString) {
        if let Some(logged) = &mut self.logged {
            logged.instance = Some(instance.to_string());
        }
    }

    /// An answer is on its way; the lease is held until its last byte is gone.
    pub fn holds(&mut self, lease: Lease) {
        self.party = Party::Leased(lease);
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
        self.phase.passes(Some(bytes));
    }

    /// The backend has yet to send more.
    pub fn waits(&self) {
        self.phase.passes(None);
    }

    /// The body broke off.
    pub fn broken(&mut self, error: &BodyError) {
        self.failure = Some(match error {
            BodyError::Upload => ("client", "http_request_error"),
            BodyError::Download(_) => ("upstream", "http_response_incomplete"),
            BodyError::Timeout => ("upstream", "connection_read_timeout"),
        });
    }

    /// Whether the client has yet to take what was sent before.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.phase.is_blocked()
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
            self.phase.judge(false);
        } else if self.completed {
            self.phase.judge(true);
        }
        let elapsed = self.began.elapsed();
        let thread = self.worker.thread;
        let sample = Sample {
            class: if self.completed { Class::of(self.status) } else { Class::Aborted },
            elapsed_us: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            bytes_in: self.upload.as_ref().map_or(0, |upload| upload.received()),
            bytes_out: self.bytes_out,
        };
        match &self.party {
            Party::Nobody(why) => self.worker.counters().unrouted(*why),
            Party::Service(service) => service.own.record(thread, &sample),
            Party::Chosen(..) | Party::Leased(_) => {}
        }
        if let Some(unit) = self.party.unit() {
            if self.ignored {
                unit.ignored();
            }
            unit.counters().record(thread, &sample);
        }
        if let Some(logged) = &self.logged {
            let version = self.party.unit().map(|unit| unit.name().as_str());
            logged.log.record(
                thread,
                &Entry {
                    at: SystemTime::now() - elapsed,
                    elapsed,
                    client: logged.client,
                    protocol: logged.protocol,
                    method: &logged.method,
                    host: &logged.host,
                    path: &logged.path,
                    query: logged.query.as_deref(),
                    status: (self.status != 0).then_some(self.status),
                    bytes_in: sample.bytes_in,
                    bytes_out: sample.bytes_out,
                    service: logged.service.as_deref(),
                    version,
                    choice: logged.choice,
                    instance: logged.instance.as_deref(),
                    error: self.failure.map(|(fault, kind)| Failure { fault, kind }),
                    user_agent: logged.user_agent.as_deref(),
                },
            );
        }
    }
}
