//! Who we are to an authority: a key, made once and kept.

use std::fs;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Request;
use http::header::RETRY_AFTER;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use instant_acme::{Account, AccountCredentials, BodyWrapper, BytesResponse, Error, HttpClient, NewAccount};
use rustls::{ClientConfig, RootCertStore};

use super::{private_folder, write_private};
use crate::model::acme::Acme;
use crate::tls::pem::{self, PemFileError};

/// The longest that one question to an authority may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Until when an authority asked to be left alone, if it did.
pub(super) type RetryAfter = Arc<Mutex<Option<SystemTime>>>;

/// Why there is no account.
#[derive(Debug, thiserror::Error)]
pub(super) enum AccountError {
    #[error("`ca_root` {path} cannot be used: {source}", path = .0.display(), source = .1)]
    CaRoot(PathBuf, #[source] PemFileError),
    #[error("the authority's HTTPS cannot be checked: {0}")]
    Trust(#[source] rustls::Error),
    #[error("cannot keep the account in {path}: {source}", path = .0.display(), source = .1)]
    Keep(PathBuf, #[source] io::Error),
    #[error("the account in {path} cannot be read ({source}); move the file away for a new one", path = .0.display(), source = .1)]
    Read(PathBuf, #[source] serde_json::Error),
    #[error("{}", said(.0))]
    Acme(#[from] Error),
}

impl AccountError {
    pub(super) fn is_away(&self) -> bool {
        !matches!(self, Self::Acme(Error::Api(_)))
    }
}

/// An error with what lies beneath it.
pub(super) fn said(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

/// The account that is kept, or a new one.
pub(super) async fn of(acme: &Acme, retry_after: &RetryAfter) -> Result<Account, AccountError> {
    let keep = |error| AccountError::Keep(acme.folder.clone(), error);
    private_folder(&acme.folder).map_err(keep)?;
    // Another authority, another account.
    let mut hasher = DefaultHasher::new();
    acme.directory.hash(&mut hasher);
    let path = acme.folder.join(format!("account-{:016x}.json", hasher.finish()));
    let builder = Account::builder_with_http(Box::new(client(acme, retry_after)?));
    match fs::read(&path) {
        Ok(text) => {
            let credentials: AccountCredentials =
                serde_json::from_slice(&text).map_err(|error| AccountError::Read(path, error))?;
            Ok(builder.from_credentials(credentials).await?)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let contact: Vec<&str> = acme.contact.as_deref().into_iter().collect();
            let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
            let (account, credentials) = builder.create(&new, acme.directory.to_string(), None).await?;
            let text = serde_json::to_vec(&credentials).map_err(|error| AccountError::Read(path.clone(), error))?;
            write_private(&path, &text).map_err(keep)?;
            Ok(account)
        }
        Err(error) => Err(keep(error)),
    }
}

fn client(acme: &Acme, retry_after: &RetryAfter) -> Result<impl HttpClient, AccountError> {
    let connector = match &acme.ca_root {
        None => HttpsConnectorBuilder::new().try_with_platform_verifier().map_err(AccountError::Trust)?,
        Some(path) => {
            let sections = pem::read(path).map_err(|error| AccountError::CaRoot(path.clone(), error))?;
            let mut roots = RootCertStore::empty();
            for root in sections.certificates {
                roots.add(root).map_err(AccountError::Trust)?;
            }
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(AccountError::Trust)?
                .with_root_certificates(roots)
                .with_no_client_auth();
            HttpsConnectorBuilder::new().with_tls_config(config)
        }
    };
    let connector = connector.https_only().enable_http1().build();
    let inner = Client::builder(TokioExecutor::new()).build(connector);
    Ok(Noting { inner: Arc::new(inner), retry_after: Arc::clone(retry_after) })
}

/// Notes what an authority asks for beyond the answer, and does not wait for ever.
struct Noting<C> {
    inner: Arc<C>,
    retry_after: RetryAfter,
}

impl<C: HttpClient> HttpClient for Noting<C> {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (inner, retry_after) = (Arc::clone(&self.inner), Arc::clone(&self.retry_after));
        Box::pin(async move {
            let late = |_| Error::Other(Box::new(io::Error::from(io::ErrorKind::TimedOut)));
            let response = tokio::time::timeout(PATIENCE, inner.request(request)).await.map_err(late)??;
            let status = response.parts.status;
            let seconds = response.parts.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            // Of an order that is being worked on it says when to look again, which is no reason to stay away.
            if let Some(seconds) = seconds.filter(|_| status.is_client_error() || status.is_server_error()) {
                let at = SystemTime::now() + Duration::from_secs(seconds);
                *retry_after.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
            }
            Ok(response)
        })
    }
}
