//! Two things about sockets that rustix lacks.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Bytes that were written to a Unix socket and that its peer has not read yet, with the kernel's overhead
/// (SIOCOUTQ); 0 exactly when everything was read.
///
/// # Errors
/// What ioctl(2) says.
pub fn unread_by_peer(fd: impl AsFd) -> io::Result<usize> {
    let mut n: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (TIOCOUTQ) writes one int to the address given, and `n` lives through the call.
    let r = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCOUTQ, &mut n) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(n.max(0) as usize) }
}

/// setsockopt(2) with a value as a program gave it.
///
/// # Errors
/// What setsockopt(2) says.
pub fn set_raw(fd: impl AsFd, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let len =
        libc::socklen_t::try_from(value.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: pointer and length name the readable slice `value`; the kernel only reads it.
    let r = unsafe { libc::setsockopt(fd.as_fd().as_raw_fd(), level, name, value.as_ptr().cast(), len) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether a stream socket is at its urgent mark (SIOCATMARK); false where sockets of its kind have none.
pub fn at_mark(fd: impl AsFd) -> bool {
    const SIOCATMARK: libc::Ioctl = 0x8905;
    let mut n: libc::c_int = 0;
    // SAFETY: SIOCATMARK writes one int to the address given, and `n` lives through the call.
    let r = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), SIOCATMARK, &mut n) };
    r == 0 && n != 0
}
