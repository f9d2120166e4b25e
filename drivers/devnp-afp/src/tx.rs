//! Frames to the kernel, up to 32 with a system call (sendmmsg(2)).

use iopkt_linuxif::counters::Counters;
use iopkt_linuxif::vnet;
use iopkt_sdk::{Mbuf, Port, TxQueue};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd};

/// Frames of a system call.
const MOST: usize = 32;

/// Frames that have been taken from the stack and not yet by the kernel.
#[derive(Default)]
pub(crate) struct Writer {
    waiting: Vec<Mbuf>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// All are gone.
    All,
    /// The kernel takes no more for now.
    Full,
}

impl Writer {
    /// Drops what waits.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// Sends what waits and what the queue holds. `failed` hears of each frame that the kernel refuses.
    pub(crate) fn send(
        &mut self,
        sock: impl AsFd,
        port: &Port<'_>,
        mut q: Option<&mut TxQueue<'_>>,
        ok: &mut Counters,
        mut failed: impl FnMut(Errno),
    ) -> Sent {
        let sock = sock.as_fd();
        loop {
            while self.waiting.len() < MOST
                && let Some(m) = q.as_deref_mut().and_then(TxQueue::pop)
            {
                self.waiting.push(m);
            }
            if self.waiting.is_empty() {
                return Sent::All;
            }
            let gone = match transmit(sock, &self.waiting) {
                Ok(n) => {
                    self.waiting[..n].iter().for_each(|m| ok.frame(m.as_slice()));
                    n
                }
                Err(Errno::AGAIN) => return Sent::Full,
                Err(Errno::INTR) => continue,
                Err(e) => {
                    failed(e);
                    1
                }
            };
            let mut done = port.batch();
            for m in self.waiting.drain(..gone) {
                let _ = done.push(m);
            }
            done.free();
        }
    }
}

/// sendmmsg(2) of at most [`MOST`] frames; how many went, at least one.
fn transmit(sock: impl AsFd, frames: &[Mbuf]) -> Result<usize, Errno> {
    let n = frames.len().min(MOST);
    let none = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
    let (mut heads, mut iov) = ([[0u8; vnet::LEN]; MOST], [[none; 2]; MOST]);
    // SAFETY: mmsghdr is plain data; zero is a valid value for all of it.
    let mut msgs: [libc::mmsghdr; MOST] = unsafe { std::mem::zeroed() };
    for (i, m) in frames[..n].iter().enumerate() {
        let f = m.as_slice();
        heads[i] = vnet::emit(&m.marks(), f);
        iov[i][0] = libc::iovec { iov_base: heads[i].as_mut_ptr().cast(), iov_len: vnet::LEN };
        iov[i][1] = libc::iovec { iov_base: f.as_ptr().cast_mut().cast(), iov_len: f.len() };
        (msgs[i].msg_hdr.msg_iov, msgs[i].msg_hdr.msg_iovlen) = (iov[i].as_mut_ptr(), 2);
    }
    let fd = sock.as_fd().as_raw_fd();
    // SAFETY: `n` messages, whose parts are only read and live through the call.
    let r = unsafe { libc::sendmmsg(fd, msgs.as_mut_ptr(), n as u32, libc::MSG_DONTWAIT) };
    match r {
        ..0 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        _ => Ok((r as usize).clamp(1, n)),
    }
}
