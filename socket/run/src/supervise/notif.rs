//! The listener: receiving calls and answering them (seccomp_unotify(2)).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::os;

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` (Linux 6.6): the woken side runs on the waker's CPU, which saves most of a round
/// trip between two CPUs.
const SYNC_WAKE_UP: u64 = 1;

/// A call of the program that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Cookie of this notification.
    pub id: u64,
    /// The calling thread, in our pid namespace.
    pub tid: i32,
    /// The call's number.
    pub nr: libc::c_long,
    /// Its argument registers.
    pub args: [u64; 6],
}

impl Call {
    /// Argument `n` as the int that the call takes.
    pub fn int(&self, n: usize) -> i32 {
        self.args[n] as i32
    }
}

/// The listener's descriptor.
pub struct Listener(OwnedFd);

impl Listener {
    /// Takes the descriptor over and asks for synchronous wake-ups, which older kernels do not have.
    pub fn new(fd: OwnedFd) -> Listener {
        // SAFETY: this request takes a plain number.
        unsafe { libc::ioctl(fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS as _, SYNC_WAKE_UP) };
        Listener(fd)
    }

    /// For epoll.
    pub fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// The next call. `None` if the caller went away between the wake-up and now.
    pub fn receive(&self) -> io::Result<Option<Call>> {
        // SAFETY: all-zero is required by the kernel; it fills the structure.
        unsafe {
            let mut n: libc::seccomp_notif = std::mem::zeroed();
            match os::check(libc::ioctl(self.raw(), libc::SECCOMP_IOCTL_NOTIF_RECV as _, &raw mut n)) {
                Ok(_) => {
                    Ok(Some(Call { id: n.id, tid: n.pid as i32, nr: n.data.nr.into(), args: n.data.args }))
                }
                Err(e) => match e.raw_os_error() {
                    Some(libc::ENOENT | libc::EINTR) => Ok(None),
                    _ => Err(e),
                },
            }
        }
    }

    /// Whether the caller still waits: only then do its pid and memory belong to it.
    pub fn is_valid(&self, id: u64) -> bool {
        // SAFETY: the kernel reads one u64.
        unsafe { libc::ioctl(self.raw(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID as _, &raw const id) == 0 }
    }

    fn respond(&self, id: u64, val: i64, error: i32, flags: u32) -> bool {
        let r = libc::seccomp_notif_resp { id, val, error, flags };
        // SAFETY: the kernel reads the structure.
        unsafe { libc::ioctl(self.raw(), libc::SECCOMP_IOCTL_NOTIF_SEND as _, &raw const r) == 0 }
    }

    /// The call returns `value`; false if the caller no longer waits.
    pub fn value(&self, id: u64, value: i64) -> bool {
        self.respond(id, value, 0, 0)
    }

    /// The call fails with `errno`.
    pub fn errno(&self, id: u64, errno: i32) -> bool {
        self.respond(id, 0, -errno, 0)
    }

    /// The kernel does the call as if nobody had asked.
    pub fn go_on(&self, id: u64) -> bool {
        self.respond(id, 0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32)
    }

    /// The call returns a new descriptor for the open file behind `fd`; the error is the caller's errno, or ENOENT if it no
    /// longer waits.
    pub fn descriptor(&self, id: u64, fd: RawFd, cloexec: bool) -> Result<i32, i32> {
        let a = libc::seccomp_notif_addfd {
            id,
            flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
            srcfd: fd as u32,
            newfd: 0,
            newfd_flags: if cloexec { libc::O_CLOEXEC as u32 } else { 0 },
        };
        // SAFETY: the kernel reads the structure.
        let r = unsafe { libc::ioctl(self.raw(), libc::SECCOMP_IOCTL_NOTIF_ADDFD as _, &raw const a) };
        if r >= 0 { Ok(r) } else { Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)) }
    }

    /// The caller's descriptor `number` becomes the open file behind `fd`; the call goes on waiting.
    pub fn replace(&self, id: u64, fd: RawFd, number: i32, cloexec: bool) -> Result<(), i32> {
        let a = libc::seccomp_notif_addfd {
            id,
            flags: libc::SECCOMP_ADDFD_FLAG_SETFD as u32,
            srcfd: fd as u32,
            newfd: number as u32,
            newfd_flags: if cloexec { libc::O_CLOEXEC as u32 } else { 0 },
        };
        // SAFETY: the kernel reads the structure.
        let r = unsafe { libc::ioctl(self.raw(), libc::SECCOMP_IOCTL_NOTIF_ADDFD as _, &raw const a) };
        if r >= 0 { Ok(()) } else { Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)) }
    }
}
