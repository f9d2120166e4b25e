//! Waiting.
//!
//! A wait for data is the kernel's own blocking recv(2) on the pair, which behaves in every respect as accept(2) on a
//! kernel's socket does: O_NONBLOCK, SO_RCVTIMEO, EINTR, SA_RESTART.
//!
//! For room to write there is no such call (send(2) waits for less than poll(2) calls writable), and poll(2) is never
//! restarted after a signal. So signals are held back while it waits, a signalfd tells that one has come, and what its
//! handler's SA_RESTART says decides, as in the kernel.

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

/// The kernel's `struct sigaction`, as rt_sigaction(2) has it (x86_64, aarch64).
#[repr(C)]
#[derive(Default)]
struct Action {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

/// Whether the handler of one of these signals ends a call with EINTR. `limited`: a call with a time-out is not restarted.
fn interrupts(pending: u64, limited: bool) -> bool {
    (1..=64).filter(|s| pending & (1 << (s - 1)) != 0).any(|signal: usize| {
        let mut a = Action::default();
        // SAFETY: the kernel writes the structure; the signal set is 8 bytes.
        let r = unsafe { sys::call(libc::SYS_rt_sigaction, [signal, 0, &raw mut a as usize, 8, 0, 0]) };
        let handled = r.is_ok() && a.handler != libc::SIG_DFL && a.handler != libc::SIG_IGN;
        handled && (limited || a.flags & libc::SA_RESTART as u64 == 0)
    })
}

/// SO_SNDTIMEO as an absolute time, milliseconds of the real-time clock; `None` for ever.
fn deadline(fd: c_int) -> Option<u64> {
    let mut tv = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let mut len = size_of::<libc::timeval>() as libc::socklen_t;
    let a = [
        fd as usize,
        libc::SOL_SOCKET as usize,
        libc::SO_SNDTIMEO as usize,
        &raw mut tv as usize,
        &raw mut len as usize,
    ];
    // SAFETY: tv and len live across the call.
    unsafe { sys::marked(libc::SYS_getsockopt, a).ok()? };
    let ms = (tv.tv_sec as u64).saturating_mul(1000).saturating_add(tv.tv_usec as u64 / 1000);
    (ms > 0).then(|| (sys::realtime() / 1_000_000).saturating_add(ms))
}

/// Until there is room to write or the pair is broken. EAGAIN when SO_SNDTIMEO ran out, EINTR.
pub fn writable(fd: c_int) -> Result<()> {
    let end = deadline(fd);
    loop {
        let left = end.map(|e| e.saturating_sub(sys::realtime() / 1_000_000).min(i32::MAX as u64) as c_int);
        let held = sys::set_signal_mask(u64::MAX);
        let ready = wait_held(fd, !held, left.unwrap_or(-1));
        let pending = sys::pending_signals() & !held;
        let interrupted = interrupts(pending, end.is_some());
        sys::set_signal_mask(held); // handlers run here
        if ready? {
            return Ok(());
        }
        if interrupted {
            return Err(libc::EINTR);
        }
        if left == Some(0) {
            return Err(libc::EAGAIN);
        }
    }
}

/// With signals held back: until `fd` is ready (`Ok(true)`), one of `signals` has come, or the time is over.
fn wait_held(fd: c_int, signals: u64, timeout_ms: c_int) -> Result<bool> {
    let flags = (libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) as usize;
    // SAFETY: the kernel reads the 8-byte set.
    let come = unsafe {
        sys::call(libc::SYS_signalfd4, [usize::MAX, &raw const signals as usize, 8, flags, 0, 0])
            .map(|f| f as c_int)
    };
    // Without a descriptor to spare signals are looked for now and then.
    let (come, step) = match come {
        Ok(f) => (f, timeout_ms),
        Err(_) => (-1, if timeout_ms < 0 { 100 } else { timeout_ms.min(100) }),
    };
    let mut fds = [
        libc::pollfd { fd, events: libc::POLLOUT, revents: 0 },
        libc::pollfd { fd: come, events: libc::POLLIN, revents: 0 },
    ];
    let r = sys::poll(&mut fds, step);
    if come >= 0 {
        sys::close(come);
    }
    r.map(|_| fds[0].revents != 0)
}
