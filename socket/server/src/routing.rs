//! Routing sockets: AF_ROUTE in BSD's layout (route(4)), and netlink(7) for Linux programs.
//!
//! # Theory of operation
//!
//! The pair carries one message a message, bare, both ways. What happens to interfaces, addresses and routes comes
//! from the shard as values ([`iopkt_stack::RtNote`]), is put into the form of each family once, and is queued for every
//! socket that wants it. A queue is bounded: what does not fit is lost, and SO_ERROR says ENOBUFS (the program lists the
//! tables again). A request is answered with a message to all AF_ROUTE sockets, the asking one included
//! (unless it cleared SO_USELOOPBACK), as BSD does: a request that fails comes back with its errno in `rtm_errno`,
//! which is the only place for it, since write(2) is not intercepted.
//!
//! Everybody may listen and ask; changes are for root and the user of io-pkt.

use crate::Host;
use crate::host::Cred;
use crate::netlink::Netlink;
use crate::rtconv;
use crate::server::Server;
use crate::sock::{Kind, Sock, State};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use iopkt_base::{Errno, Result, zone};
use iopkt_ctl::{RTV_MTU, Reply, Request, RouteInfo, rtf};
use iopkt_sockproto::linux::*;
use iopkt_sockproto::rtmsg::{RtBody, RtMsg, Sa, rtm};
use iopkt_sockproto::{DgramHdr, PairFamily, Rep, Req, sockf};
use iopkt_stack::sockets::{SockId, SockType};
use iopkt_stack::{AddrNote, By, Family, RtKind, RtNote, Shard};

/// Messages that wait for a program which does not read.
const QUEUE: usize = 512;
/// Requests of one socket in a turn.
const REQUESTS: usize = 16;
/// SO_USELOOPBACK of BSD.
const SO_USELOOPBACK: i32 = 0x40;
/// A name that no socket of the stack has.
const NO_SOCKET: SockId = SockId { index: u32::MAX, generation: 0 };

/// What a routing socket has besides.
#[derive(Debug)]
pub(crate) struct Routing {
    /// Netlink's part; `None` for AF_ROUTE.
    pub netlink: Option<Netlink>,
    /// AF_ROUTE: the family whose messages are wanted (third argument of socket(2)), 0 for all.
    family: u8,
    /// Whether its own requests' messages come back.
    loopback: bool,
    /// May change something.
    pub trusted: bool,
    /// Who made it.
    pub pid: u32,
    /// Messages for which the pair had no room.
    pub out: VecDeque<Vec<u8>>,
}

/// A `struct sockaddr_nl`.
fn netlink_name(port: u32, groups: u32) -> Vec<u8> {
    [&(AF_NETLINK as u16).to_ne_bytes()[..], &[0, 0], &port.to_ne_bytes(), &groups.to_ne_bytes()].concat()
}

/// The address of a routing socket, which is no more than its family.
fn route_name() -> Vec<u8> {
    (AF_ROUTE as u16).to_ne_bytes().to_vec()
}

/// Whether a domain is one of ours.
pub(crate) fn is_routing(domain: i32) -> bool {
    matches!(domain, AF_ROUTE | AF_NETLINK)
}

impl<H: Host> Server<H> {
    /// The process that a routing socket is made for: a supervisor asks for others. Strangers are whom the kernel says: answers are
    /// told to all, and known by that number.
    fn asking(&self, cred: Cred, req: &Req) -> u32 {
        let named = u32::try_from(req.args[4]).ok().filter(|p| *p != 0 && self.trusts(cred.uid));
        named.unwrap_or(cred.pid)
    }

    /// socket(2) of a routing socket.
    pub(crate) fn make_routing(&mut self, shard: &mut Shard, cred: Cred, req: &Req) -> Result<H::Fd> {
        let netlink = req.args[0] == AF_NETLINK;
        if !matches!(req.args[1] & SOCK_TYPE_MASK, SOCK_RAW | SOCK_DGRAM) {
            return Err(Errno::ESOCKTNOSUPPORT);
        }
        let family = match req.args[2] {
            NETLINK_ROUTE => 0,
            NETLINK_SOCK_DIAG if netlink => 0,
            _ if netlink => return Err(Errno::EPROTONOSUPPORT),
            AF_INET => 4,
            AF_INET6 | 24 => 6,
            _ => return Err(Errno::EPROTONOSUPPORT),
        };
        self.may_have_socket(shard, cred.uid)?;
        let routing = Routing {
            netlink: netlink.then(|| Netlink::new(req.args[2] == NETLINK_SOCK_DIAG)),
            family,
            loopback: true,
            trusted: self.trusts(cred.uid) && req.args[3] & sockf::LOOKS == 0,
            pid: self.asking(cred, req),
            out: VecDeque::new(),
        };
        let entry = self.socks.vacant_entry();
        let k = entry.key() as u32;
        let of = if netlink { PairFamily::Netlink } else { PairFamily::Route };
        let p = self.host.pair(false, of, k, req.args[1] & SOCK_NONBLOCK != 0)?;
        let kind = Kind { family: Family::V4, ty: SockType::Raw, proto: 0, joins: false };
        entry.insert(Sock::new(NO_SOCKET, p.end, p.ino, kind, cred.uid, State::Routing(Box::new(routing))));
        self.gain(cred.uid, |s| s.sockets += 1);
        self.tombs.forget(p.ino);
        self.by_ino.insert(p.ino, k);
        self.routing.push(k);
        shard.cx.rt.wanted = true;
        self.queue(k);
        Ok(p.client)
    }

    /// A routing socket is closed.
    pub(crate) fn end_routing(&mut self, shard: &mut Shard, k: u32) {
        let Some(s) = self.socks.try_remove(k as usize) else { return };
        self.by_ino.remove(&s.ino);
        self.routing.retain(|x| *x != k);
        self.give_back(s.uid, |s| s.sockets -= 1);
        self.host.close(s.end, false);
        if self.routing.is_empty() {
            shard.cx.rt.stop();
        }
        self.accept_again();
    }

    pub(crate) fn routing_mut(&mut self, k: u32) -> Option<&mut Routing> {
        match &mut self.socks.get_mut(k as usize)?.state {
            State::Routing(r) => Some(r),
            _ => None,
        }
    }

    /// Looks at a routing socket; whether there is more to do.
    pub(crate) fn pump_routing(&mut self, shard: &mut Shard, k: u32) -> bool {
        if !self.flush_routing(k) {
            let hup = self.socks.get(k as usize).is_some_and(|s| s.hup);
            if hup {
                self.end_routing(shard, k);
            }
            return false;
        }
        for _ in 0..REQUESTS {
            if self.continue_dump(shard, k) {
                // Its answers go first; what could not be sent waits for room.
                return self.socks.get(k as usize).is_some_and(|s| s.writable || s.hup);
            }
            let Some(sk) = self.socks.get_mut(k as usize) else { return false };
            if !sk.readable {
                break;
            }
            match self.host.recv_msg(sk.end, &mut self.buf) {
                Ok(Some(n)) => {
                    let msg = self.buf[..n].to_vec();
                    self.routing_request(shard, k, &msg);
                }
                Ok(None) => sk.readable = false,
                Err(_) => {
                    sk.readable = false;
                    sk.hup = true;
                }
            }
        }
        let Some(sk) = self.socks.get(k as usize) else { return false };
        if sk.hup && !sk.readable {
            self.end_routing(shard, k);
            return false;
        }
        sk.readable
    }

    fn routing_request(&mut self, shard: &mut Shard, k: u32, msg: &[u8]) {
        // sendto(2) with an address puts a header in front.
        let msg = DgramHdr::decode(msg, self.cfg.key).map_or(msg, |(_, payload)| payload);
        let netlink = self.routing_mut(k).is_some_and(|r| r.netlink.is_some());
        let r = if netlink { self.netlink_request(shard, k, msg) } else { self.route_request(shard, k, msg) };
        if let (Err(e), Some(sk)) = (r, self.socks.get_mut(k as usize)) {
            sk.err = Some(e);
        }
        self.tell_routing(shard);
    }

    /// write(2) with the error at once ([`iopkt_sockproto::Op::Send`]).
    pub(crate) fn routing_send(&mut self, shard: &mut Shard, k: u32, msg: &[u8]) -> Result<i32> {
        self.pump_routing(shard, k);
        let msg = DgramHdr::decode(msg, self.cfg.key).map_or(msg, |(_, payload)| payload);
        let netlink = self.routing_mut(k).ok_or(Errno::EBADF)?.netlink.is_some();
        let r = if netlink { self.netlink_request(shard, k, msg) } else { self.route_request(shard, k, msg) };
        self.tell_routing(shard);
        self.queue(k);
        r.map(|()| msg.len() as i32)
    }

    /// A message of a program on an AF_ROUTE socket (BSD's route_output).
    fn route_request(&mut self, shard: &mut Shard, k: u32, msg: &[u8]) -> Result<()> {
        let (m, _) = RtMsg::decode(msg).ok_or(Errno::EINVAL)?;
        let RtBody::Route(mut body) = m.body else { return Err(Errno::EOPNOTSUPP) };
        let r = self.routing_mut(k).ok_or(Errno::EBADF)?;
        let (trusted, pid) = (r.trusted, r.pid as i32);
        body.pid = pid;
        shard.cx.rt.by = By { pid, seq: body.seq, message: true };
        let done = if m.ty != rtm::GET && !trusted {
            Err(Errno::EACCES)
        } else {
            carry_out(shard, &RtMsg { body: RtBody::Route(body), ..m }, self.seconds(shard))
        };
        shard.cx.rt.by = By::default();
        let reply = match done {
            // The change itself tells of it.
            Ok(None) => return Ok(()),
            Ok(Some(reply)) => reply,
            Err(e) => {
                body.errno = e.raw();
                RtMsg { body: RtBody::Route(body), ..m }
            }
        };
        // In order: what the request changed before it failed goes first.
        self.tell_routing(shard);
        self.tell_all(&reply, Some(k));
        done.map(drop)
    }

    /// The wall clock.
    fn seconds(&self, shard: &Shard) -> u64 {
        self.host.wall(shard.cx.now) / 1_000_000_000
    }

    /// Sends what the shard has to tell to all routing sockets.
    pub(crate) fn tell_routing(&mut self, shard: &mut Shard) {
        let wall = self.seconds(shard);
        while let Some(mut n) = shard.cx.rt.pop() {
            if let RtNote::Addr { what: AddrNote::Added, iface, .. } = &mut n {
                // It is tentative only since its domain has heard of it.
                let name = Some(iface.name.clone());
                if let Some(Reply::Interfaces(mut l)) = shard.ctl(&Request::Interfaces { name })
                    && let Some(i) = l.pop()
                {
                    iface.lives = i.lives;
                }
            }
            if let Some(m) = rtconv::message(shard, &n, wall) {
                self.tell_all(&m, None);
            }
            self.tell_netlink(shard, &n);
        }
        if shard.cx.rt.take_lost() != 0 {
            for k in self.routing.clone() {
                self.overrun(k);
            }
        }
    }

    /// A message to all AF_ROUTE sockets that want it.
    fn tell_all(&mut self, m: &RtMsg, by: Option<u32>) {
        let bytes = m.encode();
        let family = m.addrs.dst.or(m.addrs.ifa).map_or(0, |a| if a.is_ipv4() { 4 } else { 6 });
        let (pid, seq) = match &m.body {
            RtBody::Route(r) => (r.pid, r.seq),
            _ => (0, 0),
        };
        for k in self.routing.clone() {
            let Some(r) = self.routing_mut(k) else { continue };
            let fits = r.family == 0 || family == 0 || r.family == family;
            let own = by == Some(k) || pid != 0 && seq != 0 && r.pid as i32 == pid;
            if r.netlink.is_none() && fits && (r.loopback || !own) {
                self.put_routing(k, bytes.bytes());
            }
        }
    }

    /// Puts a message into a program's queue.
    pub(crate) fn put_routing(&mut self, k: u32, msg: &[u8]) {
        let Some(sk) = self.socks.get_mut(k as usize) else { return };
        let State::Routing(r) = &mut sk.state else { return };
        if r.out.is_empty() && sk.writable {
            match self.host.send_msg(sk.end, &[], msg) {
                Err(Errno::EAGAIN) => sk.writable = false,
                _ => return,
            }
        }
        if r.out.len() < QUEUE {
            r.out.push_back(msg.to_vec());
        } else {
            self.overrun(k);
        }
    }

    fn overrun(&mut self, k: u32) {
        if let Some(sk) = self.socks.get_mut(k as usize) {
            sk.err = Some(Errno::ENOBUFS);
        }
    }

    /// Sends what waits; false: no room yet.
    fn flush_routing(&mut self, k: u32) -> bool {
        let Some(sk) = self.socks.get_mut(k as usize) else { return false };
        let State::Routing(r) = &mut sk.state else { return false };
        while let Some(m) = r.out.front() {
            if !sk.writable {
                return false;
            }
            if self.host.send_msg(sk.end, &[], m) == Err(Errno::EAGAIN) {
                sk.writable = false;
                return false;
            }
            r.out.pop_front();
        }
        true
    }

    /// A request about a routing socket.
    pub(crate) fn about_routing(
        &mut self,
        shard: &mut Shard,
        k: u32,
        req: &Req,
        payload: &[u8],
        fd: &H::Fd,
        s: u32,
    ) -> Result<()> {
        use iopkt_sockproto::Op;
        let mut rep = Rep::ok(req);
        let r = self.routing_mut(s).ok_or(Errno::EBADF)?;
        match req.op {
            Op::Bind => match &mut r.netlink {
                Some(n) => n.bind(req.args[0] as u32, req.args[1] as u32),
                None => return Err(Errno::EINVAL),
            },
            // A netlink socket may name the kernel as its peer; an AF_ROUTE one has always been connected to it.
            Op::Connect if r.netlink.is_some() => {}
            Op::Connect => return Err(Errno::EISCONN),
            Op::Getsockname => {
                let name = match &mut r.netlink {
                    Some(n) => {
                        let (port, groups) = n.name(r.pid);
                        netlink_name(port, groups)
                    }
                    None => route_name(),
                };
                self.reply(k, rep, &name, None);
                return Ok(());
            }
            Op::Getpeername => {
                let name = if r.netlink.is_some() { netlink_name(0, 0) } else { route_name() };
                self.reply(k, rep, &name, None);
                return Ok(());
            }
            Op::Setsockopt => self.set_routing_option(req, payload, fd, s)?,
            Op::Getsockopt => return self.get_routing_option(k, req, s),
            Op::Shutdown => {
                let how = u8::try_from(req.args[0]).ok().filter(|h| *h < 3).ok_or(Errno::EINVAL)?;
                self.host.client_shutdown(fd, how);
            }
            Op::Ioctl => return self.ioctl(shard, k, req, payload, fd, s),
            Op::Send => rep.val[0] = self.routing_send(shard, s, payload)?,
            Op::Info => {
                let domain = if r.netlink.is_some() { AF_NETLINK } else { AF_ROUTE };
                rep.val = [domain, SOCK_RAW, 0];
            }
            _ => return Err(Errno::EOPNOTSUPP),
        }
        self.reply(k, rep, &[], None);
        Ok(())
    }

    fn set_routing_option(&mut self, req: &Req, payload: &[u8], fd: &H::Fd, s: u32) -> Result<()> {
        let int = || payload.first_chunk().map(|b| i32::from_ne_bytes(*b)).ok_or(Errno::EINVAL);
        let r = self.routing_mut(s).ok_or(Errno::EBADF)?;
        match (req.args[0], req.args[1]) {
            (SOL_SOCKET, SO_RCVTIMEO_OLD | SO_SNDTIMEO_OLD | SO_RCVTIMEO_NEW | SO_SNDTIMEO_NEW) => {
                self.host.client_option(fd, req.args[1], payload)
            }
            (SOL_SOCKET, SO_USELOOPBACK) if r.netlink.is_none() => {
                r.loopback = int()? != 0;
                Ok(())
            }
            // The pair's buffers are the kernel's; programs ask for more as a matter of course.
            (SOL_SOCKET, SO_SNDBUF | SO_RCVBUF | SO_RCVBUFFORCE | SO_PASSCRED) => Ok(()),
            (SOL_NETLINK, name) => {
                let n = r.netlink.as_mut().ok_or(Errno::ENOPROTOOPT)?;
                n.set_option(name, int()?)
            }
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn get_routing_option(&mut self, k: u32, req: &Req, s: u32) -> Result<()> {
        let sk = self.socks.get_mut(s as usize).ok_or(Errno::EBADF)?;
        let State::Routing(r) = &sk.state else { return Err(Errno::EBADF) };
        let v = match (req.args[0], req.args[1]) {
            (SOL_SOCKET, SO_ERROR) => sk.err.take().map_or(0, |e| e.raw()),
            (SOL_SOCKET, SO_TYPE) => SOCK_RAW,
            (SOL_SOCKET, SO_DOMAIN) if r.netlink.is_some() => AF_NETLINK,
            (SOL_SOCKET, SO_DOMAIN) => AF_ROUTE,
            (SOL_SOCKET, SO_PROTOCOL) => match (&r.netlink, r.family) {
                (Some(n), _) => n.protocol(),
                (None, 4) => AF_INET,
                (None, 6) => AF_INET6,
                _ => 0,
            },
            (SOL_SOCKET, SO_SNDBUF | SO_RCVBUF) => 212_992,
            (SOL_SOCKET, SO_USELOOPBACK) if r.netlink.is_none() => r.loopback.into(),
            (SOL_SOCKET, SO_ACCEPTCONN) => 0,
            _ => return Err(Errno::ENOPROTOOPT),
        };
        self.reply(k, Rep::ok(req), &v.to_ne_bytes(), None);
        Ok(())
    }
}

/// Carries out a request; `Some`: the answer to tell, where nothing changed that tells by itself.
fn carry_out(shard: &mut Shard, m: &RtMsg, wall: u64) -> Result<Option<RtMsg>> {
    let RtBody::Route(body) = &m.body else { return Err(Errno::EINVAL) };
    let dst = m.addrs.dst.ok_or(Errno::EINVAL)?;
    let info = route_info(shard, m)?;
    let r = match m.ty {
        rtm::ADD if m.addrs.gateway.is_none() => return Err(Errno::EINVAL),
        rtm::ADD => Request::AddRoute(info),
        rtm::CHANGE => Request::ChangeRoute(info),
        rtm::DELETE => Request::DelRoute(info),
        rtm::LOCK => {
            let locks = (body.inits & body.locks) as u32 & RTV_MTU;
            return lock(shard, &info, locks).map(|()| None);
        }
        rtm::GET => {
            // A destination without its zone: the named interface is it.
            let ifp = m.addrs.ifp.map_or(0, |l| {
                if l.name().is_empty() { l.index.into() } else { shard.net.ifindex_of(l.name()) }
            });
            let dst = if zone::of_ip(&dst) == 0 { zone::embed_ip(dst, ifp) } else { dst };
            return match shard.ctl(&Request::GetRoute { dst }) {
                Some(Reply::Routes { list, .. }) => {
                    let found = list.first().ok_or(Errno::ESRCH)?;
                    let mut r = rtconv::route(shard, rtm::GET, found, None, wall);
                    if let RtBody::Route(b) = &mut r.body {
                        (b.pid, b.seq) = (body.pid, body.seq);
                        b.flags |= rtf::DONE;
                    }
                    Ok(Some(r))
                }
                Some(Reply::Err { errno, .. }) => Err(errno),
                _ => Err(Errno::ESRCH),
            };
        }
        _ => return Err(Errno::EOPNOTSUPP),
    };
    match shard.ctl(&r) {
        Some(Reply::Ok) => Ok(None),
        Some(Reply::Err { errno, .. }) => Err(errno),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

/// A request's route in the words of a configuration request.
fn route_info(shard: &Shard, m: &RtMsg) -> Result<RouteInfo> {
    let RtBody::Route(body) = &m.body else { return Err(Errno::EINVAL) };
    let a = &m.addrs;
    let dst = a.dst.ok_or(Errno::EINVAL)?;
    let full = if dst.is_ipv4() { 32 } else { 128 };
    let prefix_len = if body.flags & rtf::HOST != 0 { full } else { a.netmask.unwrap_or(full) };
    let named = |l: &iopkt_sockproto::rtmsg::LinkAddr| -> Option<String> {
        let n = if l.name().is_empty() { shard.net.ifname(l.index.into())? } else { l.name() };
        Some(n.into())
    };
    let (gateway, mut ifname) = match &a.gateway {
        Some(Sa::Ip(g)) => (Some(*g), None),
        Some(Sa::Link(l)) => (None, Some(named(l).ok_or(Errno::ENXIO)?)),
        None => (None, None),
    };
    if let (None, Some(l)) = (&ifname, &a.ifp) {
        ifname = named(l);
    }
    let sets_mtu = body.inits & u64::from(RTV_MTU) != 0;
    Ok(RouteInfo {
        gateway,
        ifname,
        flags: body.flags,
        mtu: if sets_mtu { u32::try_from(body.mtu).map_err(|_| Errno::EINVAL)? } else { 0 },
        src: a.ifa.filter(|_| m.ty != rtm::DELETE),
        locks: body.locks as u32 & RTV_MTU,
        ..RouteInfo::to(dst, prefix_len)
    })
}

fn lock(shard: &mut Shard, i: &RouteInfo, locks: u32) -> Result<()> {
    let list = shard.net.routes.exact_mut(i.dst, i.prefix_len);
    let r = list.iter_mut().find(|r| i.gateway.is_none() || r.gateway == i.gateway).ok_or(Errno::ESRCH)?;
    r.locks = locks;
    let now = r.clone();
    shard.net.tell_route(&mut shard.cx, RtKind::Lock, &now, None);
    Ok(())
}
