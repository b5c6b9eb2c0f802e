//! What tidegate says of itself.
