//! Sending: sendmsg(2) and its lesser forms.

use crate::calls::{Answer, Call, Pending};
use crate::fds::File;
use crate::name::decode_name;
use crate::recv::{MSG_DONTWAIT, MSG_OOB};
use crate::stack::World;
use iopkt_base::{Errno, Result};
use iopkt_stack::sockets::{SendOpts, SockId, SockType, Written};

const MSG_FASTOPEN: i32 = 0x2000_0000;
const MSG_EOR: i32 = 0x80;
const MSG_MORE: i32 = 0x8000;
const MSG_ZEROCOPY: i32 = 0x400_0000;
/// What says something about the end of what was written.
const MARKS: i32 = MSG_EOR | MSG_MORE | MSG_ZEROCOPY;

/// Linux's numbers of states.
const SYN_SENT: u8 = 2;
const SYN_RECV: u8 = 3;

fn fd_of(p: &Pending) -> i32 {
    if let Call::Send { fd, .. } = p.call { fd } else { -1 }
}

impl World {
    pub(crate) fn try_send(&mut self, p: &mut Pending, late: bool) -> Option<Result<Answer>> {
        let Call::Send { fd, data, flags, name, .. } = &p.call else { return None };
        let (fd, flags) = (*fd, *flags);
        let wait = flags & MSG_DONTWAIT == 0 && !self.fds.nonblocking(fd) && !late;
        let id = match self.fds.get(fd).map(|d| &d.file) {
            Ok(File::Socket(id)) => *id,
            Ok(File::PipeWrite(n)) => {
                let n = *n;
                let pipe = &mut self.fds.pipes[n];
                let k = if pipe.readers { pipe.push(data) } else { return Some(Err(Errno::EPIPE)) };
                return match k {
                    0 if !data.is_empty() && wait => None,
                    0 if !data.is_empty() => Some(Err(Errno::EAGAIN)),
                    k => Some(Ok(Answer::of(k))),
                };
            }
            Ok(_) => return Some(Err(Errno::EBADF)),
            Err(e) => return Some(Err(e)),
        };
        match self.shard.sockets.kind(id) {
            Ok((SockType::Stream, ..)) => {
                let r = self.send_stream(id, wait, flags, p);
                if let Some(Ok(a)) = &r
                    && a.ret > 0
                {
                    self.written(id, flags);
                }
                r
            }
            Ok(_) => {
                let to = match name.as_ref().map(|n| decode_name(n)).transpose() {
                    Ok(t) => t.flatten(),
                    Err(e) => return Some(Err(e)),
                };
                let data = data.clone();
                Some(self.send_datagram(id, to, &data))
            }
            Err(e) => Some(Err(e)),
        }
    }

    fn send_stream(&mut self, id: SockId, wait: bool, flags: i32, p: &mut Pending) -> Option<Result<Answer>> {
        if flags & MSG_FASTOPEN != 0 && !p.opening {
            match self.open_sending(id, p) {
                Ok(n) if !wait => return Some(Ok(Answer::of(n))),
                // Written to a connection that was there already.
                Ok(n) if self.tcp_state(fd_of(p)) != Some(SYN_SENT) => p.done = n,
                Ok(n) => (p.done, p.opening) = (n, true),
                Err(Errno::EINPROGRESS) if wait => p.opening = true,
                Err(e) => return Some(Err(e)),
            }
        }
        if p.opening && self.is_opening(p) {
            self.writer_waits(id, p);
            return None;
        }
        // One that found no room is woken when there is a good portion.
        if p.starved && matches!(self.shard.sockets.write_room(id), Ok(0)) {
            return None;
        }
        let Call::Send { data, .. } = &p.call else { return None };
        let rest = &data[p.done.min(data.len())..];
        let s = &mut self.shard;
        let wrote = match flags & MSG_OOB {
            0 => s.sockets.write(&mut s.cx, id, rest),
            _ => s.sockets.write_urgent(&mut s.cx, id, rest),
        };
        match wrote {
            // TCP_FASTOPEN_CONNECT: it was this write that connects, and it waits for that.
            Ok(n) if wait && self.tcp_state(fd_of(p)) == Some(SYN_SENT) => {
                (p.done, p.opening) = (p.done + n, true);
                self.writer_waits(id, p);
                None
            }
            Err(Errno::EINPROGRESS) if wait => {
                p.opening = true;
                None
            }
            Ok(n) if n == rest.len() => Some(Ok(Answer::of(p.done + n))),
            Ok(n) => {
                (p.done, p.starved) = (p.done + n, true);
                if wait { None } else { Some(Ok(Answer::of(p.done))) }
            }
            Err(Errno::EAGAIN) if wait => {
                p.starved = true;
                None
            }
            Err(_) if p.done > 0 && !p.opening => Some(Ok(Answer::of(p.done))),
            Err(e) => Some(Err(e)),
        }
    }

    /// Tells the stack of the end of a write; that reports are too many costs reports, not bytes.
    fn written(&mut self, id: SockId, flags: i32) {
        let w = Written {
            more: flags & MSG_MORE != 0,
            eor: flags & MSG_EOR != 0,
            zerocopy: flags & MSG_ZEROCOPY != 0,
        };
        let s = &mut self.shard;
        if s.sockets.written(self.now, id, w).is_err() {
            self.log.push(format!("reports of {:#x} are too many", flags & MARKS));
        }
    }

    /// MSG_FASTOPEN: connects with data.
    fn open_sending(&mut self, id: SockId, p: &Pending) -> Result<usize> {
        let Call::Send { data, name, .. } = &p.call else { return Ok(0) };
        let to = match name {
            Some(n) => decode_name(n)?.ok_or(Errno::EOPNOTSUPP)?,
            None => return Err(Errno::EDESTADDRREQ),
        };
        let s = &mut self.shard;
        s.sockets.connect_sending(&mut s.cx, &mut s.net, id, to, data)
    }

    /// The writer of what did not fit into the SYN waits.
    fn writer_waits(&mut self, id: SockId, p: &Pending) {
        if matches!(&p.call, Call::Send { data, .. } if p.done < data.len()) {
            self.shard.sockets.writer_waits(id);
        }
    }

    fn is_opening(&mut self, p: &Pending) -> bool {
        matches!(self.tcp_state(fd_of(p)), Some(SYN_SENT | SYN_RECV))
    }

    fn send_datagram(&mut self, id: SockId, to: Option<std::net::SocketAddr>, data: &[u8]) -> Result<Answer> {
        let s = &mut self.shard;
        let m = s.cx.mbufs.copy_of(data).ok_or(Errno::ENOBUFS)?;
        s.sockets.send_to(&mut s.cx, &mut s.net, id, to, &SendOpts::default(), m)?;
        Ok(Answer::of(data.len()))
    }
}
