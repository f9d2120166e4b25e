//! Raw system calls: no errno, no thread-local storage, no cancellation point, nothing a signal handler could not do.
//!
//! Results are `Ok(value)` or `Err(errno)`. Calls that the runner's filter knows carry [`crate::MAGIC`].

use core::arch::asm;
use core::ffi::{c_int, c_long, c_void};

use crate::MAGIC;

/// A call's result: the value, or the errno.
pub type Result<T> = core::result::Result<T, c_int>;

/// Six-argument system call; the kernel's raw result (negative errno on failure).
///
/// # Safety
/// The arguments must be what the call `nr` expects: pointers valid for the kernel's accesses.
#[inline]
pub unsafe fn raw(nr: c_long, a: [usize; 6]) -> isize {
    let ret: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the x86_64 syscall convention (syscall(2)); rcx and r11 are clobbered by the instruction.
    unsafe {
        asm!("syscall", inlateout("rax") nr as isize => ret, in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], in("r9") a[5], lateout("rcx") _, lateout("r11") _,
            options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the aarch64 syscall convention (syscall(2)).
    unsafe {
        asm!("svc 0", in("x8") nr, inlateout("x0") a[0] as isize => ret, in("x1") a[1], in("x2") a[2],
            in("x3") a[3], in("x4") a[4], in("x5") a[5], options(nostack));
    }
    ret
}

/// As [`raw`], the result split into value and errno.
///
/// # Safety
/// As [`raw`].
#[inline]
pub unsafe fn call(nr: c_long, a: [usize; 6]) -> Result<usize> {
    // SAFETY: the caller's promise.
    let r = unsafe { raw(nr, a) };
    if r < 0 { Err(-r as c_int) } else { Ok(r as usize) }
}

/// As [`call`] with up to five arguments and the mark that lets it pass the runner's filter.
///
/// # Safety
/// As [`raw`].
#[inline]
pub unsafe fn marked(nr: c_long, a: [usize; 5]) -> Result<usize> {
    // SAFETY: the caller's promise; the calls marked so do not use the sixth register.
    unsafe { call(nr, [a[0], a[1], a[2], a[3], a[4], MAGIC as usize]) }
}

/// close(2); errors are of no use to anybody.
pub fn close(fd: c_int) {
    // SAFETY: no memory is involved; the caller owns the descriptor.
    let _ = unsafe { call(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]) };
}

/// getpid(2), really asked: a cached value would lie after fork or vfork.
pub fn getpid() -> c_int {
    // SAFETY: no arguments.
    unsafe { raw(libc::SYS_getpid, [0; 6]) as c_int }
}

/// Sends the calling thread a signal.
pub fn raise(signal: c_int) {
    // SAFETY: plain integers.
    unsafe {
        let tid = raw(libc::SYS_gettid, [0; 6]) as usize;
        raw(libc::SYS_tgkill, [getpid() as usize, tid, signal as usize, 0, 0, 0]);
    }
}

/// fcntl(2) with an integer argument.
pub fn fcntl(fd: c_int, cmd: c_int, arg: usize) -> Result<c_int> {
    // SAFETY: used with commands that take no pointer.
    unsafe { call(libc::SYS_fcntl, [fd as usize, cmd as usize, arg, 0, 0, 0]).map(|v| v as c_int) }
}

/// Whether O_NONBLOCK is set on the open file.
pub fn is_nonblocking(fd: c_int) -> Result<bool> {
    Ok(fcntl(fd, libc::F_GETFL, 0)? & libc::O_NONBLOCK != 0)
}

/// Sets O_NONBLOCK on the open file.
pub fn set_nonblocking(fd: c_int) -> Result<()> {
    let flags = fcntl(fd, libc::F_GETFL, 0)?;
    fcntl(fd, libc::F_SETFL, (flags | libc::O_NONBLOCK) as usize).map(drop)
}

/// poll(2); how many entries have events, 0 when `timeout_ms` ran out (negative: for ever). Negative descriptors are skipped.
pub fn poll(fds: &mut [libc::pollfd], timeout_ms: c_int) -> Result<usize> {
    let ts = libc::timespec {
        tv_sec: libc::time_t::from(timeout_ms / 1000),
        tv_nsec: libc::c_long::from(timeout_ms % 1000) * 1_000_000,
    };
    let tsp = if timeout_ms < 0 { core::ptr::null() } else { &raw const ts };
    // SAFETY: the entries and the time live across the call.
    unsafe { call(libc::SYS_ppoll, [fds.as_mut_ptr() as usize, fds.len(), tsp as usize, 0, 8, 0]) }
}

/// poll(2) on one descriptor; `Ok(0)` when `timeout_ms` ran out, else the returned events.
pub fn poll1(fd: c_int, events: i16, timeout_ms: c_int) -> Result<i16> {
    let mut p = [libc::pollfd { fd, events, revents: 0 }];
    let n = poll(&mut p, timeout_ms)?;
    Ok(if n == 0 { 0 } else { p[0].revents })
}

/// Sets this thread's signal mask (bit n-1: signal n is held back); returns the old one.
pub fn set_signal_mask(new: u64) -> u64 {
    let mut old = 0u64;
    // SAFETY: the kernel's signal set is 8 bytes; both live across the call.
    let _ = unsafe {
        call(
            libc::SYS_rt_sigprocmask,
            [libc::SIG_SETMASK as usize, &raw const new as usize, &raw mut old as usize, 8, 0, 0],
        )
    };
    old
}

/// The signals that are held back from this thread and have come.
pub fn pending_signals() -> u64 {
    let mut set = 0u64;
    // SAFETY: the kernel's signal set is 8 bytes.
    let _ = unsafe { call(libc::SYS_rt_sigpending, [&raw mut set as usize, 8, 0, 0, 0, 0]) };
    set
}

/// The kernel's own getsockopt(2), for an int at SOL_SOCKET level.
pub fn sockopt_int(fd: c_int, name: c_int) -> Result<c_int> {
    let mut value: c_int = 0;
    let mut len: libc::socklen_t = 4;
    // SAFETY: value and len live across the call.
    unsafe {
        marked(
            libc::SYS_getsockopt,
            [
                fd as usize,
                libc::SOL_SOCKET as usize,
                name as usize,
                &raw mut value as usize,
                &raw mut len as usize,
            ],
        )?;
    }
    Ok(value)
}

/// sendmsg(2) past the filter.
///
/// # Safety
/// `msg` must be a valid message header.
pub unsafe fn sendmsg(fd: c_int, msg: *const libc::msghdr, flags: c_int) -> Result<usize> {
    // SAFETY: the caller's promise.
    unsafe { marked(libc::SYS_sendmsg, [fd as usize, msg as usize, flags as usize, 0, 0]) }
}

/// recvmsg(2) past the filter.
///
/// # Safety
/// `msg` must be a valid message header for writing.
pub unsafe fn recvmsg(fd: c_int, msg: *mut libc::msghdr, flags: c_int) -> Result<usize> {
    // SAFETY: the caller's promise.
    unsafe { marked(libc::SYS_recvmsg, [fd as usize, msg as usize, flags as usize, 0, 0]) }
}

/// The file's identity, `(st_dev, st_ino)`.
pub fn identity(fd: c_int) -> Result<(u64, u64)> {
    // SAFETY: all-zero is a valid stat.
    let mut st: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: st lives across the call.
    unsafe { call(libc::SYS_fstat, [fd as usize, &raw mut st as usize, 0, 0, 0, 0])? };
    Ok((st.st_dev as u64, st.st_ino as u64))
}

/// The real-time clock, nanoseconds since 1970.
pub fn realtime() -> u64 {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: ts lives across the call.
    let _ = unsafe {
        call(libc::SYS_clock_gettime, [libc::CLOCK_REALTIME as usize, &raw mut ts as usize, 0, 0, 0, 0])
    };
    (ts.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(ts.tv_nsec as u64)
}

/// A pointer as an argument register.
pub fn ptr<T>(p: *const T) -> usize {
    p.cast::<c_void>() as usize
}
