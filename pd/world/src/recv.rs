//! Receiving: recvmsg(2) and splice(2) from a socket.

use crate::calls::{Answer, Call, Pending};
use crate::control::Control;
use crate::fds::File;
use crate::name::encode_name;
use crate::stack::World;
use iopkt_base::{Errno, Result};
use iopkt_stack::sockets::{SockId, SockType, origin};

pub(crate) const MSG_OOB: i32 = 1;
pub(crate) const MSG_PEEK: i32 = 2;
pub(crate) const MSG_TRUNC: i32 = 0x20;
pub(crate) const MSG_DONTWAIT: i32 = 0x40;
pub(crate) const MSG_WAITALL: i32 = 0x100;
pub(crate) const MSG_ERRQUEUE: i32 = 0x2000;
/// Slices that are looked at in one go.
const SLICES: usize = 64;

impl World {
    pub(crate) fn try_recv(&mut self, p: &mut Pending, late: bool) -> Option<Result<Answer>> {
        let Call::Recv { fd, len, flags, room } = p.call else { return None };
        let wait = flags & MSG_DONTWAIT == 0 && !self.fds.nonblocking(fd) && !late;
        let id = match self.fds.get(fd).map(|d| &d.file) {
            Ok(File::Socket(id)) => *id,
            Ok(File::PipeRead(n)) => {
                let n = *n;
                return self.read_pipe(n, len, wait);
            }
            Ok(File::PipeWrite(_)) => return Some(Err(Errno::EBADF)),
            Ok(File::Epoll(_)) => return Some(Err(Errno::EINVAL)),
            Err(e) => return Some(Err(e)),
        };
        if flags & MSG_ERRQUEUE != 0 {
            // It never waits.
            return Some(self.recv_error(id, len));
        }
        let r = match self.shard.sockets.kind(id) {
            Ok((SockType::Stream, ..)) => self.recv_stream(id, fd, len, flags, p),
            Ok(_) => self.recv_datagram(id, len, flags),
            Err(e) => Err(e),
        };
        let r = r.map(|mut a| {
            if room > 0 && flags & MSG_PEEK == 0 && self.shard.sockets.recv_wants(id).inq {
                // The peer's FIN counts as a byte.
                let (n, s) = (self.shard.sockets.queued(id).0, &self.shard.sockets);
                let mut c = Control::default();
                c.inq(if n == 0 && s.at_eof(id) { 1 } else { n });
                a.control = c.0;
            }
            a
        });
        match r {
            Err(Errno::EAGAIN) if wait => None,
            Err(Errno::EAGAIN) if !p.got.is_empty() => Some(Ok(take(p))),
            r => Some(r),
        }
    }

    fn recv_stream(
        &mut self,
        id: SockId,
        fd: i32,
        len: usize,
        flags: i32,
        p: &mut Pending,
    ) -> Result<Answer> {
        let state = self.tcp_state(fd);
        if state == Some(10) {
            return Err(Errno::ENOTCONN);
        }
        let peek = flags & MSG_PEEK != 0;
        if flags & MSG_OOB != 0 {
            return self.recv_urgent(id, len, peek);
        }
        let want = (len - p.got.len().min(len)).min(self.up_to_mark(id));
        let mut bytes = Vec::new();
        {
            let mut slices: [&[u8]; SLICES] = [&[]; SLICES];
            let n = self.shard.sockets.peek(id, &mut slices).or_else(|e| match e {
                Errno::ENOTCONN => Ok(0),
                e => Err(e),
            })?;
            for s in &slices[..n] {
                let k = s.len().min(want - bytes.len());
                bytes.extend_from_slice(&s[..k]);
            }
        }
        // SO_RCVLOWAT, or everything with MSG_WAITALL; what is there when nothing more can come.
        let low = self.lowat(fd).min(len).max(1);
        let target = if flags & MSG_WAITALL != 0 { len } else { low };
        let over = self.shard.sockets.at_eof(id) || matches!(state, Some(7));
        if !bytes.is_empty() {
            let have = p.got.len() + bytes.len();
            if peek {
                return Ok(Answer { ret: bytes.len() as i64, data: bytes, ..Answer::default() });
            }
            if have < target && !over {
                // MSG_WAITALL takes what is there, so that the window opens; SO_RCVLOWAT lets it lie.
                if flags & MSG_WAITALL != 0 {
                    self.take(id, &bytes, p);
                }
                return Err(Errno::EAGAIN);
            }
            self.take(id, &bytes, p);
            return Ok(take(p));
        }
        if len == 0 || p.got.len() == len {
            return Ok(take(p));
        }
        if !p.got.is_empty() && over {
            return Ok(take(p));
        }
        if let Some(e) = self.shard.sockets.take_error(id) {
            return Err(e);
        }
        if self.shard.sockets.at_eof(id) {
            return Ok(Answer::default());
        }
        match state {
            Some(7) if self.shard.sockets.peer_addr(id).is_ok() => Ok(Answer::default()),
            Some(7) => Err(Errno::ENOTCONN),
            _ => Err(Errno::EAGAIN),
        }
    }

    /// recvmsg(2) with MSG_ERRQUEUE.
    fn recv_error(&mut self, id: SockId, len: usize) -> Result<Answer> {
        let e = self.shard.sockets.take_queued_error(id).ok_or(Errno::EAGAIN)?;
        let mut c = Control::default();
        let epoch = self.epoch;
        let (_, family, _) = self.shard.sockets.kind(id)?;
        c.error(&e, family, |t| epoch + t.as_micros());
        let data = e.payload[..e.payload.len().min(len)].to_vec();
        // The packet that a timestamp is of does not come with it: as if it had been cut off.
        let cut = e.payload.len() > len || e.origin == origin::TIMESTAMPING && self.stamps_with_packet(id);
        let network = matches!(e.origin, origin::LOCAL | origin::ICMP | origin::ICMP6);
        Ok(Answer {
            ret: data.len() as i64,
            data,
            name: if network { encode_name(e.dst) } else { Vec::new() },
            control: c.0,
            msg_flags: MSG_ERRQUEUE | if cut { MSG_TRUNC } else { 0 },
            ..Answer::default()
        })
    }

    /// SO_TIMESTAMPING without SOF_TIMESTAMPING_OPT_TSONLY.
    fn stamps_with_packet(&mut self, id: SockId) -> bool {
        const TSONLY: u32 = 1 << 11;
        let mut v = [0; 8];
        let s = &mut self.shard;
        let n = s.sockets.getsockopt(&mut s.cx, &s.net, id, 1, 37, &mut v);
        n.is_ok() && u32::from_ne_bytes([v[0], v[1], v[2], v[3]]) & TSONLY == 0
    }

    fn take(&mut self, id: SockId, bytes: &[u8], p: &mut Pending) {
        let s = &mut self.shard;
        s.sockets.consume(&mut s.cx, id, bytes.len());
        p.got.extend_from_slice(bytes);
    }

    fn lowat(&mut self, fd: i32) -> usize {
        let v = self.getsockopt(fd, 1, 18, 4).unwrap_or_default();
        v.first_chunk::<4>().map_or(1, |b| i32::from_ne_bytes(*b).max(1) as usize)
    }

    fn recv_datagram(&mut self, id: SockId, len: usize, flags: i32) -> Result<Answer> {
        if flags & MSG_PEEK != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if let Some(e) = self.shard.sockets.take_error(id) {
            return Err(e);
        }
        let s = &mut self.shard;
        let Some(g) = s.sockets.recv_from(&mut s.cx, id) else {
            return if s.sockets.readable(id) { Ok(Answer::default()) } else { Err(Errno::EAGAIN) };
        };
        let whole = g.m.len();
        let data = g.m.as_slice()[..whole.min(len)].to_vec();
        let cut = whole > len;
        let a = Answer {
            ret: if cut && flags & MSG_TRUNC != 0 { whole } else { data.len() } as i64,
            data,
            name: encode_name(g.from),
            msg_flags: if cut { MSG_TRUNC } else { 0 },
            ..Answer::default()
        };
        s.cx.mbufs.free(g.m);
        Ok(a)
    }

    fn read_pipe(&mut self, n: usize, len: usize, wait: bool) -> Option<Result<Answer>> {
        let p = &mut self.fds.pipes[n];
        if p.len() == 0 && p.writers && len > 0 {
            return if wait { None } else { Some(Err(Errno::EAGAIN)) };
        }
        let data = p.front(len);
        p.drop_front(data.len());
        Some(Ok(Answer { ret: data.len() as i64, data, ..Answer::default() }))
    }

    /// splice(2): one of the two is a pipe.
    pub(crate) fn try_splice(
        &mut self,
        from: i32,
        to: i32,
        len: usize,
        flags: u32,
    ) -> Option<Result<Answer>> {
        /// SPLICE_F_NONBLOCK.
        const NONBLOCK: u32 = 2;
        let files = self.fds.get(from).and_then(|f| Ok((copy(&f.file), copy(&self.fds.get(to)?.file))));
        let wait = flags & NONBLOCK == 0;
        let r = match files {
            Ok((File::Socket(id), File::PipeWrite(n))) => self.socket_to_pipe(from, id, n, len),
            Ok((File::PipeRead(n), File::Socket(id))) => self.pipe_to_socket(n, id, len),
            Ok(_) => Err(Errno::EINVAL),
            Err(e) => Err(e),
        };
        match r {
            Err(Errno::EAGAIN) if wait && !self.fds.nonblocking(from) => None,
            r => Some(r.map(Answer::of)),
        }
    }

    fn socket_to_pipe(&mut self, fd: i32, id: SockId, n: usize, len: usize) -> Result<usize> {
        if self.at_mark(id) {
            // What a splice finds first is not for it, and it does not wait for that to be read.
            return Ok(0);
        }
        let room = self.fds.pipes[n].room().min(len);
        if room == 0 {
            return Err(Errno::EAGAIN);
        }
        let mut p = self.begin(Call::Recv { fd, len: room, flags: MSG_DONTWAIT, room: 0 });
        let a = self.recv_stream(id, fd, room, MSG_DONTWAIT, &mut p)?;
        Ok(self.fds.pipes[n].push(&a.data))
    }

    fn pipe_to_socket(&mut self, n: usize, id: SockId, len: usize) -> Result<usize> {
        let bytes = self.fds.pipes[n].front(len);
        if bytes.is_empty() {
            return if self.fds.pipes[n].writers { Err(Errno::EAGAIN) } else { Ok(0) };
        }
        let s = &mut self.shard;
        let k = s.sockets.write(&mut s.cx, id, &bytes)?;
        self.fds.pipes[n].drop_front(k);
        Ok(k)
    }
}

fn copy(f: &File) -> File {
    match f {
        File::Socket(id) => File::Socket(*id),
        File::PipeRead(n) => File::PipeRead(*n),
        File::PipeWrite(n) => File::PipeWrite(*n),
        File::Epoll(_) => File::Epoll(Default::default()),
    }
}

fn take(p: &mut Pending) -> Answer {
    let data = std::mem::take(&mut p.got);
    Answer { ret: data.len() as i64, data, ..Answer::default() }
}
