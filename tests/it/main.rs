//! The integration tests: one binary, one file per story.
#![expect(clippy::print_stderr, reason = "tests")]

mod admin;
mod check;
mod load;
mod routing;
mod schema;
mod support;
mod watch;
