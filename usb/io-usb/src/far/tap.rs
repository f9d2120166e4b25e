//! A Linux TAP interface as the far side.

use super::Received;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// An attached TAP interface. The interface is made if it is not there (and goes with us then); bringing it up
/// and giving it addresses is the user's business.
#[derive(Debug)]
pub struct Tap {
    fd: OwnedFd,
    name: String,
    buf: Vec<u8>,
    /// Frames that the kernel did not take (queue full, or interface down).
    lost: u64,
}

impl Tap {
    pub(super) fn open(name: &str) -> io::Result<Tap> {
        let fd = iopkt_sys::tap::open(name)?;
        Ok(Tap { fd, name: name.into(), buf: vec![0; 65_536], lost: 0 })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn transmit(&mut self, frame: &[u8]) {
        if rustix::io::write(&self.fd, frame).is_err() {
            self.lost += 1;
            log::debug!("tap {}: frame of {} bytes not taken", self.name, frame.len());
        }
    }

    pub(super) fn receive(&mut self, budget: usize, deliver: &mut dyn FnMut(&[u8])) -> Received {
        for _ in 0..budget {
            match rustix::io::read(&self.fd, &mut self.buf[..]) {
                Ok(n) => deliver(&self.buf[..n]),
                Err(_) => return Received::Drained,
            }
        }
        Received::More
    }
}
