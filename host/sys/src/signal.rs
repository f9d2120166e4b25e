//! Signals as a descriptor (signalfd(2)), so that they are one more thing an epoll waits for, and the
//! handler for a crash.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Signals of the set, read from a descriptor instead of interrupting a thread.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: sigset_t is plain data; sigemptyset initialises it and sigaddset only fails for numbers that
    // are no signals, which then are not in the set.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for s in signals {
            libc::sigaddset(&mut set, *s);
        }
        set
    }
}

impl Signals {
    /// Blocks `signals` in this thread (threads made later inherit that) and opens a descriptor for them.
    /// Call it before any other thread exists.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn new(signals: &[i32]) -> io::Result<Signals> {
        let set = set_of(signals);
        // SAFETY: `set` is an initialised set; the old mask is not wanted.
        let r = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
        if r != 0 {
            return Err(io::Error::from_raw_os_error(r));
        }
        // SAFETY: -1 asks for a new descriptor; `set` is initialised.
        let fd = unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
        Ok(Signals { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// The next signal that waits, if any.
    pub fn next(&self) -> Option<i32> {
        // SAFETY: signalfd_siginfo is plain data, for which all zeroes is a value.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer is `info`, `size` bytes long; any bytes are a value of it.
        let n = unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut info).cast(), size) };
        (n == size as isize).then_some(info.ssi_signo as i32)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Ignores a signal (SIGPIPE: writes then fail with EPIPE; SIGHUP: the terminal may go).
pub fn ignore(signal: i32) {
    // SAFETY: SIG_IGN is a disposition for every signal; the call fails without effect for bad numbers.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Installs `handler` for the signals of a crash (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT), on a stack of its own for the calling thread. It
/// runs once: the signal's default action is restored before it, so that a second crash, or returning,
/// ends the process with a core file.
///
/// # Errors
/// What sigaltstack(2) and sigaction(2) say.
///
/// # Safety
/// `handler` runs in a signal handler of a process whose memory may be damaged: it may only do what
/// signal-safety(7) allows.
pub unsafe fn on_crash(
    handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void),
) -> io::Result<()> {
    for s in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT] {
        // SAFETY: sigaction is plain data and fully set; the caller vouches for the handler.
        let r = unsafe {
            let mut sa: libc::sigaction = std::mem::zeroed();
            sa.sa_sigaction = handler as *const () as usize;
            sa.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESETHAND | libc::SA_NODEFER;
            libc::sigemptyset(&mut sa.sa_mask);
            libc::sigaction(s, &sa, std::ptr::null_mut())
        };
        if r != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
