//! From the YAML that people write to a snapshot, or to every error there is.
