//! Two files that change places in one step, so that whoever replaces one just then is noticed and not overwritten.
#![expect(unsafe_code, reason = "renameat2(2) has no safe wrapper on all targets")]

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Swaps two files.
///
/// # Errors
/// As renameat2(2) says; see [`is_unsupported`].
pub(super) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    rename(one, other, libc::RENAME_EXCHANGE)
}

/// Moves a file to where nothing is.
///
/// # Errors
/// As renameat2(2) says: `AlreadyExists` if there is something; see [`is_unsupported`].
pub(super) fn move_to_free(from: &Path, to: &Path) -> io::Result<()> {
    rename(from, to, libc::RENAME_NOREPLACE)
}

/// Whether the file system, or the kernel, knows nothing of this.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP))
}

fn rename(from: &Path, to: &Path, flags: libc::c_uint) -> io::Result<()> {
    let (from, to) = (CString::new(from.as_os_str().as_bytes())?, CString::new(to.as_os_str().as_bytes())?);
    // SAFETY: both are texts that end in NUL and live until the call is over, and the call keeps nothing.
    let done = unsafe {
        libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), flags)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
