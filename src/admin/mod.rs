//! The admin API: a unix socket, and a loopback port where one is set.
