//! An authority that signs certificates, and clients that trust it alone.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A root, and an intermediate that signs.
pub(crate) struct Authority {
    root: CertificateDer<'static>,
    intermediate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its chain, and its key; PEM.
#[derive(Clone)]
pub(crate) struct Pem {
    /// The server's own certificate.
    pub(crate) leaf: String,
    /// The intermediate's.
    pub(crate) intermediate: String,
    pub(crate) key: String,
    pub(crate) der: CertificateDer<'static>,
    key_der: Vec<u8>,
}

impl Pem {
    /// The certificate and its chain, in order.
    pub(crate) fn chain(&self) -> String {
        format!("{}{}", self.leaf, self.intermediate)
    }
}

/// What a certificate is to be.
pub(crate) struct Order<'a> {
    names: &'a [&'a str],
    key: Option<KeyPair>,
    begins: SystemTime,
    ends: SystemTime,
    for_client: bool,
}

impl Order<'_> {
    pub(crate) fn rsa(mut self) -> Self {
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).expect("a key");
        self.key = Some(key);
        self
    }

    /// Its validity ends so many days from now, or has ended so many days ago.
    pub(crate) fn ends_in_days(mut self, days: i32) -> Self {
        let distance = DAY * days.unsigned_abs();
        self.ends = if days < 0 { SystemTime::now() - distance } else { SystemTime::now() + distance };
        self
    }

    pub(crate) fn begins_in_days(mut self, days: u32) -> Self {
        self.begins = SystemTime::now() + DAY * days;
        self
    }

    pub(crate) fn for_client(mut self) -> Self {
        self.for_client = true;
        self
    }
}

/// For these names, with ECDSA, from a while ago for 90 days.
pub(crate) fn order<'a>(names: &'a [&'a str]) -> Order<'a> {
    let now = SystemTime::now();
    Order { names, key: None, begins: now - 90 * DAY, ends: now + 90 * DAY, for_client: false }
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let authority = |name: String| {
            let mut params = CertificateParams::new(Vec::new()).expect("no names");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, name);
            (params, KeyPair::generate().expect("a key"))
        };
        let (params, key) = authority(format!("{name} root"));
        let root = params.self_signed(&key).expect("signed");
        let root_issuer = Issuer::new(params, key);
        let (params, key) = authority(format!("{name} intermediate"));
        let intermediate = params.signed_by(&key, &root_issuer).expect("signed");
        Self { root: root.der().clone(), intermediate: intermediate.der().clone(), issuer: Issuer::new(params, key) }
    }

    /// A certificate for these names.
    pub(crate) fn sign(&self, names: &[&str]) -> Pem {
        self.sign_order(order(names))
    }

    pub(crate) fn sign_order(&self, order: Order<'_>) -> Pem {
        let names: Vec<String> = order.names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        (params.not_before, params.not_after) = (order.begins.into(), order.ends.into());
        if order.for_client {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }
        let key = order.key.unwrap_or_else(|| KeyPair::generate().expect("a key"));
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Pem {
            leaf: pem("CERTIFICATE", certificate.der()),
            intermediate: pem("CERTIFICATE", &self.intermediate),
            key: pem("PRIVATE KEY", &key.serialize_der()),
            der: certificate.der().clone(),
            key_der: key.serialize_der(),
        }
    }

    /// The root, for those who are to trust it.
    pub(crate) fn root_pem(&self) -> String {
        pem("CERTIFICATE", &self.root)
    }

    /// A client that trusts this authority alone, and resumes sessions where it can.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        self.client_with(&aws_lc_rs::default_provider(), None)
    }

    /// The same with a certificate of its own.
    pub(crate) fn client_as(&self, own: &Pem, chain_of: &Self) -> Arc<ClientConfig> {
        let chain = vec![own.der.clone(), chain_of.intermediate.clone()];
        self.client_with(&aws_lc_rs::default_provider(), Some((chain, own.key_der.clone())))
    }

    /// The same that takes RSA alone.
    pub(crate) fn client_of_old(&self) -> Arc<ClientConfig> {
        let mut provider = aws_lc_rs::default_provider();
        let is_rsa = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite()).contains("RSA");
        provider.cipher_suites.retain(is_rsa);
        self.client_with(&provider, None)
    }

    fn client_with(
        &self,
        provider: &rustls::crypto::CryptoProvider,
        own: Option<(Vec<CertificateDer<'static>>, Vec<u8>)>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).expect("a root");
        let versions: &[&rustls::SupportedProtocolVersion] =
            if provider.cipher_suites.len() > 6 { rustls::ALL_VERSIONS } else { &[&rustls::version::TLS12] };
        let builder = ClientConfig::builder_with_provider(Arc::new(provider.clone()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        Arc::new(match own {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key)))
                .expect("a pair"),
        })
    }
}

/// RFC 7468.
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
