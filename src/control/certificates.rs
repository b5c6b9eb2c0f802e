//! The certificates in force, for `tidegate cert`, `status` and the metrics.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::control::status::CertificateStatus;
use crate::model::certificate::{Certificate, Validity};
use crate::model::host;
use crate::model::snapshot::Snapshot;
use crate::telemetry::metrics::CertificateReading;
use crate::telemetry::timestamp::Timestamp;
use crate::tls::store::CertificateStore;
use crate::tls::x509;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// All certificates, those that end first before the others.
#[must_use]
pub fn all(snapshot: &Snapshot, now: SystemTime) -> Vec<CertificateStatus> {
    in_order(snapshot).into_iter().map(|certificate| status(certificate, now)).collect()
}

/// Those of them that do not hold, or not for much longer.
#[must_use]
pub fn needing_care(snapshot: &Snapshot, now: SystemTime) -> Vec<CertificateStatus> {
    let certificates = in_order(snapshot).into_iter();
    let needing = certificates.filter(|certificate| certificate.validity(now) != Validity::Good);
    needing.map(|certificate| status(certificate, now)).collect()
}

/// When each ends, for the metrics.
#[must_use]
pub fn readings(snapshot: &Snapshot) -> Vec<CertificateReading> {
    let reading = |certificate: &Arc<Certificate>| CertificateReading {
        name: first_name(certificate),
        source: certificate.source.display().to_string(),
        not_after: certificate.not_after,
    };
    in_order(snapshot).into_iter().map(reading).collect()
}

/// What a client would meet that asks for a domain over HTTPS.
#[derive(Debug, Default)]
pub struct Check {
    /// What is as it should be.
    pub good: Vec<String>,
    /// What is not, each with its cure.
    pub wrong: Vec<String>,
    /// The certificates that it would be shown; one of them.
    pub certificates: Vec<CertificateStatus>,
}

/// Looks at a domain as `snapshot` has it.
#[must_use]
pub fn check(snapshot: &Snapshot, domain: &str, now: SystemTime) -> Check {
    let mut check = Check::default();
    let Some(name) = host::normalise(domain) else {
        check.wrong.push(format!("`{domain}` is not a host name (write one like `shop.example.com`)"));
        return check;
    };
    match snapshot.knows_host(&name) {
        true => check.good.push(format!("`{name}` is a host of a service")),
        false => check.wrong.push(format!("no service has `{name}` (add it to `domains` in the service's file)")),
    }
    match snapshot.settings.https.first() {
        Some(address) => check.good.push(format!("HTTPS is listened for on {address}")),
        None => check.wrong.push(
            "HTTPS is not listened for (write `listen: {http: ..., https: \"0.0.0.0:443\"}` in tidegate.yaml)"
                .to_owned(),
        ),
    }
    let store = CertificateStore::of(snapshot, None, now);
    let Some(choices) = store.find(&name) else {
        check.wrong.push(format!(
            "there is no certificate for `{name}` (name one as `tls: {{certificate: PATH, key: PATH}}` in the service's file, or put it \
             into the folder of `tls: {{certificates: PATH}}` in tidegate.yaml)"
        ));
        return check;
    };
    for certificate in choices.all() {
        let (source, key) = (certificate.source.display(), certificate.key.as_str());
        match certificate.covers_name(&name) {
            true => check.good.push(format!("{source} ({key}) is for `{name}`")),
            false => check.wrong.push(format!("{source} ({key}) is not for `{name}` (have one made that names it)")),
        }
        let (begins, ends) = (Timestamp(certificate.not_before), Timestamp(certificate.not_after));
        match certificate.validity(now) {
            Validity::Good => check.good.push(format!("it is valid until {ends}")),
            Validity::EndsSoon => check.wrong.push(format!("it expires on {ends} (renew it)")),
            Validity::Expired => check.wrong.push(format!("it has expired on {ends} (renew it)")),
            Validity::NotYet => check.wrong.push(format!("it is not valid before {begins} (is the clock right?)")),
        }
        check.certificates.push(status(certificate, now));
    }
    check
}

/// Each once, though several services may name it.
fn in_order(snapshot: &Snapshot) -> Vec<&Arc<Certificate>> {
    let named = snapshot.services.iter().flat_map(|service| &service.tls.certificates);
    let mut all: Vec<&Arc<Certificate>> = named.chain(snapshot.certificates.all()).collect();
    all.sort_by(|a, b| (a.not_after, &a.source).cmp(&(b.not_after, &b.source)));
    all.dedup_by(|a, b| a.is_same_as(b));
    all
}

fn first_name(certificate: &Certificate) -> String {
    certificate.names.first().map(ToString::to_string).unwrap_or_default()
}

fn status(certificate: &Arc<Certificate>, now: SystemTime) -> CertificateStatus {
    let (issuer, serial) = x509::issuer_and_serial(&certificate.pair.cert[0]).unwrap_or_default();
    let left = certificate.not_after.duration_since(now).unwrap_or_default();
    CertificateStatus {
        names: certificate.names.iter().map(ToString::to_string).collect(),
        state: match certificate.validity(now) {
            Validity::NotYet => "not yet valid",
            Validity::Good => "good",
            Validity::EndsSoon => "ends soon",
            Validity::Expired => "expired",
        }
        .to_owned(),
        days_left: left.as_secs() / DAY.as_secs(),
        not_before: Timestamp(certificate.not_before).to_string(),
        not_after: Timestamp(certificate.not_after).to_string(),
        key: certificate.key.as_str().to_owned(),
        issuer,
        serial,
        chain: certificate.pair.cert.len(),
        source: certificate.source.display().to_string(),
    }
}
