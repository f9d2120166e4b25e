//! Requests about sockets: each is answered here, at once.

use crate::Host;
use crate::host::Cred;
use crate::routing::is_routing;
use crate::server::Server;
use crate::sock::{Join, Kind, Messages, Sock, State};
use alloc::boxed::Box;
use core::net::SocketAddr;
use iopkt_base::{Errno, Result};
use iopkt_sockproto::linux::*;
use iopkt_sockproto::{Addr, Hello, MAX_SOCKOPT, Op, PairFamily, Rep, Req, VERSION, repf, sockf};
use iopkt_stack::sockets::SockType;
use iopkt_stack::{Family, Shard};

/// What a request about a socket is about.
pub(crate) enum Target {
    /// A live socket.
    Live(u32),
    /// A dead one that is remembered, by its inode number.
    Dead(u64),
}

/// Send buffer of a stream's pair, as Linux has it by default, bytes.
const UNBOUNDED: u32 = 212_992;
/// Half of four times 17 pages and their heads: see `least_pair`.
const LEAST: u32 = 147_456;
/// Ports from 1 up to here (IPPORT_RESERVED) are for users that the stack trusts.
const RESERVED: u16 = 1024;

impl<H: Host> Server<H> {
    pub(crate) fn request(
        &mut self,
        shard: &mut Shard,
        k: u32,
        cred: Cred,
        req: &Req,
        payload: &[u8],
        fd: Option<H::Fd>,
    ) {
        let ok = Rep::ok(req);
        match req.op {
            Op::Hello => {
                let hello = Hello {
                    instance: self.cfg.instance,
                    key: self.cfg.key,
                    now: shard.cx.now.as_nanos(),
                    pid: self.cfg.pid,
                };
                let theirs = req.args[0];
                if theirs != 0 && theirs != i32::from(iopkt_ctl::VERSION) {
                    shard.cx.log(4, alloc::format!(
                        "process {} speaks version {theirs} of the configuration requests, this stack {} (protocol {VERSION}): \
                         use tools and stack of one build", cred.pid, iopkt_ctl::VERSION));
                    return self.reply(k, Rep::err(req, Errno::EPROTO), &[], None);
                }
                self.reply(k, ok, &hello.encode(), None);
            }
            Op::Socket => match self.make(shard, cred, req) {
                Ok(client) => self.reply(k, ok, &[], Some(client)),
                Err(e) => self.reply(k, Rep::err(req, e), &[], None),
            },
            Op::Ctl => self.control(shard, k, cred, req, payload),
            Op::Open => match self.open(shard, cred, req, payload) {
                Ok(client) => self.reply(k, ok, &[], Some(client)),
                Err(e) => self.reply(k, Rep::err(req, e), &[], None),
            },
            _ => {
                let Some(fd) = fd else { return self.reply(k, Rep::err(req, Errno::EBADF), &[], None) };
                let ino = self.host.identify(&fd);
                if let Some(ino) = ino
                    && self.node_request(shard, k, req, payload, &fd, ino)
                {
                    return;
                }
                let target = match self.target(ino) {
                    Ok(t) => t,
                    Err(e) => return self.reply(k, Rep::err(req, e), &[], None),
                };
                if let Err(e) = self.about(shard, k, req, payload, &fd, target) {
                    self.reply(k, Rep::err(req, e), &[], None);
                }
            }
        }
    }

    /// Whether a user may do what changes the stack or speaks for it: configure it, make raw sockets, have a port
    /// below 1024. Root, and who started it.
    pub(crate) fn trusts(&self, uid: u32) -> bool {
        uid == 0 || uid == self.cfg.uid
    }

    fn target(&mut self, ino: Option<u64>) -> Result<Target> {
        let ino = ino.ok_or(Errno::ENOTSOCK)?;
        if let Some(&k) = self.by_ino.get(&ino) {
            return Ok(Target::Live(k));
        }
        self.tombs.get(ino).map(|_| Target::Dead(ino)).ok_or(Errno::ENOTSOCK)
    }

    /// A request about a socket. Replies itself on success.
    fn about(
        &mut self,
        shard: &mut Shard,
        k: u32,
        req: &Req,
        payload: &[u8],
        fd: &H::Fd,
        t: Target,
    ) -> Result<()> {
        let s = match t {
            Target::Live(s) => s,
            Target::Dead(ino) => return self.about_dead(shard, k, req, ino),
        };
        if matches!(self.socks[s as usize].state, State::Routing(_)) {
            return self.about_routing(shard, k, req, payload, fd, s);
        }
        let id = self.socks[s as usize].id;
        let mut rep = Rep::ok(req);
        match req.op {
            Op::Bind => {
                let to = req.addr.0.ok_or(Errno::EAFNOSUPPORT)?;
                let trusted = self.sessions.get(k as usize).is_some_and(|s| self.trusts(s.cred.uid));
                if (1..RESERVED).contains(&to.port()) && !trusted {
                    return Err(Errno::EACCES);
                }
                self.with_port(shard, s, to.port(), |_, shard| {
                    shard.sockets.bind(&mut shard.cx, &shard.net, id, to)
                })?;
            }
            Op::Connect => {
                return self.with_port(shard, s, 0, |me, shard| me.connect(shard, k, req, payload, fd, s));
            }
            Op::ConnectStatus => self.connect_status(shard, s)?,
            Op::Listen => self.with_port(shard, s, 0, |me, shard| me.listen(shard, s, req.args[0]))?,
            Op::Accept => return self.accept_call(shard, k, req, fd, s),
            Op::Getsockname => rep.addr = Addr(Some(shard.sockets.local_addr(id)?)),
            Op::Getpeername => rep.addr = Addr(Some(self.peer(shard, s)?)),
            Op::Setsockopt => {
                let trusted = self.sessions.get(k as usize).is_some_and(|s| self.trusts(s.cred.uid));
                self.set_option(shard, req, payload, fd, s, trusted)?;
            }
            Op::Getsockopt => return self.get_option(shard, k, req, payload, fd, s),
            Op::Shutdown => self.shutdown_call(shard, req.args[0], fd, s)?,
            Op::Ioctl => return self.ioctl(shard, k, req, payload, fd, s),
            Op::Send if req.args[0] & MSG_OOB != 0 && self.socks[s as usize].kind.stream() => {
                match self.send_urgent(shard, payload, s)? {
                    Some(n) => rep.val[0] = n as i32,
                    None => rep.flags |= repf::NATIVE,
                }
            }
            Op::Send => rep.val[0] = self.send_call(shard, req, payload, s)?,
            Op::Recv if req.args[0] & MSG_ERRQUEUE != 0 => return self.error_call(shard, k, req, fd, s),
            Op::Recv => return self.recv_call(k, req, fd, s),
            Op::Info => {
                let sk = &self.socks[s as usize];
                rep.val = kind_numbers(sk.kind);
                rep.flags |= match &sk.state {
                    State::Connecting { .. } => repf::CONNECTING,
                    State::Up { .. } => repf::CONNECTED,
                    State::Listening(_) => repf::LISTENING,
                    State::Dgram(m) if m.peer.is_some() => repf::CONNECTED,
                    _ => 0,
                };
                rep.addr = Addr(self.peer(shard, s).ok());
            }
            Op::Hello | Op::Socket | Op::Ctl | Op::Open | Op::Ring => return Err(Errno::EINVAL),
        }
        self.reply(k, rep, &[], None);
        Ok(())
    }

    fn peer(&self, shard: &Shard, s: u32) -> Result<SocketAddr> {
        match self.socks[s as usize].state {
            State::Up { .. } | State::Dgram(_) => shard.sockets.peer_addr(self.socks[s as usize].id),
            _ => Err(Errno::ENOTCONN),
        }
    }

    /// What a dead socket still answers.
    fn about_dead(&mut self, shard: &mut Shard, k: u32, req: &Req, ino: u64) -> Result<()> {
        let Some(t) = self.tombs.get(ino) else { return Err(Errno::ENOTSOCK) };
        let kind = t.kind;
        let mut rep = Rep::ok(req);
        match req.op {
            Op::ConnectStatus => return Err(t.err.take().unwrap_or(Errno::ENOTCONN)),
            Op::Getsockopt if (req.args[0], req.args[1]) == (SOL_SOCKET, SO_ERROR) => {
                let e = t.err.take().map_or(0, |e| e.raw());
                self.reply(k, rep, &e.to_ne_bytes(), None);
                return Ok(());
            }
            Op::Getsockopt if req.args[0] == SOL_SOCKET => {
                let [domain, ty, proto] = kind_numbers(kind);
                let v = match req.args[1] {
                    SO_TYPE => ty,
                    SO_DOMAIN => domain,
                    SO_PROTOCOL => proto,
                    _ => 0,
                };
                self.reply(k, rep, &v.to_ne_bytes(), None);
                return Ok(());
            }
            // Nothing of it would be seen any more; Linux accepts options of a dead connection too.
            Op::Setsockopt => {}
            Op::Getsockname => rep.addr = Addr(Some(t.local.ok_or(Errno::EINVAL)?)),
            Op::Getpeername if t.peer.is_some() => rep.addr = Addr(t.peer),
            Op::Getpeername | Op::Shutdown | Op::Send | Op::Recv => return Err(Errno::ENOTCONN),
            Op::Info => rep.val = kind_numbers(kind),
            Op::Connect if kind.stream() => return self.connect_again(shard, k, req, ino, kind),
            _ => return Err(Errno::EINVAL),
        }
        self.reply(k, rep, &[], None);
        Ok(())
    }

    /// socket(2).
    fn make(&mut self, shard: &mut Shard, cred: Cred, req: &Req) -> Result<H::Fd> {
        if is_routing(req.args[0]) {
            return self.make_routing(shard, cred, req);
        }
        let family = match req.args[0] {
            AF_PACKET => return self.make_packet(shard, cred, req),
            AF_INET => Family::V4,
            AF_INET6 => Family::V6,
            _ => return Err(Errno::EAFNOSUPPORT),
        };
        if req.args[1] & !(SOCK_TYPE_MASK | SOCK_NONBLOCK | SOCK_CLOEXEC) != 0 {
            return Err(Errno::EINVAL);
        }
        // socket(2): numbers beyond those that there are.
        if (req.args[1] & SOCK_TYPE_MASK) > SOCK_PACKET || !(0..IPPROTO_MAX).contains(&req.args[2]) {
            return Err(Errno::EINVAL);
        }
        let ty = match req.args[1] & SOCK_TYPE_MASK {
            SOCK_STREAM => SockType::Stream,
            SOCK_DGRAM => SockType::Dgram,
            SOCK_RAW => SockType::Raw,
            _ => return Err(Errno::ESOCKTNOSUPPORT),
        };
        let proto = u8::try_from(req.args[2]).map_err(|_| Errno::EPROTONOSUPPORT)?;
        if ty == SockType::Raw && !self.trusts(cred.uid) {
            return Err(Errno::EPERM);
        }
        let state = match ty {
            SockType::Stream => State::Fresh,
            _ => State::Dgram(Box::new(Messages {
                strips: req.args[3] & sockf::STRIPS != 0,
                ..Messages::default()
            })),
        };
        let nonblock = req.args[1] & SOCK_NONBLOCK != 0;
        let (s, fd) = self.make_socket(
            shard,
            cred.uid,
            Kind { family, ty, proto, joins: req.args[3] & sockf::JOINS != 0 },
            state,
            nonblock,
        )?;
        let _ = shard.sockets.set_owner(self.socks[s as usize].id, cred.pid);
        Ok(fd)
    }

    /// A socket of the stack and its pair.
    pub(crate) fn make_socket(
        &mut self,
        shard: &mut Shard,
        uid: u32,
        kind: Kind,
        state: State,
        nonblock: bool,
    ) -> Result<(u32, H::Fd)> {
        self.may_have_socket(shard, uid)?;
        let id = shard.sockets.socket(&mut shard.cx, kind.family, kind.ty, kind.proto)?;
        let made = self.attach(id, uid, kind, state, nonblock);
        if made.is_err() {
            shard.sockets.close(&mut shard.cx, &mut shard.net, id, false);
        }
        made
    }

    /// A pair for a socket that the stack has.
    pub(crate) fn attach(
        &mut self,
        id: iopkt_stack::sockets::SockId,
        uid: u32,
        kind: Kind,
        state: State,
        nonblock: bool,
    ) -> Result<(u32, H::Fd)> {
        let k = self.socks.vacant_key() as u32;
        let p = self.host.pair(kind.stream(), PairFamily::Inet, k, nonblock)?;
        let accepted = matches!(state, State::Up { .. });
        let k = self.enter(Sock::new(id, p.end, p.ino, kind, uid, state));
        if accepted {
            // An event tells when there is something to read, and of the hang-up behind it: a short answer and its end go together.
            self.socks[k as usize].readable = false;
        }
        Ok((k, p.client))
    }

    /// Enters a socket into the tables.
    pub(crate) fn enter(&mut self, s: Sock) -> u32 {
        let (id, ino, uid) = (s.id, s.ino, s.uid);
        let k = self.socks.insert(s) as u32;
        self.gain(uid, |s| s.sockets += 1);
        self.tombs.forget(ino);
        self.by_ino.insert(ino, k);
        self.by_id.insert(id, k);
        self.queue(k);
        k
    }

    fn set_option(
        &mut self,
        shard: &mut Shard,
        req: &Req,
        payload: &[u8],
        fd: &H::Fd,
        s: u32,
        trusted: bool,
    ) -> Result<()> {
        let (level, name) = (req.args[0], req.args[1]);
        let program = level == SOL_SOCKET && [SO_ATTACH_FILTER, SO_ATTACH_REUSEPORT_CBPF].contains(&name);
        if payload.len() > MAX_SOCKOPT && !program {
            return Err(Errno::EINVAL);
        }
        if !trusted {
            crate::privilege::may_set(level, name, payload)?;
        }
        if matches!(self.socks[s as usize].state, State::Dgram(_)) {
            // What was sent before goes as it was to go then.
            self.drain_messages(shard, s);
        }
        let id = self.socks[s as usize].id;
        shard.sockets.setsockopt(&mut shard.cx, &mut shard.net, id, level, name, payload)?;
        let native = [
            SO_RCVTIMEO_OLD,
            SO_SNDTIMEO_OLD,
            SO_RCVTIMEO_NEW,
            SO_SNDTIMEO_NEW,
            SO_RCVLOWAT,
            SO_PEEK_OFF,
            SO_OOBINLINE,
        ];
        let stream = self.socks[s as usize].kind.stream();
        if (level, name) == (IPPROTO_TCP, TCP_NOTSENT_LOWAT) {
            self.bound_unsent(fd, s, payload)?;
        }
        if stream && (level, name) == (SOL_SOCKET, SO_SNDBUF) {
            // Who wants a small buffer wants to feel it: the pair's own comes on top of the stack's.
            self.bound_pair(fd, s, payload)?;
        }
        if level == SOL_SOCKET
            && native.contains(&name)
            && (stream || !matches!(name, SO_PEEK_OFF | SO_OOBINLINE))
        {
            self.host.client_option(fd, name, payload)?;
        }
        let sk = &mut self.socks[s as usize];
        if let State::Dgram(m) = &sk.state {
            sk.ancillary = m.strips && shard.sockets.recv_wants(id) != Default::default();
        }
        Ok(())
    }

    /// SO_SNDBUF of a stream: the pair holds no more than that either. It grows back, not beyond what it had.
    fn bound_pair(&mut self, fd: &H::Fd, s: u32, value: &[u8]) -> Result<()> {
        let Some(v) = value.first_chunk::<4>().map(|b| i32::from_ne_bytes(*b)) else { return Ok(()) };
        let size = (v.max(0) as u32).clamp(self.least_pair(s), UNBOUNDED);
        self.host.client_option(fd, SO_SNDBUF, &size.to_ne_bytes())
    }

    /// The smallest buffer of a pair. The byte that always stays in the server's end (see `Host`) holds a whole packet of the kernel's,
    /// and the program's end is writable while at most a quarter is in use: it must not be a smaller part. Nothing stays in a joined one.
    fn least_pair(&self, s: u32) -> u32 {
        if self.socks.get(s as usize).is_some_and(|s| s.join == Join::Joined) { 0 } else { LEAST }
    }

    /// TCP_NOTSENT_LOWAT: the pair holds unsent bytes, too, so it is made small (the kernel has a least size).
    fn bound_unsent(&mut self, fd: &H::Fd, s: u32, value: &[u8]) -> Result<()> {
        let Some(v) = value.first_chunk::<4>().map(|b| u32::from_ne_bytes(*b)) else { return Ok(()) };
        let size = if v == 0 { UNBOUNDED } else { v.clamp(self.least_pair(s), UNBOUNDED) };
        self.host.client_option(fd, SO_SNDBUF, &size.to_ne_bytes())
    }

    fn get_option(
        &mut self,
        shard: &mut Shard,
        k: u32,
        req: &Req,
        payload: &[u8],
        fd: &H::Fd,
        s: u32,
    ) -> Result<()> {
        if (req.args[0], req.args[1]) == (SOL_SOCKET, SO_ERROR) {
            self.error_of_joined(shard, fd, s);
        }
        let Some(sk) = self.socks.get_mut(s as usize) else { return Err(Errno::ENOTSOCK) };
        let rep = Rep::ok(req);
        if (req.args[0], req.args[1]) == (SOL_SOCKET, SO_ERROR)
            && let Some(e) = sk.err.take()
        {
            self.reply(k, rep, &e.raw().to_ne_bytes(), None);
            return Ok(());
        }
        let mut out = [0; MAX_SOCKOPT];
        let room = usize::try_from(req.args[2]).map_err(|_| Errno::EINVAL)?.min(MAX_SOCKOPT);
        // Some options are asked with a value.
        let given = payload.len().min(MAX_SOCKOPT);
        out[..given].copy_from_slice(&payload[..given]);
        if (req.args[0], req.args[1]) == (SOL_SOCKET, SO_WANTS) {
            let v6 = if sk.kind.family == Family::V6 { wants::V6 } else { 0 };
            let bits = crate::messages::wants(&shard.sockets.recv_wants(sk.id)) | v6;
            self.reply(k, rep, &bits.to_ne_bytes(), None);
            return Ok(());
        }
        let n = shard.sockets.getsockopt(
            &mut shard.cx,
            &shard.net,
            sk.id,
            req.args[0],
            req.args[1],
            &mut out[..room],
        )?;
        self.reply(k, rep, &out[..n.min(room)], None);
        Ok(())
    }
}

/// Domain, type and protocol as socket(2) has them.
fn kind_numbers(k: Kind) -> [i32; 3] {
    let domain = if k.family == Family::V4 { AF_INET } else { AF_INET6 };
    let ty = match k.ty {
        SockType::Stream => SOCK_STREAM,
        SockType::Dgram => SOCK_DGRAM,
        SockType::Raw => SOCK_RAW,
    };
    let usual = match k.ty {
        SockType::Stream => IPPROTO_TCP,
        SockType::Dgram => IPPROTO_UDP,
        SockType::Raw => 0,
    };
    [domain, ty, if k.proto == 0 { usual } else { i32::from(k.proto) }]
}
