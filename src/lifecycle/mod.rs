//! What outlives snapshots: units, instances and leases.
