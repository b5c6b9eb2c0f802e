//! Whether a client has gone away, asked of its socket.
//!
//! hyper hears of a client that leaves only while it reads: behind a body that nobody takes, or a request that waits for its turn,
//! the end of the connection lies unread. The kernel knows.
#![expect(unsafe_code, reason = "the socket is inside hyper; its descriptor is borrowed by number")]

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The number of a socket's descriptor while the socket is open.
#[derive(Debug)]
pub struct Hangup {
    // Held while the descriptor is asked, so that it is not closed meanwhile. Taken once per connection, and once per request that
    // waited.
    open: Mutex<Option<RawFd>>,
}

impl Hangup {
    /// Watches a socket, until [`Self::forget`], which whoever owns it calls before closing it.
    #[must_use]
    pub fn of(socket: &impl AsRawFd) -> Self {
        Self { open: Mutex::new(Some(socket.as_raw_fd())) }
    }

    /// The socket is about to be closed.
    pub fn forget(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether the other side has closed or reset the connection, whatever there is still to be read; also where it is closed on this
    /// side.
    #[must_use]
    pub fn has_happened(&self) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(descriptor) = *open else { return true };
        // SAFETY: the descriptor is open: its owner calls `forget` before closing it, which waits for the lock that is held here.
        let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
        // nix has no name for this flag.
        let end = PollFlags::from_bits_retain(libc::POLLRDHUP);
        let gone = end | PollFlags::POLLHUP | PollFlags::POLLERR;
        let mut asked = [PollFd::new(descriptor, gone)];
        // A signal or a want of memory says nothing of the client.
        poll(&mut asked, PollTimeout::ZERO).is_ok_and(|answers| answers > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn an_end_behind_unread_bytes_is_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let mut client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connect");
        let (server, _) = listener.accept().expect("accept");
        let hangup = Hangup::of(&server);
        client.write_all(b"unread").expect("write");
        assert!(!hangup.has_happened());
        drop(client);
        // Over loopback, the end has arrived when the call is over.
        assert!(hangup.has_happened());
        hangup.forget();
        drop(server);
        assert!(hangup.has_happened());
    }
}
