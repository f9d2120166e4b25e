//! The terminal behind `/dev/serecmX`: a pseudo-terminal in raw mode.
//!
//! The driver holds both ends: the master to move bytes, the slave so that the terminal lives (and keeps what
//! the modem said) while no program has it open.

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A pseudo-terminal.
pub struct Serial {
    master: OwnedFd,
    _slave: OwnedFd,
    path: String,
}

impl Serial {
    /// Makes one, raw and non-blocking on our side.
    ///
    /// # Errors
    /// No pseudo-terminals here, or none left.
    pub fn new() -> io::Result<Serial> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let slave = open(&*name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        let mut t = tcgetattr(&slave)?;
        t.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &t)?;
        rustix::io::ioctl_fionbio(&master, true)?;
        let path = name.to_string_lossy().into_owned();
        Ok(Serial { master, _slave: slave, path })
    }

    /// `/dev/pts/N`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Reads what programs wrote; 0 when nothing waits.
    pub fn read(&self, b: &mut [u8]) -> usize {
        rustix::io::read(&self.master, b).unwrap_or(0)
    }

    /// Writes for programs; returns how much was taken.
    pub fn write(&self, b: &[u8]) -> usize {
        rustix::io::write(&self.master, b).unwrap_or(0)
    }
}

impl AsFd for Serial {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn bytes_pass_unchanged_and_wait_for_a_reader() {
        let s = Serial::new().expect("a pseudo-terminal");
        let mut b = [0; 16];
        assert_eq!(s.read(&mut b), 0, "nobody wrote, and it does not block");
        assert_eq!(s.write(b"\r\nRING\r\n"), 8, "taken although nobody has it open");
        let mut f =
            std::fs::OpenOptions::new().read(true).write(true).open(s.path()).expect("open the terminal");
        let mut got = [0; 8];
        f.read_exact(&mut got).expect("read");
        assert_eq!(&got, b"\r\nRING\r\n");
        f.write_all(b"AT\r").expect("write");
        assert_eq!((s.read(&mut b), &b[..3]), (3, &b"AT\r"[..]));
    }
}
