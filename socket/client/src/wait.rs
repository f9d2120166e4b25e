//! Waiting for a descriptor.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Waits until `fd` is readable or writable or has an error. False: the time is over.
pub(crate) fn wait(fd: impl AsFd, write: bool, timeout: Option<Duration>) -> io::Result<bool> {
    let end = timeout.map(|t| Instant::now() + t);
    loop {
        let left = end.map(|e| e.saturating_duration_since(Instant::now()));
        let ts = left
            .map(|d| Timespec { tv_sec: d.as_secs().min(1 << 40) as i64, tv_nsec: d.subsec_nanos().into() });
        let what = if write { PollFlags::OUT } else { PollFlags::IN };
        match poll(&mut [PollFd::new(&fd, what)], ts.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Whether the other side has hung up.
pub(crate) fn hung_up(fd: impl AsFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut p = [PollFd::new(&fd, PollFlags::empty())];
    poll(&mut p, Some(&now)).is_ok_and(|_| p[0].revents().contains(PollFlags::HUP))
}
