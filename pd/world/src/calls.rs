//! System calls: those that never wait as methods, those that may as values.

use crate::fds::{Epoll, File, O_NONBLOCK};
use crate::name::{decode_name, encode_name};
use crate::pipe::Pipe;
use crate::stack::World;
use iopkt_base::{Duration, Errno, Instant, Result};
use iopkt_stack::Family;
use iopkt_stack::sockets::{SockId, SockType};
use std::net::SocketAddr;

const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;
const SOCK_NONBLOCK: i32 = 0o4000;
const SOCK_CLOEXEC: i32 = 0o2_000_000;
const F_GETFD: i32 = 1;
const F_SETFD: i32 = 2;
const F_GETFL: i32 = 3;
const F_SETFL: i32 = 4;
const SIOCINQ: u64 = 0x541b;
const SIOCOUTQ: u64 = 0x5411;
const SIOCOUTQNSD: u64 = 0x894b;
const SIOCATMARK: u64 = 0x8905;
const FIONBIO: u64 = 0x5421;
const SOL_SOCKET: i32 = 1;
const SO_RCVTIMEO: i32 = 20;
const SO_SNDTIMEO: i32 = 21;

/// A call that may wait.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the arguments are those of the man page
pub enum Call {
    Accept {
        fd: i32,
        flags: i32,
    },
    Connect {
        fd: i32,
        name: Vec<u8>,
    },
    /// recvmsg(2) and its lesser forms; `room` bytes of control messages are wanted.
    Recv {
        fd: i32,
        len: usize,
        flags: i32,
        room: usize,
    },
    /// sendmsg(2) and its lesser forms.
    Send {
        fd: i32,
        data: Vec<u8>,
        flags: i32,
        name: Option<Vec<u8>>,
        control: Vec<u8>,
    },
    Poll {
        fds: Vec<(i32, i16)>,
        timeout: i32,
    },
    EpollWait {
        fd: i32,
        max: usize,
        timeout: i32,
    },
    Splice {
        from: i32,
        to: i32,
        len: usize,
        flags: u32,
    },
}

/// What a call gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The return value, not negative.
    pub ret: i64,
    /// Bytes received.
    pub data: Vec<u8>,
    /// Name of the sender, or of the peer of accept(2); `struct sockaddr`.
    pub name: Vec<u8>,
    /// Control messages, in their layout.
    pub control: Vec<u8>,
    /// `msg_flags`.
    pub msg_flags: i32,
    /// poll(2): `revents` of each; epoll_wait(2): events and data.
    pub ready: Vec<(u32, u64)>,
}

impl Answer {
    pub(crate) fn of(ret: usize) -> Answer {
        Answer { ret: ret as i64, ..Answer::default() }
    }
}

/// A call under way.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The call.
    pub call: Call,
    /// It gives up then.
    pub until: Instant,
    /// connect(2): the handshake has begun. Else bytes already moved.
    pub(crate) done: usize,
    /// A connection was begun by the call (MSG_FASTOPEN), and its handshake is waited for.
    pub(crate) opening: bool,
    /// A write found too little room.
    pub(crate) starved: bool,
    /// Bytes received so far (MSG_WAITALL).
    pub(crate) got: Vec<u8>,
}

impl World {
    /// socket(2). `want` is the number that the descriptor gets, the lowest free one by default.
    ///
    /// # Errors
    /// EAFNOSUPPORT, EPROTONOSUPPORT, ESOCKTNOSUPPORT, EINVAL, EMFILE.
    pub fn socket(&mut self, want: Option<i32>, domain: i32, ty: i32, proto: i32) -> Result<i32> {
        let kind = match ty & !(SOCK_NONBLOCK | SOCK_CLOEXEC) {
            1 => SockType::Stream,
            2 => SockType::Dgram,
            3 => SockType::Raw,
            0 | 7.. => return Err(Errno::EINVAL),
            _ => return Err(Errno::ESOCKTNOSUPPORT),
        };
        let family = match domain {
            AF_INET => Family::V4,
            AF_INET6 => Family::V6,
            _ => return Err(Errno::EAFNOSUPPORT),
        };
        let proto = u8::try_from(proto).map_err(|_| Errno::EINVAL)?;
        let s = &mut self.shard;
        let id = s.sockets.socket(&mut s.cx, family, kind, proto)?;
        let flags = if ty & SOCK_NONBLOCK != 0 { O_NONBLOCK } else { 0 };
        self.fds.insert(want, File::Socket(id), flags)
    }

    /// bind(2).
    ///
    /// # Errors
    /// As the stack's, EINVAL for a name that is none.
    pub fn bind(&mut self, fd: i32, name: &[u8]) -> Result<i32> {
        let id = self.fds.sock(fd)?;
        let a = decode_name(name)?.ok_or(Errno::EAFNOSUPPORT)?;
        let s = &mut self.shard;
        s.sockets.bind(&mut s.cx, &s.net, id, a)?;
        Ok(0)
    }

    /// listen(2).
    ///
    /// # Errors
    /// As the stack's.
    pub fn listen(&mut self, fd: i32, backlog: i32) -> Result<i32> {
        let id = self.fds.sock(fd)?;
        // Linux: a negative backlog is a very large one.
        let backlog = u32::try_from(backlog).unwrap_or(u32::MAX);
        let s = &mut self.shard;
        s.sockets.listen(&mut s.cx, id, backlog)?;
        self.settle();
        Ok(0)
    }

    /// close(2).
    ///
    /// # Errors
    /// EBADF.
    pub fn close(&mut self, fd: i32) -> Result<i32> {
        match self.fds.remove(fd)? {
            File::Socket(id) => {
                let s = &mut self.shard;
                s.begin(self.now);
                s.sockets.close(&mut s.cx, &mut s.net, id, false);
                self.settle();
            }
            File::PipeRead(p) => self.fds.pipes[p].readers = false,
            File::PipeWrite(p) => self.fds.pipes[p].writers = false,
            File::Epoll(_) => {}
        }
        Ok(0)
    }

    /// shutdown(2).
    ///
    /// # Errors
    /// EINVAL, ENOTCONN.
    pub fn shutdown(&mut self, fd: i32, how: i32) -> Result<i32> {
        let id = self.fds.sock(fd)?;
        let how = u8::try_from(how).map_err(|_| Errno::EINVAL)?;
        let s = &mut self.shard;
        s.begin(self.now);
        s.sockets.shutdown(&mut s.cx, id, how)?;
        self.settle();
        Ok(0)
    }

    /// getsockopt(2): the value, at most `room` bytes of it.
    ///
    /// # Errors
    /// As the stack's.
    pub fn getsockopt(&mut self, fd: i32, level: i32, name: i32, room: usize) -> Result<Vec<u8>> {
        let id = self.fds.sock(fd)?;
        let mut out = vec![0; room.min(4096)];
        let s = &mut self.shard;
        s.begin(self.now);
        let n = s.sockets.getsockopt(&mut s.cx, &s.net, id, level, name, &mut out)?;
        out.truncate(n);
        Ok(out)
    }

    /// setsockopt(2).
    ///
    /// # Errors
    /// As the stack's.
    pub fn setsockopt(&mut self, fd: i32, level: i32, name: i32, value: &[u8]) -> Result<i32> {
        let id = self.fds.sock(fd)?;
        let s = &mut self.shard;
        s.begin(self.now);
        s.sockets.setsockopt(&mut s.cx, &mut s.net, id, level, name, value)?;
        self.settle();
        Ok(0)
    }

    /// getsockname(2), getpeername(2).
    ///
    /// # Errors
    /// ENOTCONN.
    pub fn name(&mut self, fd: i32, peer: bool) -> Result<Vec<u8>> {
        let id = self.fds.sock(fd)?;
        let s = &self.shard.sockets;
        Ok(encode_name(if peer { s.peer_addr(id)? } else { s.local_addr(id)? }))
    }

    /// fcntl(2): F_GETFL, F_SETFL, F_GETFD, F_SETFD.
    ///
    /// # Errors
    /// EINVAL for the rest.
    pub fn fcntl(&mut self, fd: i32, cmd: i32, arg: i64) -> Result<i32> {
        /// O_RDWR, which every socket has.
        const RDWR: i32 = 2;
        let d = self.fds.get_mut(fd)?;
        match cmd {
            F_GETFL => Ok(d.flags | RDWR),
            F_SETFL => {
                d.flags = arg as i32 & O_NONBLOCK;
                Ok(0)
            }
            F_GETFD | F_SETFD => Ok(0),
            _ => Err(Errno::EINVAL),
        }
    }

    /// ioctl(2) of what a socket holds: SIOCINQ, SIOCOUTQ, SIOCOUTQNSD, SIOCATMARK, and FIONBIO. The value is the
    /// `int` that the call writes.
    ///
    /// # Errors
    /// ENOTTY for the rest, EINVAL for a listener.
    pub fn ioctl(&mut self, fd: i32, request: u64, arg: i32) -> Result<Option<i32>> {
        if request == FIONBIO {
            let d = self.fds.get_mut(fd)?;
            d.flags = if arg != 0 { O_NONBLOCK } else { 0 };
            return Ok(None);
        }
        let id = self.fds.sock(fd).map_err(|e| if e == Errno::ENOTSOCK { Errno::ENOTTY } else { e })?;
        let (inq, outq) = self.shard.sockets.queued(id);
        let listens = self.is_listening(fd);
        let n = match request {
            SIOCINQ | SIOCOUTQ | SIOCOUTQNSD if listens => return Err(Errno::EINVAL),
            // Linux counts the peer's FIN as a byte once everything before it was read.
            SIOCINQ => inq,
            SIOCOUTQ => outq,
            SIOCOUTQNSD => self.unsent(fd),
            SIOCATMARK => usize::from(self.at_mark(id)),
            _ => return Err(Errno::ENOTTY),
        };
        Ok(Some(n as i32))
    }

    fn unsent(&mut self, fd: i32) -> usize {
        /// `tcpi_notsent_bytes` of struct tcp_info.
        const AT: usize = 144;
        let info = self.tcp_info(fd);
        info.get(AT..AT + 4).and_then(|b| b.try_into().ok()).map_or(0, |b| u32::from_ne_bytes(b) as usize)
    }

    fn is_listening(&mut self, fd: i32) -> bool {
        self.tcp_state(fd) == Some(10)
    }

    pub(crate) fn tcp_info(&mut self, fd: i32) -> Vec<u8> {
        self.getsockopt(fd, 6, 11, 256).unwrap_or_default()
    }

    /// Linux's number of a stream's state; 1 is ESTABLISHED, 7 CLOSE, 10 LISTEN.
    pub(crate) fn tcp_state(&mut self, fd: i32) -> Option<u8> {
        self.tcp_info(fd).first().copied()
    }

    /// epoll_create(2).
    ///
    /// # Errors
    /// EINVAL, EMFILE.
    pub fn epoll_create(&mut self, want: Option<i32>, size: i32) -> Result<i32> {
        if size <= 0 {
            return Err(Errno::EINVAL);
        }
        self.fds.insert(want, File::Epoll(Epoll::default()), 0)
    }

    /// pipe(2).
    ///
    /// # Errors
    /// EMFILE.
    pub fn pipe(&mut self, want: [Option<i32>; 2]) -> Result<[i32; 2]> {
        self.fds.pipes.push(Pipe::open());
        let p = self.fds.pipes.len() - 1;
        Ok([
            self.fds.insert(want[0], File::PipeRead(p), 0)?,
            self.fds.insert(want[1], File::PipeWrite(p), 0)?,
        ])
    }

    /// Closes everything that is still open.
    pub fn close_all(&mut self) {
        for fd in self.fds.all() {
            let _ = self.close(fd);
        }
    }

    /// A call that may wait; its time-out begins now.
    pub fn begin(&mut self, call: Call) -> Pending {
        let ms = |t: i32| if t < 0 { Instant::FAR } else { self.now + Duration::from_millis(t as u64) };
        let until = match &call {
            Call::Poll { timeout, .. } | Call::EpollWait { timeout, .. } => ms(*timeout),
            Call::Accept { fd, .. } | Call::Recv { fd, .. } => self.timeout(*fd, SO_RCVTIMEO),
            Call::Connect { fd, .. } | Call::Send { fd, .. } => self.timeout(*fd, SO_SNDTIMEO),
            Call::Splice { .. } => Instant::FAR,
        };
        Pending { call, until, done: 0, opening: false, starved: false, got: Vec::new() }
    }

    /// When a call on this socket gives up by SO_RCVTIMEO or SO_SNDTIMEO.
    fn timeout(&mut self, fd: i32, option: i32) -> Instant {
        let Ok(v) = self.getsockopt(fd, SOL_SOCKET, option, 16) else { return Instant::FAR };
        let part = |at: usize| {
            v.get(at..at + 8)
                .and_then(|b| b.try_into().ok())
                .map_or(0, |b| i64::from_ne_bytes(b).max(0) as u64)
        };
        match part(0).saturating_mul(1_000_000).saturating_add(part(8)) {
            0 => Instant::FAR,
            us => self.now + Duration::from_micros(us),
        }
    }

    /// Tries a call once more; `None`: it blocks. A call that was answered must not be tried again.
    pub fn attempt(&mut self, p: &mut Pending) -> Option<Result<Answer>> {
        self.shard.begin(self.now);
        let late = self.now >= p.until;
        let r = match &p.call {
            Call::Accept { fd, flags } => {
                let (fd, flags) = (*fd, *flags);
                self.try_accept(fd, flags, late)
            }
            Call::Connect { .. } => self.try_connect(p, late),
            Call::Recv { .. } => self.try_recv(p, late),
            Call::Send { .. } => self.try_send(p, late),
            Call::Poll { fds, .. } => {
                let fds = fds.clone();
                self.try_poll(&fds, late)
            }
            Call::EpollWait { fd, max, .. } => {
                let (fd, max) = (*fd, *max);
                self.try_epoll_wait(fd, max, late)
            }
            Call::Splice { from, to, len, flags } => {
                let (from, to, len, flags) = (*from, *to, *len, *flags);
                self.try_splice(from, to, len, flags)
            }
        };
        self.settle();
        r
    }

    fn try_accept(&mut self, fd: i32, flags: i32, late: bool) -> Option<Result<Answer>> {
        let id = match self.fds.sock(fd) {
            Ok(id) => id,
            Err(e) => return Some(Err(e)),
        };
        let s = &mut self.shard;
        let (child, peer) = match s.sockets.accept(&mut s.cx, id) {
            Err(Errno::EAGAIN) if !late && !self.fds.nonblocking(fd) => return None,
            Err(e) => return Some(Err(e)),
            Ok(x) => x,
        };
        let flags = if flags & SOCK_NONBLOCK != 0 { O_NONBLOCK } else { 0 };
        Some(self.fds.insert(None, File::Socket(child), flags).map(|n| Answer {
            ret: n.into(),
            name: encode_name(peer),
            ..Answer::default()
        }))
    }

    /// Gives the descriptor of an accepted connection another number (that of the caller's own table).
    ///
    /// # Errors
    /// EBADF.
    pub fn renumber(&mut self, from: i32, to: i32) -> Result<()> {
        let flags = self.fds.get(from)?.flags;
        let file = self.fds.remove(from)?;
        self.fds.insert(Some(to), file, flags).map(|_| ())
    }

    fn try_connect(&mut self, p: &mut Pending, late: bool) -> Option<Result<Answer>> {
        let Call::Connect { fd, name } = &p.call else { return None };
        let (fd, nonblock) = (*fd, self.fds.nonblocking(*fd));
        let (id, to) = match self.fds.sock(fd).and_then(|id| Ok((id, decode_name(name)?))) {
            Ok(x) => x,
            Err(e) => return Some(Err(e)),
        };
        match self.connect_once(id, to) {
            Ok(()) => Some(Ok(Answer::default())),
            Err(Errno::EINPROGRESS) if nonblock => Some(Err(Errno::EINPROGRESS)),
            Err(Errno::EINPROGRESS) => {
                p.done = 1;
                None
            }
            // It is we who began the handshake, and it goes on.
            Err(Errno::EALREADY) if (p.done == 1 || !nonblock) && !late => None,
            Err(Errno::EALREADY) if p.done == 1 => Some(Err(Errno::EINPROGRESS)),
            Err(e) => Some(Err(e)),
        }
    }

    pub(crate) fn connect_once(&mut self, id: SockId, to: Option<SocketAddr>) -> Result<()> {
        let s = &mut self.shard;
        s.sockets.connect(&mut s.cx, &mut s.net, id, to)
    }
}

impl World {
    /// Whether a descriptor is one of the world's.
    pub fn owns(&self, fd: i32) -> bool {
        self.fds.get(fd).is_ok()
    }
}
