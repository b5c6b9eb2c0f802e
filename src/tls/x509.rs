//! What is written in a certificate (RFC 5280), as far as tidegate cares.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::SystemTime;

use der::{Decode, Encode};
use x509_cert::Certificate as Parsed;
use x509_cert::der;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};

use crate::model::certificate::KeyKind;
use crate::model::host::HostPattern;

/// What rfc 5912 calls id-ecPublicKey, id-Ed25519 and rsaEncryption.
const EC: der::asn1::ObjectIdentifier = der::asn1::ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: der::asn1::ObjectIdentifier = der::asn1::ObjectIdentifier::new_unwrap("1.3.101.112");

/// Why it cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is no certificate that can be read ({0})")]
pub struct X509Error(#[from] der::Error);

/// What is written in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whom it is for.
    pub names: Box<[HostPattern]>,
    /// When it begins.
    pub not_before: SystemTime,
    /// When it ends.
    pub not_after: SystemTime,
    /// What its key is.
    pub key: KeyKind,
    /// Its public key (SubjectPublicKeyInfo, DER).
    pub public_key: Vec<u8>,
    /// Whom it names as its subject (DER).
    pub subject: Vec<u8>,
    /// Who made it (DER).
    pub issuer: Vec<u8>,
    /// Whether it says that it is an authority's own.
    pub is_authority: bool,
}

/// Reads a certificate.
///
/// # Errors
/// It is none.
pub fn read(der: &[u8]) -> Result<Facts, X509Error> {
    let parsed = Parsed::from_der(der)?;
    let body = parsed.tbs_certificate();
    let alternatives = body.get_extension::<SubjectAltName>()?.map(|(_, names)| names.0).unwrap_or_default();
    let constraints = body.get_extension::<BasicConstraints>()?;
    let algorithm = body.subject_public_key_info().algorithm.oid;
    Ok(Facts {
        names: alternatives.iter().filter_map(name).collect(),
        not_before: body.validity().not_before.to_system_time(),
        not_after: body.validity().not_after.to_system_time(),
        key: match algorithm {
            EC => KeyKind::Ecdsa,
            ED25519 => KeyKind::Ed25519,
            _ => KeyKind::Rsa,
        },
        public_key: body.subject_public_key_info().to_der()?,
        subject: body.subject().to_der()?,
        issuer: body.issuer().to_der()?,
        is_authority: constraints.is_some_and(|(_, constraints)| constraints.ca),
    })
}

/// Who made a certificate and under which number, for people: `CN=R3,O=Let's Encrypt,C=US` and `04A2...`.
///
/// # Errors
/// It is none.
pub fn issuer_and_serial(der: &[u8]) -> Result<(String, String), X509Error> {
    let parsed = Parsed::from_der(der)?;
    let body = parsed.tbs_certificate();
    let serial = body.serial_number().as_bytes().iter().map(|byte| format!("{byte:02X}")).collect();
    Ok((body.issuer().to_string(), serial))
}

/// One that a server can be asked for; mail addresses and the like are not.
fn name(name: &GeneralName) -> Option<HostPattern> {
    match name {
        GeneralName::DnsName(name) => HostPattern::parse(name.as_str()).ok(),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let v4 = || <[u8; 4]>::try_from(bytes).ok().map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
            let v6 = || <[u8; 16]>::try_from(bytes).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
            let text = match v4().or_else(v6)? {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            };
            Some(HostPattern::Exact(text.into()))
        }
        _ => None,
    }
}
