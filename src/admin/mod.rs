//! The admin API: a unix socket, and a loopback port where one is set.
//!
//! [`router`] says what the paths answer (the use cases of `control` are plugged in by `app`), [`server`] serves that on a
//! [`socket`], where whoever may open the file may do all, and on a port, which [`auth`] guards. [`client`] is the other end, for
//! the command line.

pub mod auth;
pub mod client;
pub mod router;
pub mod server;
pub mod socket;
