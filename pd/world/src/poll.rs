//! Readiness: poll(2) and epoll(7).

use crate::calls::Answer;
use crate::fds::{File, Interest};
use crate::stack::World;
use iopkt_base::{Errno, Result};
use iopkt_stack::sockets::{SockId, SockType};

const POLLIN: u32 = 1;
const POLLPRI: u32 = 2;
const POLLOUT: u32 = 4;
const POLLERR: u32 = 8;
const POLLHUP: u32 = 0x10;
const POLLNVAL: u32 = 0x20;
const POLLRDNORM: u32 = 0x40;
const POLLWRNORM: u32 = 0x100;
const POLLRDHUP: u32 = 0x2000;
const EPOLLET: u32 = 1 << 31;
pub(crate) const EPOLLONESHOT: u32 = 1 << 30;
const EPOLL_CTL_ADD: i32 = 1;
const EPOLL_CTL_DEL: i32 = 2;
const EPOLL_CTL_MOD: i32 = 3;
const SO_ERROR_AT: (i32, i32) = (1, 4);

impl World {
    /// What poll(2) says of a descriptor that is asked for everything.
    fn ready(&mut self, fd: i32) -> u32 {
        let id = match self.fds.get(fd).map(|d| &d.file) {
            Ok(File::Socket(id)) => *id,
            Ok(File::PipeRead(n)) => {
                let p = &self.fds.pipes[*n];
                let hup = if p.writers { 0 } else { POLLHUP };
                return hup | if p.len() > 0 { POLLIN | POLLRDNORM } else { 0 };
            }
            Ok(File::PipeWrite(n)) => {
                let p = &self.fds.pipes[*n];
                let err = if p.readers { 0 } else { POLLERR };
                return err | if p.room() > 0 { POLLOUT | POLLWRNORM } else { 0 };
            }
            Ok(File::Epoll(e)) => {
                let items: Vec<(i32, Interest)> = e.items.iter().map(|(k, v)| (*k, *v)).collect();
                let any = items.iter().any(|(fd, i)| i.armed && self.ready(*fd) & wanted(i.events) != 0);
                return if any { POLLIN | POLLRDNORM } else { 0 };
            }
            Err(_) => return POLLNVAL,
        };
        match self.shard.sockets.kind(id) {
            Ok((SockType::Stream, ..)) => self.stream_ready(id, fd),
            _ => {
                let input = if self.shard.sockets.readable(id) { POLLIN | POLLRDNORM } else { 0 };
                input | POLLOUT | POLLWRNORM
            }
        }
    }

    /// tcp_poll of Linux: which of its conditions hold.
    fn stream_ready(&mut self, id: SockId, fd: i32) -> u32 {
        let state = self.tcp_state(fd).unwrap_or(7);
        let s = &mut self.shard.sockets;
        let readable = s.readable(id);
        let eof = s.at_eof(id);
        if state == 10 {
            return if readable { POLLIN | POLLRDNORM } else { 0 };
        }
        let mut r = if readable || eof { POLLIN | POLLRDNORM } else { 0 };
        if self.has_urgent(id) {
            r |= POLLPRI;
        }
        // CLOSE-WAIT, LAST-ACK, CLOSING, TIME-WAIT: the FIN is here, read or not.
        if eof || matches!(state, 6 | 8 | 9 | 11) {
            r |= POLLRDHUP;
        }
        let room = self.shard.sockets.write_room(id);
        match (state, room) {
            // SYN-SENT; a SYN that is held back for data (TCP_FASTOPEN_CONNECT) wants to be written to.
            (2, Ok(n)) if n > 0 => return POLLOUT | POLLWRNORM,
            (2, _) => return 0,
            (7, _) => r |= POLLHUP | POLLOUT | POLLWRNORM | POLLIN | POLLRDNORM | POLLRDHUP,
            (_, Err(_)) => r |= POLLOUT | POLLWRNORM,
            (_, Ok(n)) if n > 0 => r |= POLLOUT | POLLWRNORM,
            _ => {}
        }
        // FIN-WAIT, CLOSING, LAST-ACK, TIME-WAIT with the peer's FIN: both directions are shut.
        if matches!(state, 6 | 9 | 11) || eof && matches!(state, 4 | 5) {
            r |= POLLHUP;
        }
        if self.shard.sockets.has_error(id) || self.shard.sockets.has_queued_error(id) {
            r |= POLLERR;
        }
        r
    }

    pub(crate) fn try_poll(&mut self, fds: &[(i32, i16)], late: bool) -> Option<Result<Answer>> {
        let mut ready = Vec::new();
        for (fd, events) in fds {
            let always = POLLERR | POLLHUP | POLLNVAL;
            let r = if *fd < 0 { 0 } else { self.ready(*fd) & (*events as u16 as u32 | always) };
            ready.push((r, 0));
        }
        let n = ready.iter().filter(|r| r.0 != 0).count();
        if n == 0 && !late {
            return None;
        }
        Some(Ok(Answer { ret: n as i64, ready, ..Answer::default() }))
    }

    /// epoll_ctl(2).
    ///
    /// # Errors
    /// EBADF, EINVAL, EEXIST, ENOENT.
    pub fn epoll_ctl(&mut self, epfd: i32, op: i32, fd: i32, events: u32, data: u64) -> Result<i32> {
        self.fds.get(fd)?;
        if epfd == fd {
            return Err(Errno::EINVAL);
        }
        let File::Epoll(e) = &mut self.fds.get_mut(epfd)?.file else { return Err(Errno::EINVAL) };
        let i = Interest { events, data, armed: true };
        match (op, e.items.contains_key(&fd)) {
            (EPOLL_CTL_ADD, true) => return Err(Errno::EEXIST),
            (EPOLL_CTL_MOD | EPOLL_CTL_DEL, false) => return Err(Errno::ENOENT),
            (EPOLL_CTL_ADD | EPOLL_CTL_MOD, _) => {
                e.items.insert(fd, i);
            }
            (EPOLL_CTL_DEL, true) => {
                e.items.remove(&fd);
            }
            _ => return Err(Errno::EINVAL),
        }
        Ok(0)
    }

    pub(crate) fn try_epoll_wait(&mut self, epfd: i32, max: usize, late: bool) -> Option<Result<Answer>> {
        let items: Vec<(i32, Interest)> = match self.fds.get(epfd).map(|d| &d.file) {
            Ok(File::Epoll(e)) => e.items.iter().map(|(k, v)| (*k, *v)).collect(),
            Ok(_) => return Some(Err(Errno::EINVAL)),
            Err(e) => return Some(Err(e)),
        };
        if max == 0 {
            return Some(Err(Errno::EINVAL));
        }
        let mut ready = Vec::new();
        for (fd, i) in items {
            if !i.armed || ready.len() >= max {
                continue;
            }
            let r = self.ready(fd) & wanted(i.events);
            if r == 0 {
                continue;
            }
            ready.push((r, i.data));
            if i.events & (EPOLLET | EPOLLONESHOT) != 0
                && let Ok(d) = self.fds.get_mut(epfd)
                && let File::Epoll(e) = &mut d.file
                && let Some(i) = e.items.get_mut(&fd)
            {
                i.armed = false;
            }
        }
        if ready.is_empty() && !late {
            return None;
        }
        Some(Ok(Answer { ret: ready.len() as i64, ready, ..Answer::default() }))
    }

    /// SO_ERROR, cleared.
    ///
    /// # Errors
    /// EBADF, ENOTSOCK.
    pub fn so_error(&mut self, fd: i32) -> Result<i32> {
        let v = self.getsockopt(fd, SO_ERROR_AT.0, SO_ERROR_AT.1, 4)?;
        Ok(v.first_chunk::<4>().map_or(0, |b| i32::from_ne_bytes(*b)))
    }
}

/// What epoll reports of an interest: errors and hang-ups always.
fn wanted(events: u32) -> u32 {
    events & 0xffff | POLLERR | POLLHUP
}
