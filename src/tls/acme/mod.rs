//! Certificates that are had by asking (ACME, RFC 8555), and renewed in time.
//!
//! What is issued is written into a folder whose files come into force as everybody's do: there is no other road.

mod account;
mod order;
mod schedule;
mod wanted;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instant_acme::Account;
use tokio::sync::watch;

pub use self::wanted::{Held, Wanted};
use super::challenge::Challenges;
use crate::model::acme::Acme;
use account::AccountError;
use order::OrderError;
use schedule::{Backoff, renew_at};

/// What went wrong last, by name; names that are well are not in it.
pub type Troubles = Rc<RefCell<BTreeMap<String, String>>>;

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
enum AcmeError {
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    Order(#[from] OrderError),
    #[error("cannot keep the certificate in {path}: {source}", path = .0.display(), source = .1)]
    Keep(std::path::PathBuf, #[source] io::Error),
}

impl AcmeError {
    /// Whether it is the authority that does not answer, and no fault was found with what was asked.
    fn is_away(&self) -> bool {
        match self {
            Self::Account(error) => error.is_away(),
            Self::Order(error) => error.is_away(),
            Self::Keep(..) => true,
        }
    }
}

/// What is known of a name besides what is in force.
#[derive(Debug, Default)]
struct Tried {
    /// A certificate that may not be in force yet.
    got: Option<Held>,
    backoff: Backoff,
}

/// Asks for what is wanted whenever it is time, one name after the other, until the sender is dropped. Runs on the control thread.
pub async fn keep(mut wanted: watch::Receiver<Arc<Wanted>>, challenges: Arc<Challenges>, troubles: Troubles) {
    let mut tried: BTreeMap<Box<str>, Tried> = BTreeMap::new();
    let mut account: Option<(Acme, Account)> = None;
    loop {
        let now_wanted = Arc::clone(&wanted.borrow_and_update());
        tried.retain(|name, _| now_wanted.names.iter().any(|(wanted, _)| wanted == name));
        troubles.borrow_mut().retain(|name, _| tried.contains_key(name.as_str()));
        let next = now_wanted.names.iter().map(|(name, held)| (due(name, *held, tried.get(name)), name)).min();
        let Some((at, name)) = next else {
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        };
        // A clock may be set: an hour at most until the next look.
        let wait = at.duration_since(SystemTime::now()).unwrap_or_default().min(Duration::from_secs(3600));
        if !wait.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                changed = wanted.changed() => if changed.is_err() { return },
            }
            continue;
        }
        let known = tried.entry(name.clone()).or_default();
        let attempt = known.backoff.failures();
        tracing::info!("asking {} for a certificate for {name}", now_wanted.acme.directory);
        match get(&now_wanted.acme, &mut account, name, attempt, &challenges).await {
            Ok(held) => {
                tracing::info!("there is a new certificate for {name}");
                known.got = Some(held);
                known.backoff = Backoff::default();
                troubles.borrow_mut().remove(&**name);
            }
            Err((error, retry_after)) => {
                let until = known.backoff.fail(error.is_away(), retry_after, SystemTime::now(), rand::random());
                let wait = until.duration_since(SystemTime::now()).unwrap_or_default().as_secs();
                let said = format!("no certificate for {name}: {error}; tried again in {wait} s");
                tracing::warn!("{said}; what is in force is served on");
                troubles.borrow_mut().insert(name.to_string(), said);
                account = None;
            }
        }
    }
}

/// When a name is to be asked for.
fn due(name: &str, held: Option<Held>, tried: Option<&Tried>) -> SystemTime {
    let got = tried.and_then(|tried| tried.got);
    // What has just come is in force in a moment.
    let held = match (held, got) {
        (Some(held), Some(got)) => Some(if got.not_after > held.not_after { got } else { held }),
        (held, got) => held.or(got),
    };
    let at = held.map_or(SystemTime::UNIX_EPOCH, |held| renew_at(held, name));
    tried.and_then(|tried| tried.backoff.until()).map_or(at, |until| until.max(at))
}

/// With a failure, until when the authority asks to be left alone.
type Outcome = Result<Held, (AcmeError, Option<SystemTime>)>;

/// Asks for one name, and keeps what comes.
async fn get(
    acme: &Acme,
    known: &mut Option<(Acme, Account)>,
    name: &str,
    attempt: u32,
    challenges: &Arc<Challenges>,
) -> Outcome {
    let retry_after = Arc::default();
    let outcome = async {
        private_folder(&acme.certificates()).map_err(|error| AcmeError::Keep(acme.certificates(), error))?;
        let account = match known {
            Some((same, account)) if same == acme => account.clone(),
            _ => {
                let account = account::of(acme, &retry_after).await?;
                *known = Some((acme.clone(), account.clone()));
                account
            }
        };
        let issued = order::issue(&account, name, acme.challenge, attempt, challenges).await?;
        let path = acme.file(name);
        write_private(&path, issued.pem.as_bytes()).map_err(|error| AcmeError::Keep(path, error))?;
        Ok(issued.held)
    };
    let outcome = outcome.await;
    let retry_after = *retry_after.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    outcome.map_err(|error| (error, retry_after))
}

fn private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file that only our user can read, whole or not at all: beside it under a hidden name, and then moved into place.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let beside = path.with_file_name(format!(".{name}.new"));
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    // The name is on disk only once the folder is.
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}
