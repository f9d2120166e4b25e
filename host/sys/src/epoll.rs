//! Readiness of descriptors: epoll(7), with a token of the caller's choice for each descriptor.

use rustix::event::epoll;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// What to be told of. Errors and hang-ups are always told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest(epoll::EventFlags);

impl Interest {
    /// Nothing but errors and hang-ups.
    pub const NONE: Interest = Interest(epoll::EventFlags::empty());
    /// Readable, or the peer has closed its writing half.
    pub const READ: Interest = Interest(epoll::EventFlags::IN.union(epoll::EventFlags::RDHUP));
    /// Writable.
    pub const WRITE: Interest = Interest(epoll::EventFlags::OUT);
    /// Something has changed (EPOLLPRI), of files that tell so: `/proc/sys/kernel/hostname`.
    pub const CHANGE: Interest = Interest(epoll::EventFlags::PRI);
    /// Both.
    pub const BOTH: Interest = Interest(Self::READ.0.union(Self::WRITE.0));

    /// Told once per change instead of as long as it lasts (EPOLLET).
    #[must_use]
    pub const fn edge(self) -> Interest {
        Interest(self.0.union(epoll::EventFlags::ET))
    }
    /// Told once, then silent until [`Epoll::modify`] (EPOLLONESHOT).
    #[must_use]
    pub const fn oneshot(self) -> Interest {
        Interest(self.0.union(epoll::EventFlags::ONESHOT))
    }
    /// Read and write interest as asked.
    pub const fn of(read: bool, write: bool) -> Interest {
        match (read, write) {
            (false, false) => Self::NONE,
            (true, false) => Self::READ,
            (false, true) => Self::WRITE,
            (true, true) => Self::BOTH,
        }
    }
}

/// One ready descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The token it was added with.
    pub token: u64,
    /// Readable.
    pub read: bool,
    /// Writable.
    pub write: bool,
    /// The peer has closed its writing half (EPOLLRDHUP).
    pub rdhup: bool,
    /// Both directions are over (EPOLLHUP).
    pub hup: bool,
    /// An error is pending (EPOLLERR).
    pub error: bool,
}

/// An epoll instance.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    /// A new one, closed on exec.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn new() -> io::Result<Epoll> {
        Ok(Epoll { fd: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Watches `fd` under `token`.
    ///
    /// # Errors
    /// EEXIST when it is watched already, ENOSPC at the user's limit, EPERM for what cannot be polled.
    pub fn add(&self, fd: impl AsFd, token: u64, what: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.fd, fd, epoll::EventData::new_u64(token), what.0)?)
    }

    /// Changes token and interest of a watched `fd`; arms a one-shot again.
    ///
    /// # Errors
    /// ENOENT when it is not watched.
    pub fn modify(&self, fd: impl AsFd, token: u64, what: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.fd, fd, epoll::EventData::new_u64(token), what.0)?)
    }

    /// Ends the watch. A descriptor whose last copy is closed ends its watch by itself; one that was passed
    /// on does not.
    ///
    /// # Errors
    /// ENOENT when it is not watched.
    pub fn delete(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.fd, fd)?)
    }

    /// Waits until something is ready or `timeout` has passed (`None`: for ever; zero: only looks), and
    /// appends at most `max` events to `out`. A signal ends the wait early with no event.
    ///
    /// The timeout has nanosecond resolution (epoll_pwait2(2)); on kernels before 5.11 it is rounded up to a
    /// millisecond, so that a timer is never looked at too early.
    ///
    /// # Errors
    /// What epoll_wait(2) says, except EINTR.
    pub fn wait(&self, out: &mut Vec<Event>, max: usize, timeout: Option<Duration>) -> io::Result<usize> {
        const MOST: usize = 256;
        let mut raw = [libc::epoll_event { events: 0, u64: 0 }; MOST];
        let n = match self.pwait2(&mut raw[..max.clamp(1, MOST)], timeout) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
            Err(e) => return Err(e),
        };
        out.extend(raw[..n].iter().map(|e| {
            let is = |bit: i32| e.events & bit as u32 != 0;
            Event {
                token: e.u64,
                read: is(libc::EPOLLIN),
                write: is(libc::EPOLLOUT),
                rdhup: is(libc::EPOLLRDHUP),
                hup: is(libc::EPOLLHUP),
                error: is(libc::EPOLLERR),
            }
        }));
        Ok(n)
    }

    fn pwait2(&self, raw: &mut [libc::epoll_event], timeout: Option<Duration>) -> io::Result<usize> {
        let ts = timeout.map(|d| libc::timespec {
            tv_sec: libc::time_t::try_from(d.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: d.subsec_nanos().into(),
        });
        let tsp = ts.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let len = raw.len() as libc::c_int;
        // SAFETY: `raw` is writable for `len` events, `tsp` is null or names `ts`, which lives through the
        // call; the null signal mask leaves the mask alone. The call is made by number because not every
        // libc has a wrapper for it.
        let n = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.fd.as_raw_fd(),
                raw.as_mut_ptr(),
                len,
                tsp,
                std::ptr::null::<libc::sigset_t>(),
                8usize,
            )
        };
        if n >= 0 {
            return Ok(n as usize);
        }
        let e = io::Error::last_os_error();
        if e.raw_os_error() != Some(libc::ENOSYS) {
            return Err(e);
        }
        let ms = timeout.map_or(-1, |d| i32::try_from(d.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX));
        // SAFETY: `raw` is writable for `len` events and lives through the call.
        let n = unsafe { libc::epoll_wait(self.fd.as_raw_fd(), raw.as_mut_ptr(), len, ms) };
        usize::try_from(n).map_err(|_| io::Error::last_os_error())
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
