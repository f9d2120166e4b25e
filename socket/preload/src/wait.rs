//! Waiting, in calls of the kernel that block on the pair itself.
//!
//! poll(2) would do, but it is never restarted after a signal and knows no SO_RCVTIMEO. recv(2) and send(2) on the pair
//! behave in every respect as accept(2) and connect(2) on a kernel's socket do.

use core::ffi::c_int;

use iopkt_shim::sys::{self, Result};

/// Until something is to be read; nothing is taken. `Ok(false)` at the end of the stream. EAGAIN in non-blocking mode or
/// when SO_RCVTIMEO ran out, EINTR.
pub fn readable(fd: c_int) -> Result<bool> {
    let mut byte = 0u8;
    // SAFETY: one byte is ours; without an address the sixth register is free for the mark.
    let n = unsafe {
        sys::marked(libc::SYS_recvfrom, [fd as usize, &raw mut byte as usize, 1, libc::MSG_PEEK as usize, 0])?
    };
    Ok(n > 0)
}

/// Until there is room to write or the pair is broken; nothing is written. EAGAIN in non-blocking mode or when
/// SO_SNDTIMEO ran out, EINTR.
///
/// The kernel waits for room first and reads the bytes then; there are none at address 0, so it ends with EFAULT.
pub fn writable(fd: c_int) -> Result<()> {
    // SAFETY: the null pointer is only looked at by the kernel, which answers EFAULT.
    match unsafe { sys::marked(libc::SYS_sendto, [fd as usize, 0, 1, libc::MSG_NOSIGNAL as usize, 0]) } {
        Err(e @ (libc::EAGAIN | libc::EINTR)) => Err(e),
        _ => Ok(()),
    }
}
