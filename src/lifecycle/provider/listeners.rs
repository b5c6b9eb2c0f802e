//! Who listens where on this host, read from `/proc`: whether the program that answers on a port is the one that was started.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::unistd::Pid;

use super::process_tree::{children, descendants};
use super::sock_diag;

/// The state `LISTEN` in `/proc/net/tcp` (`TCP_LISTEN` in the kernel's `include/net/tcp_states.h`).
const LISTEN: &str = "0A";

/// How far below an ancestor [`is_answered_below`] looks: itself, a program, a shell that it may be, and what that starts.
const DEEPEST: usize = 5;

/// A listening TCP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    pub(super) inode: u64,
}

/// What the descendants of a process listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listening {
    /// Exactly on these addresses.
    On(Vec<SocketAddr>),
    /// At least one descendant's open files may not be read (it runs as another user), so it cannot be told.
    Unknown,
}

/// The TCP addresses on which the descendants of `ancestor` listen.
///
/// Reads the listening sockets (not the connections), the process table and the descendants' open files: milliseconds on a host with
/// many processes. [`is_answered_below`] finds what is mostly so sooner.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn of_descendants(ancestor: Pid) -> io::Result<Listening> {
    let mut inodes = HashSet::new();
    let mut hidden = false;
    for descendant in descendants(ancestor)? {
        match sockets(descendant.pid) {
            Ok(found) => inodes.extend(found),
            Err(error) => hidden |= error.kind() == io::ErrorKind::PermissionDenied,
        }
    }
    let mut addresses: Vec<SocketAddr> =
        all()?.into_iter().filter(|listener| inodes.contains(&listener.inode)).map(|found| found.address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(if hidden && addresses.is_empty() { Listening::Unknown } else { Listening::On(addresses) })
}

/// Whether a descendant of `ancestor` is who answers a connection to `address`. `true` is certain; `false` may mean that it could not
/// be found this way, and [`of_descendants`] knows.
///
/// Goes down from `ancestor` and reads what is on the way, a fraction of a millisecond: requests wait for it.
pub fn is_answered_below(ancestor: Pid, address: SocketAddr) -> bool {
    let Ok(listeners) = sock_diag::listeners_on(address.port()).or_else(|_| all()) else { return false };
    let wanted: Vec<u64> =
        listeners.iter().filter(|one| answers(one.address, address)).map(|listener| listener.inode).collect();
    let mut level = vec![ancestor];
    // A level without a process is the end; processes that fork as fast as they are read are no reason to stay.
    for _ in 0..DEEPEST {
        if level.iter().any(|pid| sockets(*pid).is_ok_and(|held| wanted.iter().any(|inode| held.contains(inode)))) {
            return true;
        }
        level = level.into_iter().flat_map(children).collect();
    }
    false
}

/// Whether a listener on `listening` is who answers a connection to `address`.
pub fn answers(listening: SocketAddr, address: SocketAddr) -> bool {
    let ip = listening.ip().to_canonical();
    listening.port() == address.port() && (ip == address.ip() || ip.is_unspecified())
}

/// Whether anybody on this host listens on `port`, at whatever address.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn anybody_on(port: u16) -> io::Result<bool> {
    Ok(all()?.iter().any(|listener| listener.address.port() == port))
}

/// The TCP addresses on which anybody listens in the network namespace of a process.
///
/// # Errors
/// When `/proc` cannot be read, or the process is gone.
pub(super) fn of_namespace(pid: i32) -> io::Result<Vec<SocketAddr>> {
    let listeners = in_namespace(&format!("/proc/{pid}/net"))?;
    Ok(listeners.into_iter().map(|listener| listener.address).collect())
}

/// The inodes of the sockets that a process holds.
fn sockets(pid: Pid) -> io::Result<HashSet<u64>> {
    let mut inodes = HashSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // A file may be closed meanwhile.
        let Ok(target) = fs::read_link(entry?.path()) else { continue };
        let inode: Option<u64> =
            target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
        inodes.extend(inode);
    }
    Ok(inodes)
}

/// All listening TCP sockets of this network namespace.
pub(super) fn all() -> io::Result<Vec<Listener>> {
    in_namespace("/proc/net")
}

/// All listening TCP sockets of the tables in this folder.
fn in_namespace(folder: &str) -> io::Result<Vec<Listener>> {
    let mut listeners = read_table(&format!("{folder}/tcp"))?;
    match read_table(&format!("{folder}/tcp6")) {
        Ok(six) => listeners.extend(six),
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(listeners)
}

fn read_table(path: &str) -> io::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for line in BufReader::new(File::open(path)?).lines().skip(1) {
        // The kernel lists what listens first, then perhaps 100,000 connections.
        let Some(listener) = parse_line(&line?) else { break };
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Reads `sl local remote state queues timer retransmits uid timeout inode ...`; nothing if it is no listener.
fn parse_line(line: &str) -> Option<Listener> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    if fields.nth(1)? != LISTEN {
        return None;
    }
    Some(Listener { address: parse_address(local)?, inode: fields.nth(5)?.parse().ok()? })
}

/// Reads `0100007F:1F90`: the address as 32-bit words in the host's byte order, the port as a number.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = u32::from_str_radix(words.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip: IpAddr = match words.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let bytes = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn finds_the_listeners_of_a_process_on_both_families() {
        let four = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let mut wanted = vec![four.local_addr().expect("bound")];
        let six = TcpListener::bind("[::1]:0").ok();
        wanted.extend(six.as_ref().map(|six| six.local_addr().expect("bound")));
        let ours = sockets(nix::unistd::getpid()).expect("our own files");
        let found: Vec<SocketAddr> =
            all().expect("/proc").into_iter().filter(|one| ours.contains(&one.inode)).map(|one| one.address).collect();
        assert!(wanted.iter().all(|address| found.contains(address)), "{wanted:?} in {found:?}");
        assert!(wanted.iter().all(|address| anybody_on(address.port()).expect("/proc")));
    }

    #[test]
    fn finds_who_answers_without_the_table_of_processes() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        assert!(is_answered_below(nix::unistd::getpid(), address));
        drop(listener);
        assert!(!is_answered_below(nix::unistd::getpid(), address));
    }

    #[test]
    fn a_wildcard_answers_for_loopback_but_not_for_another_port() {
        let target: SocketAddr = "127.0.0.1:80".parse().expect("an address");
        let on = |text: &str| answers(text.parse().expect("an address"), target);
        assert!(on("127.0.0.1:80") && on("0.0.0.0:80") && on("[::]:80") && on("[::ffff:127.0.0.1]:80"));
        assert!(!on("127.0.0.1:81") && !on("[::1]:80") && !on("10.0.0.1:80"));
    }
}
