//! The terminals behind `/dev/serecmX`: a pseudo-terminal for each program that opens it.
//!
//! The name is a link to a fresh pseudo-terminal in raw mode. As soon as a program has opened that (inotify says so),
//! the link is moved to the next fresh one, so that each opener has a terminal of its own; [`mux`] joins them to
//! the one modem. Until it is opened the driver holds the slave side too, so that its mode stays; afterwards the last
//! close is seen as a hang-up of the master. Such a terminal is kept for [`LINGER`], because somebody may have
//! followed the link just before it was moved. When the device goes, the masters are closed: programs read an end of
//! file, and their writes fail with EIO.
//!
//! Two programs that open the name in the same instant get the same terminal and share it, as two programs on a serial
//! line do; so does everybody beyond [`MAX_OPENERS`], and everybody where the system has no inotify.
//!
//! A terminal belongs to the user who runs io-pkt, mode 0600: what is written there commands the modem.

pub mod lines;
pub mod mux;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::fs::{Mode, OFlags, fchmod, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Most programs that have a terminal of their own.
pub const MAX_OPENERS: usize = 16;
/// How long a terminal is kept after its last close, nanoseconds.
pub const LINGER: u64 = 1_000_000_000;

/// A pseudo-terminal.
pub struct Term {
    /// What tells it from others of the port; never used again.
    pub id: u64,
    master: OwnedFd,
    /// Held until a program has opened it.
    slave: Option<OwnedFd>,
    path: String,
    watch: i32,
}

impl Term {
    fn new(id: u64, watcher: Option<&OwnedFd>) -> io::Result<Term> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let slave = open(&*name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        fchmod(&slave, Mode::RUSR | Mode::WUSR)?;
        let mut t = tcgetattr(&slave)?;
        t.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &t)?;
        rustix::io::ioctl_fionbio(&master, true)?;
        let path = name.to_string_lossy().into_owned();
        let watch = match watcher {
            Some(w) => inotify::add_watch(w, path.as_str(), WatchFlags::OPEN)?,
            None => -1,
        };
        Ok(Term { id, master, slave: Some(slave), path, watch })
    }

    /// Reads what the program wrote; 0 when nothing waits.
    pub fn read(&self, b: &mut [u8]) -> usize {
        rustix::io::read(&self.master, b).unwrap_or(0)
    }

    /// Whether a program has it open.
    pub fn in_use(&self) -> bool {
        let mut p = [PollFd::new(&self.master, PollFlags::HUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        self.slave.is_some() || poll(&mut p, Some(&now)).is_err() || !p[0].revents().contains(PollFlags::HUP)
    }

    /// Writes for the program; returns how much was taken.
    pub fn write(&self, b: &[u8]) -> usize {
        rustix::io::write(&self.master, b).unwrap_or(0)
    }
}

impl AsFd for Term {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }
}

/// The terminals of one AT port.
pub struct Serial {
    /// Terminals that programs have, the oldest first.
    pub open: Vec<Term>,
    /// The one that the name leads to.
    fresh: Term,
    watcher: Option<OwnedFd>,
    next: u64,
}

impl Serial {
    /// Makes the first terminal.
    ///
    /// # Errors
    /// No pseudo-terminals here, or none left.
    pub fn new() -> io::Result<Serial> {
        let watcher = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok();
        let fresh = match Term::new(0, watcher.as_ref()) {
            Ok(t) => t,
            Err(_) => Term::new(0, None)?,
        };
        Ok(Serial { open: Vec::new(), fresh, watcher, next: 1 })
    }

    /// Where the name has to lead, `/dev/pts/N`.
    pub fn path(&self) -> &str {
        &self.fresh.path
    }

    /// The descriptor that tells of opens; `None` where everybody shares one terminal.
    pub fn watcher(&self) -> Option<&OwnedFd> {
        self.watcher.as_ref().filter(|_| self.fresh.watch >= 0)
    }

    /// The terminal that everybody shares.
    pub fn shared(&self) -> &Term {
        &self.fresh
    }

    /// Reads what [`Serial::watcher`] has to tell; whether the fresh terminal was opened.
    pub fn look(&mut self) -> bool {
        let mut buf = [MaybeUninit::uninit(); 1024];
        let Some(w) = &self.watcher else { return false };
        let (mut r, mut hit) = (inotify::Reader::new(w, &mut buf), false);
        while let Ok(e) = r.next() {
            hit |= e.wd() == self.fresh.watch && e.events().contains(ReadFlags::OPEN);
        }
        hit
    }

    /// Makes the next fresh terminal, to which `lead` moves the name; the one that was opened becomes its
    /// program's, and its id is returned. `None` when there can be no other: then the terminal is shared.
    pub fn promote(&mut self, lead: impl FnOnce(&str) -> bool) -> Option<u64> {
        if self.open.len() >= MAX_OPENERS {
            return None;
        }
        let next = Term::new(self.next, self.watcher.as_ref()).ok().filter(|t| lead(&t.path))?;
        self.next += 1;
        let mut t = std::mem::replace(&mut self.fresh, next);
        t.slave = None;
        let id = t.id;
        self.open.push(t);
        Some(id)
    }

    /// A terminal by its id.
    pub fn term(&self, id: u64) -> Option<&Term> {
        self.open.iter().find(|t| t.id == id).or(Some(&self.fresh).filter(|t| t.id == id))
    }

    /// A terminal is not needed any more.
    pub fn close(&mut self, id: u64) {
        if let (Some(w), Some(t)) = (&self.watcher, self.open.iter().find(|t| t.id == id)) {
            let _ = inotify::remove_watch(w, t.watch);
        }
        self.open.retain(|t| t.id != id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, OpenOptions};
    use std::io::{Read, Write};

    fn opened(s: &mut Serial) -> (File, u64) {
        let path = s.path().to_string();
        let f = OpenOptions::new().read(true).write(true).open(&path).expect("open the terminal");
        assert!(s.look(), "the open is seen");
        let mut new = String::new();
        let id = s.promote(|p| {
            new = p.to_string();
            true
        });
        assert!(s.path() == new && new != path);
        (f, id.expect("a terminal of its own"))
    }

    #[test]
    fn each_opener_has_a_terminal_and_its_end_is_seen() {
        use std::os::unix::fs::PermissionsExt;
        let mut s = Serial::new().expect("a pseudo-terminal");
        assert!(!s.look());
        let mode = std::fs::metadata(s.path()).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (mut a, ia) = opened(&mut s);
        let (mut b, ib) = opened(&mut s);
        assert_ne!(ia, ib);
        let mut buf = [0; 16];
        assert_eq!(s.term(ia).expect("open").read(&mut buf), 0, "it does not block");
        assert_eq!(s.term(ia).expect("open").write(b"\r\nRING\r\n"), 8);
        let mut got = [0; 8];
        a.read_exact(&mut got).expect("read");
        assert_eq!(&got, b"\r\nRING\r\n", "bytes pass unchanged");
        b.write_all(b"AT\r").expect("write");
        assert_eq!((s.term(ib).expect("open").read(&mut buf), &buf[..3]), (3, &b"AT\r"[..]));
        // What was written before the close is still there.
        b.write_all(b"ATI\r").expect("write");
        drop(b);
        let t = s.term(ib).expect("open");
        assert_eq!((t.in_use(), t.read(&mut buf), t.read(&mut buf)), (false, 4, 0));
        // Who followed the name before it was moved still finds it.
        let late = OpenOptions::new().write(true).open(&t.path).expect("open the old terminal");
        s.look();
        assert!(s.term(ib).expect("open").in_use());
        drop(late);
        s.close(ib);
        // The device goes: programs see the end.
        drop(s);
        assert!(matches!(a.read(&mut got), Ok(0) | Err(_)));
        assert!(a.write_all(b"AT\r").is_err());
    }

    #[test]
    fn there_is_a_limit_after_which_terminals_are_shared() {
        let mut s = Serial::new().expect("a pseudo-terminal");
        let files: Vec<_> = (0..MAX_OPENERS).map(|_| opened(&mut s).0).collect();
        let last = s.path().to_string();
        assert_eq!(s.promote(|_| true), None);
        assert_eq!(s.path(), last);
        drop(files);
    }
}
