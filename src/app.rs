//! The composition root: build, spawn, drain.
