//! Streams that are not connected: Linux refuses to read from them (ENOTCONN) and to write to them (EPIPE), which their pair, connected
//! from the first, does not.
//!
//! A bit for each small descriptor number says that socket(2) made a stream there that has not been connected since. It is a
//! hint: descriptors are closed and given anew unseen, so the stack is asked before anything is refused. A process
//! pays a load and a branch for each call. Descriptors that came by dup(2) or from another process are not marked.

use core::ffi::c_int;
use core::sync::atomic::{AtomicU64, Ordering};

use iopkt_shim::sys::Result;
use iopkt_shim::{ident, ops};

use crate::session::Stack;

/// Numbers that have a bit.
const NUMBERS: usize = 4096;

static FRESH: [AtomicU64; NUMBERS / 64] = [const { AtomicU64::new(0) }; NUMBERS / 64];

#[inline]
fn word(fd: c_int) -> Option<(&'static AtomicU64, u64)> {
    let n = usize::try_from(fd).ok()?;
    Some((FRESH.get(n / 64)?, 1 << (n % 64)))
}

/// socket(2) made a stream.
pub fn made(fd: c_int) {
    if let Some((w, bit)) = word(fd) {
        w.fetch_or(bit, Ordering::Relaxed);
    }
}

/// What is there now is something else, or is connected, or on its way.
pub fn gone(fd: c_int) {
    if let Some((w, bit)) = word(fd)
        && w.load(Ordering::Relaxed) & bit != 0
    {
        w.fetch_and(!bit, Ordering::Relaxed);
    }
}

/// Whether a call that moves data must ask.
#[inline]
pub fn maybe(fd: c_int) -> bool {
    word(fd).is_some_and(|(w, bit)| w.load(Ordering::Relaxed) & bit != 0)
}

/// Refuses a read.
///
/// # Errors
/// ENOTCONN.
#[inline]
pub fn may_read(fd: c_int) -> Result<()> {
    if maybe(fd) && unconnected(fd) { Err(libc::ENOTCONN) } else { Ok(()) }
}

/// Refuses a write.
///
/// # Errors
/// EPIPE; the signal is the caller's business.
#[inline]
pub fn may_write(fd: c_int) -> Result<()> {
    if maybe(fd) && unconnected(fd) { Err(libc::EPIPE) } else { Ok(()) }
}

#[cold]
fn unconnected(fd: c_int) -> bool {
    let stream = ident::pair(fd).is_some_and(|p| p.stream);
    if stream && ops::is_unconnected(&mut Stack, fd) {
        return true;
    }
    gone(fd);
    false
}
