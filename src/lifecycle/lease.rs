//! The right to send one request to one instance.

use std::sync::Arc;

use super::instance::Instance;
use super::unit::Unit;

/// Held from the choice of an instance to the last byte of the response, or the tunnel's end; dropping it gives it back.
/// Stopping waits for leases.
#[derive(Debug)]
pub struct Lease {
    unit: Arc<Unit>,
    instance: Arc<Instance>,
}

impl Lease {
    /// Wraps what [`Unit::acquire`] has counted on the gate.
    pub(super) fn new(unit: Arc<Unit>, instance: Arc<Instance>) -> Self {
        instance.lease();
        Self { unit, instance }
    }

    /// The unit it is a lease on.
    #[must_use]
    pub fn unit(&self) -> &Arc<Unit> {
        &self.unit
    }

    /// The instance to send to.
    #[must_use]
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.instance.release();
        self.unit.release();
    }
}
