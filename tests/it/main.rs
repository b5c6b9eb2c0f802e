//! The integration tests: one binary, one file per story.
#![expect(clippy::print_stderr, reason = "tests")]

mod admin;
mod check;
mod demo;
mod explain;
mod layers;
mod ledger;
mod listeners;
mod load;
mod memory;
mod pitfall_body;
mod pitfall_framing;
mod pitfall_headers;
mod pitfall_leaving;
mod pitfall_limits;
mod pitfall_policy;
mod pitfall_retry;
mod pitfall_shutdown;
mod pitfall_time;
mod pitfall_upgrade;
mod process;
mod reload;
mod routing;
mod rules;
mod schema;
mod seen;
mod splitting;
mod sticky;
mod support;
mod versions;
mod watch;
