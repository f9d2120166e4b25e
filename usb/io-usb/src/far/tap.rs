//! A Linux TAP interface as the far side.

use super::Received;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// An attached TAP interface. One that is not there is made, which is said aloud, for it may be a slip of the pen (and it goes
/// with us); bringing it up and giving it addresses is the user's business.
#[derive(Debug)]
pub struct Tap {
    fd: OwnedFd,
    name: String,
    /// It was not there before.
    made: bool,
    buf: Vec<u8>,
    /// Frames that the kernel did not take (queue full, or interface down).
    lost: u64,
}

impl Tap {
    pub(super) fn open(name: &str) -> io::Result<Tap> {
        let made = !iopkt_sys::tap::exists(name);
        let fd = iopkt_sys::tap::open(name)?;
        if made {
            let text = format!(
                "far=tap:{name}: there was no interface {name} here, so it was made and goes when io-usb ends; \
                 bring it up: ip link set {name} up; ip addr add 10.0.0.1/8 dev {name}"
            );
            log::warn!("{text}");
            let _ = writeln!(io::stderr(), "io-usb: {text}");
        }
        Ok(Tap { fd, name: name.into(), made, buf: vec![0; 65_536], lost: 0 })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn describe(&self) -> String {
        format!("tap:{}{}", self.name, if self.made { " (made by io-usb)" } else { "" })
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
