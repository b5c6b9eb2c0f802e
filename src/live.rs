//! The one pointer that a request reads: a snapshot with the running state that it refers to.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::{ArcSwap, Cache};

use crate::lifecycle::cursor::Cursor;
use crate::lifecycle::unit::Unit;
use crate::model::snapshot::Snapshot;
use crate::model::version::Version;
use crate::telemetry::access::AccessLog;
use crate::telemetry::counters::RequestCounters;
use crate::tls::resolver::AskingConfig;
use crate::tls::store::CertificateStore;

static IN_MEMORY: AtomicUsize = AtomicUsize::new(0);

/// The running state of a service. Outlives snapshots: carried over while nothing that concerns it changes.
#[derive(Debug)]
pub struct ServiceState {
    /// The number of the next weighted choice. A new one, at 0, when the weights change.
    pub cursor: Arc<Cursor>,
    /// The units of the service's versions, by version index.
    pub units: Box<[Arc<Unit>]>,
    /// How TLS is spoken with its clients, if it asks them for certificates.
    pub asking: Arc<AskingConfig>,
    /// The requests that the service answered without a version.
    pub own: Arc<RequestCounters>,
}

/// Everything that is in force together.
#[derive(Debug)]
pub struct Live {
    /// Counts publications, from 1.
    pub generation: u64,
    /// The config.
    pub snapshot: Arc<Snapshot>,
    /// By service index.
    pub services: Box<[Arc<ServiceState>]>,
    /// By server name.
    pub certificates: CertificateStore,
    /// The access log, if there is one.
    pub access: Option<Arc<AccessLog>>,
}

impl Live {
    /// Puts a picture together.
    #[must_use]
    pub fn new(
        generation: u64,
        snapshot: Arc<Snapshot>,
        services: Box<[Arc<ServiceState>]>,
        certificates: CertificateStore,
        access: Option<Arc<AccessLog>>,
    ) -> Self {
        debug_assert_eq!(snapshot.services.len(), services.len(), "states are by service index");
        IN_MEMORY.fetch_add(1, Ordering::Relaxed);
        Self { generation, snapshot, services, certificates, access }
    }

    /// The version with this name, and its unit.
    #[must_use]
    pub fn version(&self, name: &str) -> Option<(&Version, &Arc<Unit>)> {
        let (service, _) = name.rsplit_once('-')?;
        let index = self.snapshot.service_index(service)?;
        let (service, state) = (&self.snapshot.services[index], &self.services[index]);
        service.version(name).map(|version| (&service.versions[version], &state.units[version]))
    }

    /// How many are in memory at present: one, and those that requests on their way still read.
    #[must_use]
    pub fn in_memory() -> usize {
        IN_MEMORY.load(Ordering::Relaxed)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        IN_MEMORY.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The place where what is in force stands. Clones are the same place.
#[derive(Debug, Clone)]
pub struct Published(Arc<ArcSwap<Live>>);

impl Published {
    /// Publishes the first.
    #[must_use]
    pub fn new(live: Live) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(live)))
    }

    /// What is in force now.
    #[must_use]
    pub fn load(&self) -> Arc<Live> {
        self.0.load_full()
    }

    /// Puts another in force and returns the one that was. Whoever calls this keeps it until nobody else does, so that it is not
    /// freed on a data thread.
    pub fn swap(&self, live: Live) -> Arc<Live> {
        self.0.swap(Arc::new(live))
    }

    /// For one data thread.
    #[must_use]
    pub fn view(&self) -> View {
        View(RefCell::new(Seen { cache: Cache::new(Arc::clone(&self.0)), current: Rc::new(Shared(self.load())) }))
    }
}

/// What is in force, as one data thread sees it. Reading costs a comparison of pointers: the count of references, which all threads
/// would write to, is touched once per thread and publication.
#[derive(Debug)]
pub struct View(RefCell<Seen>);

/// What was in force when the thread last looked.
#[derive(Debug)]
struct Seen {
    cache: Cache<Arc<ArcSwap<Live>>, Arc<Live>>,
    current: Rc<Shared>,
}

/// A reference to a [`Live`] that the requests of one thread share.
#[derive(Debug)]
pub struct Shared(Arc<Live>);

impl Deref for Shared {
    type Target = Live;

    fn deref(&self) -> &Live {
        &self.0
    }
}

impl View {
    /// What is in force now.
    #[must_use]
    pub fn load(&self) -> Rc<Shared> {
        let seen = &mut *self.0.borrow_mut();
        let live = seen.cache.load();
        if !Arc::ptr_eq(live, &seen.current.0) {
            seen.current = Rc::new(Shared(Arc::clone(live)));
        }
        Rc::clone(&seen.current)
    }
}
