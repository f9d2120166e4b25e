//! The descriptors of the one program.

use crate::pipe::Pipe;
use crate::urgent::Urgent;
use iopkt_base::{Errno, Result};
use iopkt_stack::sockets::{Event, SockId};
use std::collections::{BTreeMap, HashMap};

/// O_NONBLOCK.
pub(crate) const O_NONBLOCK: i32 = 0o4000;
/// Most descriptors.
const MAX: usize = 65_536;

/// What stands behind a descriptor.
#[derive(Debug)]
pub enum File {
    /// A socket of the stack.
    Socket(SockId),
    /// An epoll instance.
    Epoll(Epoll),
    /// The end of a pipe that is read: number of the pipe.
    PipeRead(usize),
    /// The end that is written.
    PipeWrite(usize),
}

/// An epoll instance: descriptor → interest.
#[derive(Debug, Default)]
pub struct Epoll {
    pub(crate) items: BTreeMap<i32, Interest>,
}

/// One registration of epoll_ctl(2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interest {
    pub events: u32,
    pub data: u64,
    /// Something happened since it was last told (EPOLLET), or it has not been told yet (EPOLLONESHOT).
    pub armed: bool,
}

/// A descriptor.
#[derive(Debug)]
pub(crate) struct Desc {
    pub file: File,
    /// File status flags (O_NONBLOCK).
    pub flags: i32,
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Fds {
    table: BTreeMap<i32, Desc>,
    by_sock: HashMap<SockId, i32>,
    pub pipes: Vec<Pipe>,
    pub urgent: Urgent,
}

impl Fds {
    /// Enters a descriptor under `want`, or under the lowest free number.
    pub fn insert(&mut self, want: Option<i32>, file: File, flags: i32) -> Result<i32> {
        if self.table.len() >= MAX {
            return Err(Errno::EMFILE);
        }
        let fd = want.unwrap_or_else(|| (3..).find(|n| !self.table.contains_key(n)).unwrap_or(i32::MAX));
        if let File::Socket(id) = &file {
            self.by_sock.insert(*id, fd);
        }
        self.table.insert(fd, Desc { file, flags });
        Ok(fd)
    }

    pub fn get(&self, fd: i32) -> Result<&Desc> {
        self.table.get(&fd).ok_or(Errno::EBADF)
    }

    pub fn get_mut(&mut self, fd: i32) -> Result<&mut Desc> {
        self.table.get_mut(&fd).ok_or(Errno::EBADF)
    }

    /// The socket behind a descriptor.
    pub fn sock(&self, fd: i32) -> Result<SockId> {
        match self.get(fd)?.file {
            File::Socket(id) => Ok(id),
            _ => Err(Errno::ENOTSOCK),
        }
    }

    pub fn nonblocking(&self, fd: i32) -> bool {
        self.get(fd).is_ok_and(|d| d.flags & O_NONBLOCK != 0)
    }

    /// Takes a descriptor out, and its registrations with it.
    pub fn remove(&mut self, fd: i32) -> Result<File> {
        let d = self.table.remove(&fd).ok_or(Errno::EBADF)?;
        if let File::Socket(id) = &d.file {
            self.by_sock.remove(id);
            self.urgent.forget(*id);
        }
        for other in self.table.values_mut() {
            if let File::Epoll(e) = &mut other.file {
                e.items.remove(&fd);
            }
        }
        Ok(d.file)
    }

    /// All descriptors.
    pub fn all(&self) -> Vec<i32> {
        self.table.keys().copied().collect()
    }

    /// Something happened to a socket: edges of epoll.
    pub fn happened(&mut self, e: Event) {
        let Some(fd) = self.by_sock.get(&e.id).copied() else { return };
        self.edge(fd);
    }

    /// The state of a descriptor changed.
    pub fn edge(&mut self, fd: i32) {
        for d in self.table.values_mut() {
            if let File::Epoll(ep) = &mut d.file
                && let Some(i) = ep.items.get_mut(&fd)
                && i.events & crate::poll::EPOLLONESHOT == 0
            {
                i.armed = true;
            }
        }
    }
}
