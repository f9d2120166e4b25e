//! A calling thread: its descriptors and its memory.
//!
//! All of this needs the right to trace the thread (ptrace(2), "Ptrace access mode checking"). What is read belongs to the
//! caller only if the notification is still valid afterwards; the supervisor checks that before it acts on it.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// errno, of ours or for the program.
pub type Errno = i32;

/// `PIDFD_THREAD` (Linux 6.9): a pidfd for a thread, whose descriptors need not be its process's.
const PIDFD_THREAD: libc::c_long = libc::O_EXCL as libc::c_long;

/// A duplicate of descriptor `fd` of thread `tid`.
pub fn descriptor(tid: i32, fd: i32) -> Result<OwnedFd, Errno> {
    let pidfd = pidfd(tid)?;
    // SAFETY: plain integers; the descriptor is fresh.
    unsafe {
        let r = libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0);
        if r < 0 { Err(last_errno()) } else { Ok(OwnedFd::from_raw_fd(r as i32)) }
    }
}

fn last_errno() -> Errno {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

fn pidfd(tid: i32) -> Result<OwnedFd, Errno> {
    let open = |pid: i32, flags: libc::c_long| {
        // SAFETY: plain integers; the descriptor is fresh.
        unsafe {
            let r = libc::syscall(libc::SYS_pidfd_open, pid, flags);
            if r < 0 { Err(last_errno()) } else { Ok(OwnedFd::from_raw_fd(r as i32)) }
        }
    };
    open(tid, PIDFD_THREAD).or_else(|e| match e {
        libc::EINVAL => open(process_of(tid).ok_or(libc::ESRCH)?, 0),
        e => Err(e),
    })
}

/// The process that thread `tid` belongs to.
fn process_of(tid: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    status.lines().find_map(|l| l.strip_prefix("Tgid:"))?.trim().parse().ok()
}

/// A signal that waits for a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signals {
    /// For this very thread.
    Surely,
    /// For its process, which has other threads that may take it.
    Perhaps,
}

/// Whether a signal that the thread does not block waits for it (proc(5), `SigPnd` and its neighbours).
pub fn signals(tid: i32) -> Option<Signals> {
    pending(&std::fs::read_to_string(format!("/proc/{tid}/status")).ok()?)
}

fn pending(status: &str) -> Option<Signals> {
    let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
    let set = |name: &str| field(name).and_then(|v| u64::from_str_radix(v, 16).ok()).unwrap_or(0);
    let open = !set("SigBlk:");
    if set("SigPnd:") & open != 0 {
        return Some(Signals::Surely);
    }
    if set("ShdPnd:") & open == 0 {
        return None;
    }
    Some(if field("Threads:") == Some("1") { Signals::Surely } else { Signals::Perhaps })
}

/// Whether the thread's descriptor is close-on-exec.
pub fn is_cloexec(tid: i32, fd: i32) -> bool {
    let info = std::fs::read_to_string(format!("/proc/{tid}/fdinfo/{fd}")).unwrap_or_default();
    let flags = info.lines().find_map(|l| l.strip_prefix("flags:"));
    flags.and_then(|f| i32::from_str_radix(f.trim(), 8).ok()).is_some_and(|f| f & libc::O_CLOEXEC != 0)
}

/// The program's name for `-v`.
pub fn name(tid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{tid}/comm")).map(|s| s.trim_end().to_string()).unwrap_or_default()
}

/// Reads exactly `buf.len()` bytes at `addr`; EFAULT if that is not possible.
pub fn read(tid: i32, addr: u64, buf: &mut [u8]) -> Result<(), Errno> {
    if buf.is_empty() {
        return Ok(());
    }
    let local = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    let remote = libc::iovec { iov_base: addr as *mut libc::c_void, iov_len: buf.len() };
    // SAFETY: the local vector is ours; the remote one is checked by the kernel.
    let n = unsafe { libc::process_vm_readv(tid, &raw const local, 1, &raw const remote, 1, 0) };
    whole(n, buf.len())
}

/// Writes `buf` at `addr`; EFAULT if that is not possible.
pub fn write(tid: i32, addr: u64, buf: &[u8]) -> Result<(), Errno> {
    if buf.is_empty() {
        return Ok(());
    }
    let local = libc::iovec { iov_base: buf.as_ptr().cast_mut().cast(), iov_len: buf.len() };
    let remote = libc::iovec { iov_base: addr as *mut libc::c_void, iov_len: buf.len() };
    // SAFETY: the local vector is only read; the remote one is checked by the kernel.
    let n = unsafe { libc::process_vm_writev(tid, &raw const local, 1, &raw const remote, 1, 0) };
    whole(n, buf.len())
}

fn whole(n: isize, want: usize) -> Result<(), Errno> {
    match usize::try_from(n) {
        Ok(n) if n == want => Ok(()),
        Ok(_) => Err(libc::EFAULT),
        Err(_) => Err(last_errno()),
    }
}

/// Reads a plain structure.
///
/// # Safety
/// `T` must be valid for every bit pattern.
pub unsafe fn read_struct<T: Copy>(tid: i32, addr: u64) -> Result<T, Errno> {
    let mut v = std::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: the bytes of v, zeroed above, are ours; any pattern is a T by the caller's promise.
    unsafe {
        read(tid, addr, std::slice::from_raw_parts_mut(v.as_mut_ptr().cast(), size_of::<T>()))?;
        Ok(v.assume_init())
    }
}

/// Reads `count` elements of a `struct iovec` array; EMSGSIZE beyond IOV_MAX, as the kernel has it.
pub fn read_iovecs(tid: i32, addr: u64, count: usize) -> Result<Vec<libc::iovec>, Errno> {
    if count > 1024 {
        return Err(libc::EMSGSIZE);
    }
    let mut v = vec![libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; count];
    // SAFETY: the vector's bytes are ours; any pattern is an iovec.
    let bytes = unsafe {
        std::slice::from_raw_parts_mut(v.as_mut_ptr().cast::<u8>(), count * size_of::<libc::iovec>())
    };
    read(tid, addr, bytes)?;
    Ok(v)
}

/// Puts the bytes that `iov` names one behind the other, at most `limit` of them.
pub fn gather(tid: i32, iov: &[libc::iovec], limit: usize) -> Result<Vec<u8>, Errno> {
    let mut out = Vec::new();
    for v in iov {
        let n = v.iov_len.min(limit - out.len());
        let at = out.len();
        out.resize(at + n, 0);
        read(tid, v.iov_base as u64, &mut out[at..])?;
    }
    Ok(out)
}

/// Spreads `data` over what `iov` names; returns the bytes that had room.
pub fn scatter(tid: i32, iov: &[libc::iovec], data: &[u8]) -> Result<usize, Errno> {
    let mut done = 0;
    for v in iov {
        let n = v.iov_len.min(data.len() - done);
        write(tid, v.iov_base as u64, &data[done..done + n])?;
        done += n;
    }
    Ok(done)
}

/// The process of a thread; 0 if it is gone.
pub fn process(tid: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
    let of = status.lines().find_map(|l| l.strip_prefix("Tgid:"));
    of.and_then(|p| p.trim().parse().ok()).unwrap_or(0)
}

/// Whether a thread may do what a capability of this number allows, or has the supervisor's own user: what it would be let do if it
/// asked the stack itself.
pub fn may(tid: i32, cap: u32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{tid}/status")) else { return false };
    let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
    let bits = field("CapEff:").and_then(|v| u64::from_str_radix(v, 16).ok());
    // SAFETY: always succeeds.
    let me = unsafe { libc::geteuid() };
    let uid = field("Uid:").and_then(|v| v.split_whitespace().nth(1)).and_then(|v| v.parse::<u32>().ok());
    // Capabilities are those of the thread's own user namespace: in one that it made itself they say nothing about us.
    let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/user")).ok();
    let same = || namespace(&tid.to_string()).is_some_and(|n| Some(n) == namespace("self"));
    let capable = bits.is_some_and(|b| b >> cap & 1 != 0) && same();
    capable || uid == Some(me)
}

#[cfg(test)]
mod tests {
    use super::{Signals, pending};

    #[test]
    fn a_signal_counts_if_it_is_not_blocked() {
        let status = |threads: u32, own: u64, shared: u64, blocked: u64| {
            format!(
                "Name:\tx\nThreads:\t{threads}\nSigPnd:\t{own:016x}\nShdPnd:\t{shared:016x}\nSigBlk:\t{blocked:016x}\n"
            )
        };
        assert_eq!(pending(&status(1, 0, 0, 0)), None);
        assert_eq!(pending(&status(9, 1 << 63, 0, 0)), Some(Signals::Surely));
        assert_eq!(pending(&status(1, 0, 2, 0)), Some(Signals::Surely));
        assert_eq!(pending(&status(2, 0, 2, 0)), Some(Signals::Perhaps));
        assert_eq!(pending(&status(2, 4, 2, 6)), None);
        assert_eq!(pending(""), None);
    }
}
