//! The unix socket: whoever may open its file may do all, so it is its owner's alone, from the first moment on.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::fcntl::{Flock, FlockArg};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

/// What fits into `sun_path` of unix(7), its closing zero left out.
const LONGEST: usize = 107;
/// Another tidegate that starts in the same folder holds its lock for about a millisecond.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The path does not fit into a socket's address.
    #[error("{} is too long for a unix socket ({} bytes, at most {LONGEST}): set `socket:` to a shorter path", .0.display(), .0.as_os_str().len())]
    TooLong(PathBuf),
    /// Somebody answers on it.
    #[error("another tidegate is running here: it answers on {}; stop it, or set `socket:` to another path", .0.display())]
    Running(PathBuf),
    /// Something else is there, which is not ours to remove.
    #[error("{} exists and is not a socket: move it away, or set `socket:` to another path", .0.display())]
    Occupied(PathBuf),
    /// The lock that keeps two tidegates from starting at once is held by somebody.
    #[error("the folder of {} is locked by another program", .0.display())]
    Locked(PathBuf),
    /// It cannot be made.
    #[error("cannot listen on {}: {source}; put it elsewhere with `socket: PATH` in tidegate.yaml", .path.display())]
    Listen {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The listening socket. Dropping it removes its file, if that is still its own.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
}

impl AdminSocket {
    /// Listens on `path`, with mode 0600. A socket there that nobody answers on, left by a crash, is replaced.
    ///
    /// # Errors
    /// As [`SocketError`] says, each with its cure.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        if path.as_os_str().len() > LONGEST {
            return Err(SocketError::TooLong(path.to_owned()));
        }
        let failed = |source| SocketError::Listen { path: path.to_owned(), source };
        let _lock = lock(path)?;
        make_way(path)?;
        let (listener, inode) = listen(path).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned(), inode })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn accept(&self) -> io::Result<tokio::net::UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        if inode(&self.path).ok() == Some(self.inode) {
            // It is all the same if it cannot be removed: the next start finds it stale.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Two tidegates that start at once would both find the old socket stale, and the second would take the first one's away. The lock
/// is on the folder, so that it leaves no file behind.
fn lock(path: &Path) -> Result<Flock<File>, SocketError> {
    let failed = |source| SocketError::Listen { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut folder = File::open(folder).map_err(failed)?;
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, nix::errno::Errno::EWOULDBLOCK)) if Instant::now() < deadline => folder = back,
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => return Err(SocketError::Locked(path.to_owned())),
            Err((_, error)) => return Err(failed(error.into())),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn make_way(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Listen { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(SocketError::Occupied(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed),
        // It is there but we may not open it, or its queue is full: somebody lives.
        Ok(_) | Err(_) => Err(SocketError::Running(path.to_owned())),
    }
}

fn listen(path: &Path) -> io::Result<(UnixListener, (u64, u64))> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Before it listens, nobody can connect to it, whatever the umask made of its mode.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    socket.listen(128)?;
    socket.set_nonblocking(true)?;
    Ok((UnixListener::from_std(socket.into())?, inode(path)?))
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}
