//! Receive rings of packet sockets, for programs that use libpcap.
//!
//! The ring is memory that the stack shares with the program; mmap(2) of the socket becomes mmap(2) of that memory. What is left
//! is poll(2): a kernel's packet socket is readable while the block that was filled last is the program's, and the program gives it back by
//! writing to memory, which nobody sees. So before this process waits for anything it looks at its rings itself: a
//! descriptor that is readable although everything was given back is emptied, one that is not although there is something is
//! made so by the stack. A process without a ring pays a load and a branch.

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use iopkt_shim::sys::{self, Result};
use iopkt_shim::{ident, ops};
use iopkt_sockproto::PairName;
use libc::{epoll_event, fd_set, nfds_t, pollfd, sigset_t, timespec, timeval};

use crate::session::Stack;
use crate::{datagram, fail, real};

/// What lies behind the ring (see `iopkt_sockproto::Op::Ring`), bytes.
const PAGE: usize = 4096;

/// One ring of this process.
struct Ring {
    /// Number of the pair; 0: free.
    number: AtomicU64,
    fd: AtomicI32,
    /// Our own mapping, which the program cannot take away, and the ring's length.
    at: AtomicPtr<u8>,
    len: AtomicUsize,
}

static RINGS: [Ring; 8] = [const {
    Ring {
        number: AtomicU64::new(0),
        fd: AtomicI32::new(-1),
        at: AtomicPtr::new(core::ptr::null_mut()),
        len: AtomicUsize::new(0),
    }
}; 8];

/// How many there are.
static COUNT: AtomicU32 = AtomicU32::new(0);

impl Ring {
    fn word(&self, at: usize) -> u32 {
        let (base, len) = (self.at.load(Ordering::Acquire), self.len.load(Ordering::Relaxed));
        if base.is_null() || !at.is_multiple_of(4) || at + 4 > len + PAGE {
            return 0;
        }
        // SAFETY: inside our own mapping, which stays; words of it are only ever read as atomics here.
        unsafe { AtomicU32::from_ptr(base.add(at).cast()).load(Ordering::Acquire) }
    }

    /// Whether the unit that was filled last is the program's.
    fn waits(&self) -> bool {
        let len = self.len.load(Ordering::Relaxed);
        self.word(self.word(len + 4) as usize) != 0
    }

    fn release(&self) {
        if self.number.swap(0, Ordering::AcqRel) != 0 {
            COUNT.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Makes the descriptor readable exactly if something waits.
    fn settle(&self) {
        let (number, fd) = (self.number.load(Ordering::Acquire), self.fd.load(Ordering::Relaxed));
        if number == 0 {
            return;
        }
        if ident::pair(fd).is_none_or(|p| p.number != number) {
            return self.release(); // closed, and the number may be another's
        }
        let ready = || sys::poll1(fd, libc::POLLIN, 0).is_ok_and(|e| e & libc::POLLIN != 0);
        if !self.waits() && ready() {
            let mut byte = 0u8;
            let a = [fd as usize, &raw mut byte as usize, 1, libc::MSG_DONTWAIT as usize, 0];
            // SAFETY: one byte is ours. The end of the conversation reads as 0 for ever: a few times are enough.
            let take = || unsafe { sys::marked(libc::SYS_recvfrom, a) };
            for _ in 0..4 {
                if take().is_err() {
                    break;
                }
            }
        }
        if self.waits() && !ready() {
            let _ = ops::ring_look(&mut Stack, fd);
        }
    }
}

/// Before this process waits.
#[inline]
fn settle() {
    if COUNT.load(Ordering::Relaxed) != 0 {
        // SAFETY: errno of this thread is saved and put back.
        let errno = unsafe { *libc::__errno_location() };
        RINGS.iter().for_each(Ring::settle);
        // SAFETY: as above.
        unsafe { *libc::__errno_location() = errno };
    }
}

/// The ring of a socket is gone, or another one comes.
pub fn forget(name: &PairName) {
    for r in RINGS.iter().filter(|r| r.number.load(Ordering::Relaxed) == name.number) {
        r.release();
    }
}

fn map(addr: usize, len: usize, prot: c_int, flags: c_int, fd: c_int) -> Result<usize> {
    // SAFETY: what the program asked for, or an address of the kernel's choice.
    unsafe { sys::call(libc::SYS_mmap, [addr, len, prot as usize, flags as usize, fd as usize, 0]) }
}

/// mmap(2) of a packet socket.
fn map_ring(addr: usize, len: usize, prot: c_int, flags: c_int, fd: c_int, name: &PairName) -> Result<usize> {
    let (memory, ring) = ops::ring(&mut Stack, fd)?;
    let r = place(addr, len, prot, flags, fd, name, memory, ring);
    sys::close(memory);
    r
}

#[allow(clippy::too_many_arguments)] // mmap(2)'s, and what they mean
fn place(
    addr: usize,
    len: usize,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    name: &PairName,
    memory: c_int,
    ring: usize,
) -> Result<usize> {
    if len > ring {
        return Err(libc::EINVAL);
    }
    forget(name);
    // A slot is taken by its descriptor's number first: nobody looks at it before it has the pair's.
    let free = |r: &&Ring| {
        r.number.load(Ordering::Relaxed) == 0
            && r.fd.compare_exchange(-1, fd, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    };
    let slot = RINGS.iter().find(free);
    let slot = slot.or_else(|| {
        let stale = |r: &&Ring| r.number.load(Ordering::Relaxed) == 0;
        RINGS.iter().find(stale).inspect(|r| r.fd.store(fd, Ordering::Relaxed))
    });
    let slot = slot.ok_or(libc::ENOMEM)?;
    let own = map(0, ring + PAGE, libc::PROT_READ, libc::MAP_SHARED, memory)?;
    let at = map(addr, len, prot, flags, memory);
    let unmap = |at: usize, len: usize| {
        // SAFETY: a mapping of ours that nobody looks at.
        let _ = unsafe { sys::call(libc::SYS_munmap, [at, len, 0, 0, 0, 0]) };
    };
    if at.is_err() {
        unmap(own, ring + PAGE);
        slot.fd.store(-1, Ordering::Relaxed);
        return at;
    }
    let (old, old_len) =
        (slot.at.swap(core::ptr::null_mut(), Ordering::AcqRel), slot.len.load(Ordering::Relaxed));
    if !old.is_null() {
        unmap(old as usize, old_len + PAGE);
    }
    slot.len.store(ring, Ordering::Relaxed);
    slot.at.store(own as *mut u8, Ordering::Release);
    slot.number.store(name.number, Ordering::Release);
    COUNT.fetch_add(1, Ordering::Relaxed);
    at
}

/// mmap(2).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap(
    addr: *mut c_void,
    len: usize,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: libc::off_t,
) -> *mut c_void {
    let ring = flags & libc::MAP_SHARED != 0 && fd >= 0 && offset == 0;
    let r = match if ring { datagram::pair(fd) } else { None } {
        Some(p) => map_ring(addr as usize, len, prot, flags, fd, &p),
        // SAFETY: the program's own arguments.
        None => unsafe {
            let a = [addr as usize, len, prot as usize, flags as usize, fd as usize, offset as usize];
            sys::call(libc::SYS_mmap, a)
        },
    };
    match r {
        Ok(at) => at as *mut c_void,
        Err(e) => {
            fail(e);
            libc::MAP_FAILED
        }
    }
}

/// mmap64(3).
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap64(
    addr: *mut c_void,
    len: usize,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: libc::off_t,
) -> *mut c_void {
    // SAFETY: the program's arguments.
    unsafe { mmap(addr, len, prot, flags, fd, offset) }
}

macro_rules! waits {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*);)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Safety
            /// As in C.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($arg: $ty),*) -> c_int {
                settle();
                // SAFETY: the program's arguments.
                unsafe { real::$name($($arg),*) }
            }
        )*
    };
}

waits! {
    /// poll(2).
    poll(fds: *mut pollfd, n: nfds_t, timeout: c_int);
    /// ppoll(2).
    ppoll(fds: *mut pollfd, n: nfds_t, timeout: *const timespec, mask: *const sigset_t);
    /// select(2).
    select(n: c_int, r: *mut fd_set, w: *mut fd_set, e: *mut fd_set, timeout: *mut timeval);
    /// pselect(2).
    pselect(n: c_int, r: *mut fd_set, w: *mut fd_set, e: *mut fd_set, timeout: *const timespec, mask: *const sigset_t);
    /// epoll_wait(2).
    epoll_wait(fd: c_int, events: *mut epoll_event, n: c_int, timeout: c_int);
    /// epoll_pwait(2).
    epoll_pwait(fd: c_int, events: *mut epoll_event, n: c_int, timeout: c_int, mask: *const sigset_t);
}

/// poll(2) of programs built with _FORTIFY_SOURCE.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __poll_chk(fds: *mut pollfd, n: nfds_t, timeout: c_int, room: usize) -> c_int {
    if (n as usize).saturating_mul(size_of::<pollfd>()) > room {
        // SAFETY: ends the process, as glibc does.
        unsafe { libc::abort() }
    }
    // SAFETY: the program's arguments.
    unsafe { poll(fds, n, timeout) }
}

/// ppoll(2) of programs built with _FORTIFY_SOURCE.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __ppoll_chk(
    fds: *mut pollfd,
    n: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
    room: usize,
) -> c_int {
    if (n as usize).saturating_mul(size_of::<pollfd>()) > room {
        // SAFETY: ends the process, as glibc does.
        unsafe { libc::abort() }
    }
    // SAFETY: the program's arguments.
    unsafe { ppoll(fds, n, timeout, mask) }
}
