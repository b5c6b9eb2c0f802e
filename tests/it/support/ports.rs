//! Ports for programs that must be told one, and addresses that nobody else has.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, Ordering};

use tidegate::lifecycle::ports::Ports;

/// Apart from the default of `process.ports`, which servers under test use, and below the ephemeral range.
const FIRST: u16 = 30_000;
/// Of the ports of one test binary; it needs some dozens.
const SHARE: u16 = 150;
const SHARES: u8 = 18;

/// What is this test binary's own for as long as it runs, also where several run side by side.
struct Share {
    number: u8,
    ports: Ports,
    /// Whoever holds the name has the share; the kernel gives it back.
    _claim: UnixListener,
}

static OWN: LazyLock<Share> = LazyLock::new(|| (0..SHARES).find_map(Share::claim).expect("a free share of the ports"));

impl Share {
    fn claim(number: u8) -> Option<Self> {
        let name = UnixAddr::from_abstract_name(format!("tidegate-test-ports-{number}")).expect("short");
        let claim = UnixListener::bind_addr(&name).ok()?;
        let first = FIRST + SHARE * u16::from(number);
        Some(Self { number, ports: Ports::new(first..=first + SHARE - 1, 0), _claim: claim })
    }
}

/// The test binary's own ports.
pub(crate) fn ports() -> Ports {
    OWN.ports.clone()
}

/// An address on loopback, with a port that is free there and stays free: nobody else binds or connects from this address.
pub(crate) fn own_address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let address = Ipv4Addr::new(127, 88, OWN.number, NEXT.fetch_add(1, Ordering::Relaxed));
    TcpListener::bind((address, 0)).and_then(|listener| listener.local_addr()).expect("an address")
}
