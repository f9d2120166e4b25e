//! Who tells when a program's end was closed everywhere while no end is here.
//!
//! inotify(7) on `/proc/self/fd/N` of a socket watches the socket itself: its last close, by whichever process, is an event
//! (IN_CLOSE), and the watch holds no descriptor that would keep it open.

use iopkt_base::Errno;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::collections::{HashMap, HashSet};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Socket ends that are watched.
pub(crate) struct Gone {
    fd: OwnedFd,
    /// Whose they are.
    owners: HashMap<i32, u32>,
}

impl Gone {
    /// # Errors
    /// EMFILE: the user has too many inotify instances.
    pub fn new() -> io::Result<Gone> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Gone { fd, owners: HashMap::new() })
    }

    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Watches a socket; its number for [`Gone::forget`].
    ///
    /// # Errors
    /// ENOSPC at the user's limit (`fs.inotify.max_user_watches`), ENOENT without `/proc`.
    pub fn watch(&mut self, end: impl AsFd, owner: u32) -> Result<i32, Errno> {
        let path = format!("/proc/self/fd/{}", end.as_fd().as_raw_fd());
        let what = WatchFlags::CLOSE_WRITE | WatchFlags::CLOSE_NOWRITE | WatchFlags::ONESHOT;
        let wd = inotify::add_watch(&self.fd, path, what).map_err(|e| Errno(e.raw_os_error()))?;
        self.owners.insert(wd, owner);
        Ok(wd)
    }

    /// Ends a watch.
    pub fn forget(&mut self, wd: i32) {
        if self.owners.remove(&wd).is_some() {
            let _ = inotify::remove_watch(&self.fd, wd);
        }
    }

    /// Who is gone.
    pub fn read(&mut self, mut tell: impl FnMut(u32)) {
        let mut lost = false;
        let mut buf = [MaybeUninit::uninit(); 4096];
        let mut r = inotify::Reader::new(&self.fd, &mut buf);
        while let Ok(e) = r.next() {
            let closed = e.events().intersects(ReadFlags::CLOSE_WRITE | ReadFlags::CLOSE_NOWRITE);
            if closed && let Some(owner) = self.owners.remove(&e.wd()) {
                tell(owner);
            }
            lost |= e.events().contains(ReadFlags::QUEUE_OVERFLOW);
        }
        if lost {
            self.recount(&mut tell);
        }
    }

    /// More ends were closed at once than the kernel has room to tell (`fs.inotify.max_queued_events`): a watch ends with its
    /// event, told or not, and proc(5) shows those that are left.
    fn recount(&mut self, mut tell: impl FnMut(u32)) {
        let Ok(text) = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.fd.as_raw_fd())) else {
            return;
        };
        let left = watches(&text);
        self.owners.retain(|wd, owner| {
            let there = left.contains(wd);
            if !there {
                tell(*owner);
            }
            there
        });
    }
}

/// The watches that an inotify descriptor's fdinfo lists.
fn watches(fdinfo: &str) -> HashSet<i32> {
    let wd = |l: &str| i32::from_str_radix(l.strip_prefix("inotify wd:")?.split(' ').next()?, 16).ok();
    fdinfo.lines().filter_map(wd).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_close_is_told_and_no_other() {
        let mut g = Gone::new().unwrap();
        let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
        let copy = a.try_clone().unwrap();
        g.watch(&a, 7).unwrap();
        let wd = g.watch(&b, 8).unwrap();
        let told = |g: &mut Gone| {
            let mut v = Vec::new();
            g.read(|o| v.push(o));
            v
        };
        drop(a);
        assert_eq!(told(&mut g), []);
        drop(copy);
        assert_eq!(told(&mut g), [7]);
        g.forget(wd);
        drop(b);
        assert_eq!(told(&mut g), []);
    }

    #[test]
    fn what_was_not_told_is_found() {
        let mut g = Gone::new().unwrap();
        let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
        g.watch(&a, 1).unwrap();
        g.watch(&b, 2).unwrap();
        drop(b);
        let mut v = Vec::new();
        g.recount(|o| v.push(o));
        assert_eq!(v, [2]);
        assert_eq!(g.owners.len(), 1);
        drop(a);
    }
}
