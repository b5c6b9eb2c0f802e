//! Who listens on one port, asked of the kernel by netlink (sock_diag(7)).
//!
//! `/proc/net/tcp` says the same and works everywhere, but walks all of the kernel's table of connections to its end: milliseconds, on
//! the way from a version's readiness to the requests that wait for it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use super::listeners::Listener;

// From the kernel's include/uapi/linux: netlink.h, sock_diag.h, inet_diag.h, and net/tcp_states.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const TCP_LISTEN: u32 = 10;
/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
const REQUEST: usize = HEADER + 56;
/// `struct inet_diag_msg`.
const ANSWER: usize = 72;
/// More than the kernel puts into one datagram of a dump.
const DATAGRAM: usize = 32 * 1024;

/// The listening sockets on `port`, at all addresses of this network namespace.
///
/// # Errors
/// When this kernel has no such interface, or it is closed to us.
pub(super) fn listeners_on(port: u16) -> io::Result<Vec<Listener>> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkSockDiag)?;
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        match ask(&socket, u8::try_from(family).expect("families are small"), port, &mut found) {
            // A kernel without IPv6.
            Err(error) if family == libc::AF_INET6 && error.raw_os_error() == Some(libc::ENOENT) => {}
            asked => asked?,
        }
    }
    Ok(found)
}

fn ask(socket: &OwnedFd, family: u8, port: u16, found: &mut Vec<Listener>) -> io::Result<()> {
    let mut request = [0; REQUEST];
    request[0..4].copy_from_slice(&u32::try_from(REQUEST).expect("72").to_ne_bytes());
    request[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&NLM_F_REQUEST_DUMP.to_ne_bytes());
    request[HEADER] = family;
    request[HEADER + 1] = u8::try_from(libc::IPPROTO_TCP).expect("6");
    request[HEADER + 4..HEADER + 8].copy_from_slice(&(1_u32 << TCP_LISTEN).to_ne_bytes());
    request[HEADER + 8..HEADER + 10].copy_from_slice(&port.to_be_bytes());
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut datagram = vec![0; DATAGRAM];
    loop {
        // The kernel answers before `send` returns, so there is nothing to wait for.
        let length = recv(socket.as_raw_fd(), &mut datagram, MsgFlags::MSG_DONTWAIT)?;
        if !read(&datagram[..length], port, found)? {
            return Ok(());
        }
    }
}

/// Reads the messages of a datagram; false after the last one of the answer.
fn read(mut messages: &[u8], port: u16, found: &mut Vec<Listener>) -> io::Result<bool> {
    while let Some((length, kind)) = number(messages, 0).zip(messages.get(4..6)) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let body = messages.get(HEADER..length).ok_or(io::ErrorKind::InvalidData)?;
        match u16::from_ne_bytes([kind[0], kind[1]]) {
            NLMSG_DONE => return Ok(false),
            NLMSG_ERROR => {
                let errno = number(body, 0).unwrap_or_default().cast_signed();
                return Err(Errno::from_raw(errno.wrapping_neg()).into());
            }
            _ => found.extend(listener(body).filter(|listener| listener.address.port() == port)),
        }
        messages = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

/// Reads a `struct inet_diag_msg`.
fn listener(message: &[u8]) -> Option<Listener> {
    let message = message.get(..ANSWER)?;
    let port = u16::from_be_bytes([message[4], message[5]]);
    let ip: IpAddr = if i32::from(message[0]) == libc::AF_INET {
        Ipv4Addr::from(<[u8; 4]>::try_from(&message[8..12]).ok()?).into()
    } else {
        Ipv6Addr::from(<[u8; 16]>::try_from(&message[8..24]).ok()?).into()
    };
    Some(Listener { address: SocketAddr::new(ip, port), inode: number(message, 68)?.into() })
}

/// The 32 bits at `at`, in the host's byte order.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn says_what_proc_says() {
        let four = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let six = TcpListener::bind("[::]:0").ok();
        for listener in [Some(four), six].into_iter().flatten() {
            let address = listener.local_addr().expect("bound");
            // A kernel without it has /proc.
            let Ok(found) = listeners_on(address.port()) else { return };
            let mut proc = super::super::listeners::all().expect("/proc");
            // The table may tell of one twice where others come and go meanwhile, and others may have this port elsewhere.
            proc.retain(|listener| listener.address == address);
            proc.dedup();
            let own = |mut found: Vec<Listener>| {
                found.retain(|listener| listener.address == address);
                found
            };
            let found = own(found);
            assert_eq!((found.len(), &found), (1, &proc));
            drop(listener);
            assert_eq!(own(listeners_on(address.port()).expect("asked before")), []);
        }
    }

    #[test]
    fn what_is_cut_off_is_an_error_and_no_panic() {
        let mut found = Vec::new();
        let mut message = [0; HEADER + ANSWER];
        message[0..4].copy_from_slice(&88_u32.to_ne_bytes());
        for length in 4..message.len() {
            let cut = read(&message[..length], 0, &mut found);
            assert!(cut.is_err() || length < 6, "{length}: {cut:?}");
        }
        assert!(read(&message, 0, &mut found).is_ok_and(|more| more) && found.len() == 1);
        message[0..4].copy_from_slice(&3_u32.to_ne_bytes());
        assert!(read(&message, 0, &mut found).is_err(), "shorter than its own header");
    }
}
