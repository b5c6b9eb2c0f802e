//! One order: the challenge, the certificate.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, NewOrder, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::Held;
use super::account::said;
use crate::model::acme::Challenge;
use crate::tls::challenge::{ChallengeError, Challenges};
use crate::tls::pair::{Chain, Key};
use crate::tls::pem::{self, PemFileError};

/// How long the authority may take for its look at us, and for the certificate.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    #[error("{}", said(.0))]
    Acme(#[from] Error),
    #[error("the authority did not get what it asked for ({0}); can it reach this host by that name?")]
    Challenge(String),
    #[error("the authority has no challenge that tidegate can answer; it has {0}")]
    NoChallenge(String),
    #[error(transparent)]
    Answer(#[from] ChallengeError),
    #[error("cannot make a key: {0}")]
    Key(#[from] rcgen::Error),
    #[error("the authority's certificate cannot be used: {0}")]
    Certificate(#[from] PemFileError),
    #[error("the authority's certificate is not for the key that it was asked for")]
    Mismatch,
}

impl OrderError {
    pub(super) fn is_away(&self) -> bool {
        matches!(self, Self::Acme(error) if !matches!(error, Error::Api(_)))
    }
}

/// What has come.
pub(super) struct Issued {
    /// Key and chain.
    pub(super) pem: String,
    pub(super) held: Held,
}

/// Asks for a certificate for one name. `attempt` is how often that has failed: the kinds of challenges take turns.
pub(super) async fn issue(
    account: &Account,
    name: &str,
    only: Option<Challenge>,
    attempt: u32,
    challenges: &Arc<Challenges>,
) -> Result<Issued, OrderError> {
    let identifiers = [Identifier::Dns(name.to_owned())];
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    let mut answers = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let offered: Vec<_> = authorization.challenges.iter().map(|challenge| challenge.r#type.clone()).collect();
        let Some(kind) = choose(only, attempt, &offered) else {
            return Err(OrderError::NoChallenge(format!("{offered:?}")));
        };
        let Some(mut challenge) = authorization.challenge(kind.clone()) else { continue };
        let proof = challenge.key_authorization();
        answers.push(match kind {
            ChallengeType::TlsAlpn01 => challenges.certificate(name, proof.digest().as_ref())?,
            _ => challenges.text(&challenge.token, proof.as_str()),
        });
        challenge.set_ready().await?;
    }
    let patience = RetryPolicy::new().timeout(PATIENCE);
    if order.poll_ready(&patience).await? == OrderStatus::Invalid {
        return Err(OrderError::Challenge(reason(&mut order).await));
    }
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    let key = KeyPair::generate()?;
    order.finalize_csr(params.serialize_request(&key)?.der()).await?;
    let chain = order.poll_certificate(&patience).await?;
    drop(answers);

    // What cannot be served is not kept.
    let sections = pem::sections(chain.as_bytes())?;
    let own =
        Key::new(&rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).map_err(|_| OrderError::Mismatch)?)?;
    let pair = Chain::new(sections.certificates)?.pair(&own, name.into()).ok_or(OrderError::Mismatch)?;
    let held = Held { not_before: pair.certificate.not_before, not_after: pair.certificate.not_after };
    Ok(Issued { pem: format!("{}{chain}", private_key(&key.serialize_der())), held })
}

/// The challenge to answer, of those offered.
fn choose(only: Option<Challenge>, attempt: u32, offered: &[ChallengeType]) -> Option<ChallengeType> {
    let (http, tls) = (ChallengeType::Http01, ChallengeType::TlsAlpn01);
    let preferred = match only {
        Some(Challenge::Http01) => vec![http],
        Some(Challenge::TlsAlpn01) => vec![tls],
        None if attempt % 2 == 1 => vec![tls, http],
        None => vec![http, tls],
    };
    preferred.into_iter().find(|kind| offered.contains(kind))
}

/// What the authority says of its look at us.
async fn reason(order: &mut instant_acme::Order) -> String {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        let error = state.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        if let Some(error) = error {
            return error.detail.clone().unwrap_or_else(|| error.to_string());
        }
    }
    "it does not say why".to_owned()
}

/// RFC 7468.
fn private_key(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = "-----BEGIN PRIVATE KEY-----\n".to_owned();
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}
