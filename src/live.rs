//! The one pointer that a request reads.
