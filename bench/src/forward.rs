//! Carries frames between two TAP interfaces: the peer's counterpart of our stack's driver.
//!
//! Two kernels joined by TAPs have the same system calls per frame as our stack on a TAP, and no other TCP in between: the
//! ratio shows our stack, not the TAP.

use iopkt_sys::tap;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::{AsFd, OwnedFd};

/// The hidden subcommand.
pub const COMMAND: &str = "__forward";

/// Frames taken from one side before the other is looked at: as many as a batch of the stack's.
const BATCH: usize = 64;

/// Runs until it is ended. `ends` are `NAMESPACE:INTERFACE`, both made here.
pub fn run(ends: &[String]) -> Result<std::convert::Infallible, String> {
    let [a, b] = ends else { return Err("give two ends".into()) };
    let (a, b) = (open(a)?, open(b)?);
    let mut buf = vec![0u8; 65_536];
    loop {
        let mut fds = [PollFd::new(&a, PollFlags::IN), PollFd::new(&b, PollFlags::IN)];
        poll(&mut fds, None).map_err(|e| format!("poll: {e}"))?;
        let ready = fds.map(|f| !f.revents().is_empty());
        if ready[0] {
            carry(&a, &b, &mut buf)?;
        }
        if ready[1] {
            carry(&b, &a, &mut buf)?;
        }
    }
}

/// A TAP interface, `NAMESPACE:INTERFACE`, made there.
pub fn open(end: &str) -> Result<OwnedFd, String> {
    let (ns, ifname) = end.split_once(':').ok_or("an end is NAMESPACE:INTERFACE")?;
    let path = format!("/run/netns/{ns}");
    let fd = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| format!("{path}: {e}"))?;
    move_into_link_name_space(fd.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|e| format!("{path}: {e}"))?;
    tap::open(ifname).map_err(|e| e.to_string())
}

fn carry(from: &OwnedFd, to: &OwnedFd, buf: &mut [u8]) -> Result<(), String> {
    for _ in 0..BATCH {
        match rustix::io::read(from, &mut *buf) {
            // The other end may be down, or full: a cable loses the frame.
            Ok(n) => drop(rustix::io::write(to, &buf[..n])),
            Err(Errno::AGAIN) => break,
            // Not up yet.
            Err(Errno::IO) => break,
            Err(e) => return Err(format!("read: {e}")),
        }
    }
    Ok(())
}
