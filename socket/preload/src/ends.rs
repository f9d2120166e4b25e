//! How a joined connection ends (docs/sockets.md): the pair shows less of it than TCP would, so SO_ERROR and TCP_INFO are asked.

use core::ffi::c_int;
use core::sync::atomic::{AtomicU64, Ordering};

use iopkt_shim::sys::{self, Result};
use iopkt_shim::{ident, ops};
use iopkt_sockproto::PairName;
use libc::ssize_t;

use crate::length;

/// Joined connections whose first write after the peer's close was taken.
static TAKEN: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];

/// The end of a stream: of a joined connection it may be a reset, which the pair does not show. What the call returns.
#[cold]
pub fn ended(fd: c_int) -> Result<usize> {
    let Some(name) = ident::joined(fd) else { return Ok(0) };
    match ops::getsockopt_int(&mut crate::session::Stack, fd, libc::SOL_SOCKET, libc::SO_ERROR) {
        Ok(e) if e > 0 => {
            take(&name);
            Err(e)
        }
        _ => Ok(0),
    }
}

/// What a read of a stream for `len` bytes returned, looked at for [`ended`].
#[inline]
pub fn streamed(fd: c_int, n: ssize_t, len: usize) -> ssize_t {
    if n == 0 && len > 0 {
        return length(ended(fd));
    }
    if n < 0 {
        failed(fd);
    }
    n
}

/// A read failed: after a reset no write is taken any more.
#[cold]
fn failed(fd: c_int) {
    // SAFETY: glibc's own errno of this thread.
    let errno = unsafe { *libc::__errno_location() };
    if errno == libc::ECONNRESET {
        if let Some(name) = ident::joined(fd) {
            take(&name);
        }
        // SAFETY: as above; asking may have changed it.
        unsafe { *libc::__errno_location() = errno };
    }
}

/// This side of a connection has shut its writing half: no write is taken any more.
pub fn ended_here(fd: c_int) {
    if let Some(name) = ident::joined(fd) {
        take(&name);
    }
}

/// A joined connection's next write that the pair refuses is not the first after its peer's end; whether it would have been.
fn take(name: &PairName) -> bool {
    TAKEN[(name.number % 64) as usize].swap(name.number + 1, Ordering::Relaxed) != name.number + 1
}

/// What write(2) or writev(2) of `len` bytes returned, looked at for [`broken`]. The signal has come already: who does not ignore it
/// is not here any more, or has handled it.
#[inline]
pub fn written(fd: c_int, n: ssize_t, len: usize) -> ssize_t {
    // SAFETY: glibc's own errno of this thread.
    if n < 0 && unsafe { *libc::__errno_location() } == libc::EPIPE {
        return length(broken(fd, libc::MSG_NOSIGNAL, len));
    }
    n
}

/// A send that the kernel refused with EPIPE, without a signal. A joined connection's first one after the peer has closed is taken, as
/// TCP does, which cannot know yet; otherwise the signal follows.
#[cold]
pub fn broken(fd: c_int, flags: c_int, len: usize) -> Result<usize> {
    match after_close(fd) {
        Ok(true) => return Ok(len),
        Ok(false) | Err(libc::EPIPE) => {}
        Err(e) => return Err(e),
    }
    if flags & libc::MSG_NOSIGNAL == 0 {
        sys::raise(libc::SIGPIPE);
    }
    Err(libc::EPIPE)
}

/// Whether `fd` is a joined connection whose peer has closed, asked for the first time. An error: how it ended.
fn after_close(fd: c_int) -> Result<bool> {
    // ESTABLISHED and CLOSE_WAIT: this side may still write, so it is the other that ended.
    const OPEN: [u8; 2] = [1, 8];
    let Some(name) = ident::joined(fd) else { return Ok(false) };
    let stack = &mut crate::session::Stack;
    match ops::getsockopt_int(stack, fd, libc::SOL_SOCKET, libc::SO_ERROR) {
        Ok(e) if e > 0 => {
            take(&name);
            return Err(e);
        }
        Ok(_) => {}
        Err(_) => return Ok(false),
    }
    let mut info = [0; 8];
    let known = ops::getsockopt(stack, fd, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info).is_ok();
    Ok(known && OPEN.contains(&info[0]) && take(&name))
}
