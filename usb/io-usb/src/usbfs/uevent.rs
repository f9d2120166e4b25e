//! The kernel's and udev's word that something about USB has changed: a netlink socket.
//!
//! Group 1 is the kernel itself, group 2 is udev, which speaks when its rules (permissions) are done. What exactly
//! has changed is read from sysfs, so a message need only be of the USB subsystem. Nothing is believed but
//! that: who could send us a false one could make us look once more.

use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const GROUPS: u32 = 3;

/// The socket.
pub struct Uevents(OwnedFd);

impl Uevents {
    /// Listens from now on.
    ///
    /// # Errors
    /// EPROTONOSUPPORT, EMFILE ...
    pub fn open() -> io::Result<Uevents> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(KOBJECT_UEVENT))?;
        bind(&fd, &SocketAddrNetlink::new(0, GROUPS))?;
        Ok(Uevents(fd))
    }

    /// Reads what has come; true when it is time to look at sysfs.
    pub fn drain(&self) -> bool {
        let mut buf = [0; 8192];
        let mut usb = false;
        loop {
            match recv(&self.0, &mut buf[..], RecvFlags::DONTWAIT) {
                Ok((n, _)) => usb |= is_usb(&buf[..n.min(buf.len())]),
                // Messages were lost: look.
                Err(rustix::io::Errno::NOBUFS) => usb = true,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return usb,
            }
        }
    }
}

impl AsFd for Uevents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether a message is about USB: one of its zero-terminated fields says so.
pub fn is_usb(message: &[u8]) -> bool {
    message.split(|b| *b == 0).any(|f| f == b"SUBSYSTEM=usb")
}
