//! What tidegate means, validated and immutable; no I/O, no async.
